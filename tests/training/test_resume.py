"""Check that a run that is interrupted and resumed equals an uninterrupted run, bit for bit."""

from __future__ import annotations

import csv
import itertools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq
from seq2seq.stored import resume_file
from seq2seq.training.fit import fit
from seq2seq.training.interruption import Interrupted

CLOCKS = ("seconds", "train/tokens_per_second")
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "epochs": ([], {}),
    "stream": (
        [],
        {"data.streaming": True, "data.buffer_size": 10, "data.workers": 1, "trainer.accumulate_grad_batches": 2},
    ),
    "workers, accumulation, moving average": (
        [],
        {
            "data.workers": 2,
            "trainer.accumulate_grad_batches": 2,
            "training.averaging": "ema",
            "training.validate_every": 2,
        },
    ),
    "plateau, patience, average of the last": (
        ["lr_scheduler=plateau"],
        {
            "lr_scheduler.patience": 1,
            "training.patience": 3,
            "training.averaging": "last",
            "training.average_last": 2,
            "training.validate_every": 3,
        },
    ),
    "steps, cosine, generated text": (
        ["lr_scheduler=cosine"],
        {
            "trainer.max_steps": 17,
            "trainer.max_epochs": -1,
            "training.metrics": ["chrf"],
            "training.monitor": "chrf",
            "training.validate_every": 5,
        },
    ),
}


def interrupting(model: Seq2Seq, at: int | None, signum: int = signal.SIGINT) -> Seq2Seq:
    """Make the model send a signal to this process in training batch number ``at`` (from 0), and return it."""
    count = itertools.count()

    def send(module: nn.Module, args: Any) -> None:
        if module.training and next(count) == at:
            os.kill(os.getpid(), signum)

    model.register_forward_pre_hook(send)
    return model


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Return the places where two checkpoints differ, apart from times."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted({*a, *b}, key=str)
        return [d for k in keys if k not in CLOCKS for d in differences(a.get(k), b.get(k), f"{place}/{k}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.shape == b.shape and torch.equal(a, b) else [place]
    if isinstance(a, Sequence) and not isinstance(a, str) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{place}/{i}")]
    return [] if a == b else [f"{place}: {a} / {b}"]


def curves(run: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without times."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


RARE = (
    "stream",
    "steps, cosine, generated text",
    "epochs",
    "plateau, patience, average of the last",
)  # slow cases; the remaining case saves the same kinds of state


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case in RARE else []) for case in CASES]
)
def test_resumed_equals_uninterrupted(case: str, prepare: Callable[..., Any], tmp_path: Path) -> None:
    """The run is interrupted in the first epoch and again in the second."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    groups, keys = CASES[case]
    fit(*prepare(*groups, **keys), whole)
    resume, stops = None, []
    for at in (4, 6, None):
        config, corpus, model = prepare(*groups, **keys)
        try:
            fit(config, corpus, interrupting(model, at), broken, resume)
            break
        except Interrupted as stopped:
            resume = broken / "checkpoints" / "last.ckpt"
            stops.append((stopped.code, torch.load(resume, weights_only=True)["global_step"]))
    assert [code for code, _ in stops] == [130, 130] and stops[0] < stops[1]
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, broken))
    assert differences(one, other) == []
    for name in ("model.safetensors", "config.yaml", "source.model", "target.model"):
        one, other = ((run / "checkpoints" / name).read_bytes() for run in (whole, broken))
        assert one == other, name
    assert curves(whole) == curves(broken)


def test_pending_validation_is_run_when_resumed(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """The signal comes during an update after which a validation is due."""
    keys = {"training.validate_every": 3, "trainer.max_epochs": 1}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(*prepare(**keys), whole)
    config, corpus, model = prepare(**keys)
    with pytest.raises(Interrupted):
        fit(config, corpus, interrupting(model, 2), broken)
    last = broken / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    assert state["position"]["validating"] and state["callbacks"]["Checkpoints"]["best_score"] is None
    fit(*prepare(**keys), broken, last)
    assert curves(whole) == curves(broken)


def test_position_counts_batches_trained_on_not_fetched(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config, corpus, model = prepare(**{"data.workers": 2})  # the workers fetch four batches ahead
    with pytest.raises(Interrupted):
        fit(config, corpus, interrupting(model, 2), tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["DataModule"] == {"epoch": 0, "batches": 3} and state["global_step"] == 3


def test_resuming_with_another_number_of_processes_is_refused(prepare: Callable[..., Any], tmp_path: Path) -> None:
    fit(*prepare(**{"trainer.max_epochs": 1}), tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    state["position"]["generators"] *= 2
    resume_file.write(last, state)
    with pytest.raises(UserError, match=r"trained by 2 processes.*trainer\.devices"):
        fit(*prepare(), tmp_path, last)
