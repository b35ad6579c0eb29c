"""Tests of training and its updates, against a plain loop without Lightning."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seq2seq.loss import Criterion, Losses
from seq2seq.training.fit import fit
from seq2seq.training.options import TrainingOptions
from seq2seq.training.update import Update


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_equals_the_plain_loop(accumulate: int, prepare: Callable[..., Any], tmp_path: Path) -> None:
    """AdamW on the clipped gradient of the mean loss over the tokens of an update, at rates lr min(t/w, sqrt(w/t))."""
    config, corpus, model = prepare(
        **{
            "model.dropout": 0.0,
            "trainer.accumulate_grad_batches": accumulate,
            "trainer.gradient_clip_val": 0.2,
            "trainer.log_every_n_steps": 1,
            "training.weight_decay_on": "all",
            "optimizer.weight_decay": 0.1,
            "optimizer.eps": 1e-4,  # larger than usual: otherwise rounding matters where gradients vanish
        }
    )
    plain = copy.deepcopy(model).train()
    fit(config, corpus, model, tmp_path)

    o = config.optimizer
    optimizer = torch.optim.AdamW(plain.parameters(), betas=tuple(o.betas), eps=o.eps, weight_decay=0.1, foreach=False)
    criterion, step, norms, means = Criterion(config.loss.label_smoothing), 0, [], []
    for epoch in range(config.trainer.max_epochs):
        batches = list(corpus.train_loader(config.seed, epoch))
        for start in range(0, len(batches), accumulate):
            losses = [criterion(plain(batch), batch) for batch in batches[start : start + accumulate]]
            tokens = sum(loss.tokens for loss in losses)
            mean = sum(loss.total for loss in losses) / tokens
            optimizer.zero_grad()
            mean.backward()
            norms.append(float(nn.utils.clip_grad_norm_(plain.parameters(), 0.2)))
            means.append(mean.item())
            step += 1
            w = config.lr_scheduler.warmup_steps
            optimizer.param_groups[0]["lr"] = o.lr * min(step / w, (w / step) ** 0.5)
            optimizer.step()

    trained = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert trained["global_step"] == step
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(trained["state_dict"][f"model.{name}"], value, rtol=1e-4, atol=1e-6)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [float(row["train/loss"]) for row in rows] == pytest.approx(means, rel=1e-4)
    assert [float(row["train/gradient_norm"]) for row in rows] == pytest.approx(norms, rel=1e-3)


def test_baseline_of_reinforce_changes_once_in_each_update(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """b <- 0.9 b + 0.1 mean cost of the sentences of all micro-batches."""
    moving = ("attention.selection.credit=sentence", "attention.selection.baseline=moving")
    config, corpus, model = prepare("attention=hard", *moving, **{"trainer.accumulate_grad_batches": 3})
    original, seen = Criterion.forward, []

    def recorded(self: Criterion, *args: Any) -> Losses:
        losses = original(self, *args)
        seen.append((self.baseline.item(), losses.costs.tolist()))
        return losses

    monkeypatch.setattr(Criterion, "forward", recorded)
    fit(config, corpus, model, tmp_path)
    baseline, forwards = 0.0, iter(seen)
    for epoch in range(config.trainer.max_epochs):
        batches = list(corpus.train_loader(config.seed, epoch))
        for start in range(0, len(batches), 3):
            micro = [next(forwards) for _ in batches[start : start + 3]]
            assert [before for before, _ in micro] == pytest.approx([baseline] * len(micro), rel=1e-5)
            total, count = (sum(costs[i] for _, costs in micro) for i in range(2))
            assert count == sum(len(batch) for batch in batches[start : start + 3])
            baseline = 0.9 * baseline + 0.1 * total / count
    trained = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert trained["state_dict"]["criterion.baseline"].item() == pytest.approx(baseline, rel=1e-5)


def test_a_plain_loop_can_call_the_update(prepare: Callable[..., Any]) -> None:
    """With three micro-batches an update, the clipped gradient is that of the mean loss over all their tokens."""
    config, corpus, model = prepare(**{"model.dropout": 0.0})
    ours, theirs, criterion = model.train(), copy.deepcopy(model).train(), Criterion(0.1)
    update = Update(ours, criterion, TrainingOptions())
    optimizers = [torch.optim.SGD(probe.parameters(), lr=0.5, momentum=0.9) for probe in (ours, theirs)]
    batches = list(corpus.train_loader(config.seed, 0))
    for step, start in enumerate(range(0, len(batches), 3)):
        micro_batches = batches[start : start + 3]
        for batch in micro_batches:
            update.loss(batch, step).backward()
        update.apply(optimizers[0], step, clip=0.2)
        losses = [criterion(theirs(batch), batch) for batch in micro_batches]
        (sum(loss.total for loss in losses) / sum(loss.tokens for loss in losses)).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.2)
        optimizers[1].step()
        for optimizer in optimizers:
            optimizer.zero_grad()
    assert step >= 2
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    assert update.sums.totals()["updates"] == step + 1


def test_an_update_that_is_not_finite_is_skipped(prepare: Callable[..., Any]) -> None:
    config, corpus, model = prepare()
    update = Update(model.train(), Criterion(), TrainingOptions(nonfinite="skip"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    before = copy.deepcopy(model.state_dict())
    batch = next(iter(corpus.train_loader(config.seed, 0)))
    (update.loss(batch, 0) * float("nan")).backward()
    update.apply(optimizer, 0)
    assert update.guard.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
