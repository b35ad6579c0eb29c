"""Tests of ``benchmark.py documents``: time and memory of an update, and lengths that don't fit in memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/benchmark.py` does the same

import benchmark
import documents
from peers import document

from tests.scripts.test_benchmark import Enough, Told

TINY = ["model.dim=8", "model.heads=2", "model.ff_dim=8", "model.layers=1"]


@pytest.mark.parametrize("side", ["multi_head dropout=0", "longformer window.reach=2"])
def test_a_side_reports_time_and_memory_of_an_update(side: str) -> None:
    gate = Told(1, length=40, targets=5, vocabulary=30, overrides=TINY)
    with pytest.raises(Enough):
        document.work(gate, side)
    about, round_ = gate.said
    assert round_["tokens"] == 40
    assert round_["seconds"] > 0
    assert 0 < about["peak"] < about["before"] <= about["resident"]


def test_all_words_of_a_document_can_be_copied() -> None:
    batch = document.document(60, 7, 30)
    assert batch.source.shape == (1, 60)
    assert batch.target_in.shape == batch.target_out.shape == (1, 7)
    assert batch.segments.unique().tolist() == [0, 1, 2]
    assert batch.copies.ids[0, :-1].equal(batch.source[0, :-1])
    assert batch.copies.ids[0, -1] == 0  # </s>


def test_memory_of_longer_documents_is_extrapolated() -> None:
    one, two = ({"length": s, "peak": p, "before": 100} for s, p in ((10, 3), (20, 24)))
    assert documents.grown([], 10) == 0
    assert documents.grown([one], 30) == 100 + 3 * 9
    assert documents.grown([one, two], 40) == pytest.approx(100 + 24 * 8)  # as S^3


def test_lengths_that_do_not_fit_are_not_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    run = []

    def contest(sides: Any, task: Any, *rest: Any) -> list[dict[str, Any]]:
        run.append((sides[0].name, task["length"]))
        size = 2**30 * (task["length"] / 1000) ** (2 if sides[0].name == "multi_head" else 1)
        rounds = [{"tokens": 1, "seconds": second} for second in (1.0, 2.0, 9.0)]
        about = {"side": sides[0].name, "versions": {"torch": "2"}}
        return [{**about, "peak": size, "resident": size, "before": 0, "rounds": rounds}]

    monkeypatch.setattr(documents, "contest", contest)
    sides = ["multi_head", "longformer window.reach=2"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py"])
    benchmark.main(["documents", "--lengths", "4000", "1000", "2000", "--gibibytes", "5", "--sides", *sides])
    assert run == [(sides[0], 1000), (sides[0], 2000), (sides[1], 1000), (sides[1], 2000), (sides[1], 4000)]
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert rows[4] == "| multi_head | 4,000 | not run |  | about 16, from shorter ones |"
    assert rows[7] == "| longformer window.reach=2 | 4,000 | 2.0 | 4.00 | 4.00 |"
