"""Tests of annealing: progress from 0 to 1 by updates or by time, and runs without a known end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from torch import nn

from seq2seq.errors import UserError
from seq2seq.loss import Criterion
from seq2seq.training.callbacks.annealing import Annealing
from seq2seq.training.fit import fit
from seq2seq.training.interruption import Interrupted
from tests.catalogue import model
from tests.training.test_resume import interrupting

ENDLESS = float("inf")


def progress(steps: float, *overrides: str, step: int = 0, timer: Timer | None = None) -> tuple[float, Criterion]:
    """Return the progress that the criterion gets after ``step`` of ``steps`` updates, and the criterion."""
    criterion, callback = Criterion(), Annealing()
    module = nn.ModuleDict({"model": model("model=rnn", *overrides), "criterion": criterion})
    trainer = SimpleNamespace(estimated_stepping_batches=steps, global_step=step, callbacks=[timer] if timer else [])
    callback.on_train_start(trainer, module)
    callback.on_train_batch_start(trainer, module, None, 0)
    return criterion.progress.item(), criterion


def test_progress_follows_the_limit_that_is_nearer() -> None:
    """The progress is the larger one of the progress by updates and the progress by time."""
    timer = Timer("00:00:01:40")
    timer.time_elapsed = lambda stage="train": 25.0
    for steps, step, clock, expected in (
        (8, 6, None, 0.75),
        (8, 9, None, 1.0),
        (8, 6, timer, 0.75),
        (8, 1, timer, 0.25),
        (ENDLESS, 6, timer, 0.25),
        (-1, 6, timer, 0.25),  # the data have no length
    ):
        found, criterion = progress(steps, step=step, timer=clock)
        assert found == expected
        assert criterion.updates.item() == step
        assert not criterion.has_no_end


@pytest.mark.parametrize("steps", [ENDLESS, -1])
def test_annealing_without_a_known_end_is_refused(steps: float) -> None:
    found, criterion = progress(steps, step=6)
    assert found == 0
    assert criterion.has_no_end
    progress(steps, "attention=gumbel", "attention.selection.final_temperature=1.0")
    progress(steps, "attention=hard", "attention.selection.final_soft=1.0")
    for overrides, buffer in (
        (["attention=gumbel"], r"decoder\.attention\.selection\.temperature"),
        (["attention=memory", "attention.linear_start=0.5"], r"decoder\.attention\.linear"),
        (["attention=hard"], r"decoder\.attention\.selection\.soft"),
    ):
        with pytest.raises(UserError, match=rf"nothing says when this run ends, but {buffer} .* trainer\.max_steps"):
            progress(steps, *overrides)


def test_fit_anneals_to_the_end_of_training(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """Before the last of four updates the progress is 3/4, also if the run is interrupted after two and resumed."""
    keys = {"trainer.max_steps": 4}

    def check(share: float, path: Path) -> None:
        state = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert state["criterion.progress"] == share
        assert state["model.decoder.attention.selection.temperature"].item() == pytest.approx(0.5**share)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(*prepare("attention=gumbel", **keys), whole)
    check(0.75, whole)
    config, corpus, built = prepare("attention=gumbel", **keys)
    with pytest.raises(Interrupted):
        fit(config, corpus, interrupting(built, 1), broken)
    check(0.5, broken)
    fit(*prepare("attention=gumbel", **keys), broken, broken / "checkpoints" / "last.ckpt")
    check(0.75, broken)


def test_fit_anneals_by_time(prepare: Callable[..., Any], tmp_path: Path) -> None:
    result = fit(
        *prepare("attention=gumbel", **{"trainer.max_epochs": -1, "trainer.max_time": "00:00:00:01"}), tmp_path
    )
    assert 0 < torch.load(result.last, weights_only=True)["state_dict"]["criterion.progress"] <= 1


def test_term_that_starts_later_is_refused_without_a_known_end(prepare: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss\.start_at\.coverage=0\.9 .* nothing says when this run ends"):
        fit(*prepare("attention=coverage", **{"trainer.max_epochs": -1}), tmp_path)
