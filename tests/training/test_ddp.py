"""Tests of training with two processes, which equals one process that accumulates two batches an update."""

from __future__ import annotations

import csv
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.training import distributed
from seq2seq.training.fit import fit
from seq2seq.training.interruption import Interrupted
from seq2seq.training.module import Training

KEYS = {
    "model.dropout": 0.0,
    "attention.selection.final_soft": 1.0,  # soft attention draws no random numbers
    "attention.selection.credit": "sentence",
    "attention.selection.baseline": "moving",  # but the moving baseline is still updated
    "training.metrics": ["chrf"],
    "training.validate_every": 3,
    "trainer.log_every_n_steps": 1,
}


def column(run: Path, name: str) -> list[float]:
    """Return the values of a column of metrics.csv."""
    with (run / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_mean_over_processes_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other of two processes has twice the values of this one."""
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda flat: flat.mul_(3))
    mean, variance = torch.tensor([2.0, 4.0]), torch.tensor([[6.0]])
    distributed.all_reduce_mean([mean, variance])
    assert mean.tolist() == [3.0, 6.0] and variance.tolist() == [[9.0]]


def test_two_processes_equal_one_that_accumulates(prepare: Callable[..., Any], tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    alone = fit(*prepare("attention=hard", **KEYS, **{"trainer.accumulate_grad_batches": 2}), one)
    together = fit(*prepare("attention=hard", "trainer=ddp", **KEYS), two)
    assert together.steps == alone.steps >= 8
    assert together.tokens == alone.tokens
    for name in ("train/nll", "train/gradient_norm", "validation/nll", "validation/chrf", "validation/aer"):
        assert len(column(one, name)) == len(column(two, name)) > 2
        assert column(two, name) == pytest.approx(column(one, name), rel=1e-4)
    weights = [torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (one, two)]
    assert weights[0]["criterion.baseline"] > 1
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_stop_together_and_are_resumed(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first process gets the signal; both stop after the same update, and are resumed."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(*prepare("trainer=ddp"), whole)
    original, count = Training.training_step, itertools.count()

    def interrupted(self: Training, *args: Any) -> torch.Tensor:
        if next(count) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Training, "training_step", interrupted)
        fit(*prepare("trainer=ddp"), broken)
    last = broken / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    fit(*prepare("trainer=ddp"), broken, last)
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, broken))
    for name, value in one["state_dict"].items():
        assert torch.equal(other["state_dict"][name], value)
    generators = one["position"]["generators"]
    assert not torch.equal(generators[0]["torch"], generators[1]["torch"])
