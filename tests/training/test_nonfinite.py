"""Tests of losses that are not finite: training stops or skips the update, and the weights stay finite."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.loss import Criterion, Losses
from seq2seq.training.fit import fit
from seq2seq.training.module import Training
from seq2seq.training.nonfinite import NonFiniteGuard

POISONED = 9  # number of a record of the training split


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the loss of every batch with the record ``POISONED`` not-a-number."""
    original = Criterion.forward

    def forward(self: Criterion, decoded: Decoded, batch: Batch) -> Losses:
        losses = original(self, decoded, batch)
        if POISONED in batch.index:
            losses = dataclasses.replace(losses, total=losses.total * float("nan"), nll=losses.nll * float("nan"))
        return losses

    monkeypatch.setattr(Criterion, "forward", forward)


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the check to the fused kernel of the optimiser, as on a GPU; the kernel of the CPU works alike."""
    monkeypatch.setattr(NonFiniteGuard, "on_device", lambda *_: True)


def poisoned_step(corpus: Any, seed: int) -> tuple[int, list[int]]:
    """Return the update of epoch 0 that contains the record, and all records of this update."""
    for step, batch in enumerate(corpus.train_loader(seed, 0), 1):
        if POISONED in batch.index:
            return step, sorted(batch.index.tolist())
    raise AssertionError


@pytest.mark.usefixtures("poison")
def test_training_stops_with_the_weights_before_the_update(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config, corpus, model = prepare()
    step, records = poisoned_step(corpus, config.seed)
    with pytest.raises(UserError) as stopped:
        fit(config, corpus, model, tmp_path / "stopped")
    assert f"step {step} (records {', '.join(map(str, records))} " in str(stopped.value)
    state = torch.load(tmp_path / "stopped" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == step - 1 and state["DataModule"]["batches"] == step - 1
    if step > 1:
        fit(*prepare(**{"trainer.max_steps": step - 1}), tmp_path / "before")
        before = torch.load(tmp_path / "before" / "checkpoints" / "last.ckpt", weights_only=True)
        del before["state_dict"]["criterion.progress"]  # it depends on the length of the run
        for name, value in before["state_dict"].items():
            assert torch.equal(state["state_dict"][name], value)
    with pytest.raises(UserError, match=f"step {step} "):  # the resumed run stops at the same update
        fit(*prepare(), tmp_path / "stopped", tmp_path / "stopped" / "checkpoints" / "last.ckpt")


def skipped(run: Path) -> dict[str, Tensor]:
    """Check that a run has skipped two updates and its weights are finite; return its state."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/skipped"]]
    assert float(rows[-1]["train/skipped"]) == 2
    assert all(float(row["train/nll"] or 0) < 100 for row in rows)
    state: dict[str, Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())
    return state


@pytest.mark.usefixtures("poison")
def test_updates_are_skipped_and_counted_on_host_and_device(
    prepare: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    keys = {"training.nonfinite": "skip", "trainer.log_every_n_steps": 1, "training.weight_decay_on": "all"}
    config, corpus, model = prepare(**keys)
    step, _ = poisoned_step(corpus, config.seed)
    assert fit(config, corpus, model, tmp_path / "host").skipped == 2  # once in each epoch
    assert f"at step {step} " in caplog.text
    request.getfixturevalue("on_device")
    assert fit(*prepare(**keys), tmp_path / "device").skipped == 2
    host, device = skipped(tmp_path / "host"), skipped(tmp_path / "device")
    for name, value in host.items():
        torch.testing.assert_close(device[name], value)


@pytest.mark.usefixtures("poison", "on_device")
def test_training_stops_when_it_reads_the_check_of_the_device(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config, corpus, model = prepare(**{"trainer.log_every_n_steps": 50})
    step, _ = poisoned_step(corpus, config.seed)
    with pytest.raises(UserError, match=f"step {step} "):
        fit(config, corpus, model, tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in state["state_dict"].values())


class NoReading(TorchDispatchMode):
    """Refuse every operation that copies a number from the device to the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.__name__ not in ("_local_scalar_dense.default", "equal.default", "nonzero.default"), func
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("on_device")
def test_check_on_a_device_copies_nothing_to_the_host(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = Training.configure_gradient_clipping, []

    def watched(self: Training, *args: Any, **kwargs: Any) -> None:
        with NoReading():
            original(self, *args, **kwargs)
        calls.append(self.global_step)

    monkeypatch.setattr(Training, "configure_gradient_clipping", watched)
    fit(*prepare(**{"trainer.max_epochs": 1}), tmp_path)
    assert len(calls) > 5
    with pytest.raises(AssertionError), NoReading():
        nn.Parameter(torch.ones(())).item()
