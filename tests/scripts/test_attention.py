"""Tests of ``benchmark.py attention``: figures of time and memory, and the attentions that are compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/benchmark.py` does the same

import attention_scaling
import benchmark
from matplotlib.image import imread
from peers import attention, timing

WIDTH, HEADS, S = 16, 2, 10
FIRST = attention.SDPA
ADDITIVE = {"batch": 3, "targets": 4, "positions": 5, "hidden": 6, "width": 8}


def test_saved_tensors_are_counted_once_and_without_the_inputs() -> None:
    x, w = torch.ones(1000, requires_grad=True), torch.ones(1000, requires_grad=True)

    def work() -> Tensor:
        y = (x * w).tanh()  # saves both inputs, and the result
        return y * y.exp()  # saves the same result again, and that of exp

    assert timing.saved(work, (x, w)) == 2 * 4000
    assert timing.saved(work, (x,)) == 3 * 4000


def test_calls_are_repeated_for_the_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    calls = []

    def work() -> None:
        clock[0] += 0.5 if calls else 9.0  # the first call warms up
        calls.append(0)

    assert timing.repeats(work, 2.0) == 4
    assert timing.seconds(work, 3) == 0.5


def task(**others: Any) -> dict[str, Any]:
    return {"length": S, "width": WIDTH, "heads": HEADS, "causal": False, "least": 0.001, **others}


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_without_projections_equals_sdpa(causal: bool) -> None:
    jobs, inputs = attention.curve(task(causal=causal), "multi_head")
    queries, key_values = inputs[-2:]
    assert queries.shape == (1, S, WIDTH) and key_values.shape == (1, S, 2 * WIDTH)
    split = [x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (queries, *key_values.chunk(2, -1))]
    expected = F.scaled_dot_product_attention(*split, is_causal=causal).transpose(1, 2).flatten(2)
    torch.testing.assert_close(jobs["forward"](), expected)
    assert all(gradient is not None and gradient.any() for gradient in jobs["step"]())
    assert list(jobs) == ["forward", "step", "whole forward", "whole step"]


def test_sdpa_equals_its_formula() -> None:
    jobs, inputs = attention.curve(task(), FIRST)
    weights = torch.softmax(inputs[0] @ inputs[1].transpose(-1, -2) / (WIDTH / HEADS) ** 0.5, -1)
    torch.testing.assert_close(jobs["forward"](), weights @ inputs[2])


def test_the_forms_of_additive_attention_agree() -> None:
    found = {}
    for form in ("naive", "loop", "ours"):
        torch.manual_seed(0)
        jobs, inputs = attention.additive(ADDITIVE, form)
        found[form] = jobs["forward"](), *jobs["step"]()
        assert len(inputs) == 5  # queries, values, W, U, v
    for form in ("naive", "loop"):
        for ours, theirs in zip(found["ours"], found[form], strict=True):
            torch.testing.assert_close(ours, theirs)
    assert found["ours"][0].shape == (3, 4, 8)


def test_contexts_are_equal_with_and_without_weights() -> None:
    contexts = []
    for name in attention_scaling.WEIGHTS:
        torch.manual_seed(0)
        contexts.append(attention.weights(task(batch=2), name)[0]["forward"]())
    torch.testing.assert_close(*contexts)


def result(side: str, size: float, took: float) -> dict[str, Any]:
    return {"side": side, "peak": {"step": size}, "times": {"forward": took / 2, "step": took}}


def test_sides_that_are_too_large_or_too_slow_are_left_out() -> None:
    last = {name: (1000, result(name, size, took)) for name, size, took in (("a", 90, 1), ("b", 10, 1), ("c", 1, 5))}
    assert attention_scaling.affordable(last, 1000, 200) == ["a", "b", "c"]
    assert attention_scaling.affordable(last, 2000, 200) == ["b"]  # c is too slow, a too large
    assert attention_scaling.affordable(last, 2000, 404) == ["a", "b"]
    assert attention_scaling.affordable(last, 2000, 399) == ["b"]


def test_tables() -> None:
    report: dict[str, Any] = {"causal": False, "width": 16, "heads": 2}
    report["curves"] = {
        f"{s}": [
            {**result(FIRST, 2**20 * s / 1024, s**2 * 1e-7), "versions": {}},
            {**result("linear", 2**20 * s / 512, s * 1e-5), "versions": {}},
        ]
        for s in (1024, 2048, 4096)
    }
    text = attention_scaling.tables(report)
    assert "| sdpa | 105 | 419 | 1678 | S^2.0 |" in text
    assert "| linear | 10.2 | 20.5 | 41 | S^1.0 |" in text
    assert "| linear | 2 | 4 | 8 | S^1.0 |" in text
    assert "| linear | 20.5 | 41 | 40.96 |  |  |" in text
    forms = [("projections", 1, 1), ("naive", 7, 100), ("loop", 3, 100), ("ours", 4, 10)]
    report = {
        "additive": [
            {"side": n, "times": {"step": t / 1000}, "saved": kept * 2**20, "peak": {}} for n, t, kept in forms
        ]
    }
    assert "| ours | 4 | 3 | 1.50 | 10 | 0.10 |" in attention_scaling.tables(report)


@pytest.mark.slow
def test_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--output", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png"), "--threads", "1"]
    sizes = ["--rounds", "2", "--width", "16", "--heads", "2", "--lengths", "8", "--only", "curves"]
    benchmark.main(["attention", *files, *sizes, "--sides", "sdpa", "multi_head dropout=0"])
    report = json.loads((tmp_path / "a.json").read_text())
    assert [r["side"] for r in report["curves"]["8"]] == ["sdpa", "multi_head dropout=0"]
    assert all(r["peak"]["step"] > 0 and len(r["rounds"]) == 2 for r in report["curves"]["8"])
    assert "| multi_head dropout=0 |" in capsys.readouterr().out
    assert imread(tmp_path / "a.png").ndim == 3


def test_unknown_side_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["attention", "--sides", "multi_hed", "--only", "curves"])
    assert str(ended.value.code).startswith("benchmark.py: --sides 'multi_hed': unknown side; ")
