"""The criterion against the sum over tokens, written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attended, Query
from seq2seq.batch import PAD, Batch
from seq2seq.errors import UserError
from seq2seq.loss import Criterion
from seq2seq.model import Seq2Seq
from tests.attention.walk import close
from tests.catalogue import batch, choices, model

every_family = pytest.mark.parametrize("family", choices("model"))


@every_family
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sum_over_tokens(family: str, smoothing: float) -> None:
    probe, data = model(f"model={family}"), batch()
    losses = Criterion(smoothing)(probe, data)
    logits = probe.decoder.output(probe(data).features).flatten(0, 1)
    targets = data.target_out.flatten()
    total = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum", ignore_index=PAD)
    close(losses.total, total)
    close(losses.nll, -sum(row[word] for row, word in zip(logits.log_softmax(-1), targets, strict=True) if word != PAD))
    assert losses.tokens == 15
    parameters = list(probe.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(losses.total, parameters), torch.autograd.grad(total, parameters), strict=True
    ):
        close(ours, theirs)


def test_evaluation_is_unsmoothed_and_counts_hits() -> None:
    probe, data = model(), batch()
    with torch.no_grad():
        losses = Criterion(0.3).eval()(probe, data)
    assert losses.total == losses.nll
    hits = probe.log_probs(data).argmax(-1) == data.target_out
    assert losses.correct == hits[data.target_mask].sum()


@every_family
def test_padding_and_batching_add_nothing(family: str) -> None:
    """The loss of a batch is the sum of its sentences' losses, however far each is padded."""
    probe, data, criterion = model(f"model={family}"), batch(), Criterion(0.1)
    total = criterion(probe, data).total
    wide = Batch(F.pad(data.source, (0, 3)), data.index, F.pad(data.target, (0, 2)), data.target_tokens)
    close(criterion(probe, wide).total, total)
    rows = [replace(data, source=data.source[i : i + 1], target=data.target[i : i + 1]) for i in range(3)]
    close(sum(criterion(probe, row).total for row in rows), total)


class Penalised(nn.Module):
    """A mechanism that also reports penalties: T positions cost 1, 2, 3 ..."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, query: Query, *args: Any, **options: Any) -> Attended:
        attended = self.inside(query, *args, **options)
        return replace(attended, penalties={"cost": query.position.double() + 1, "span": query.vector.square().sum(-1)})

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inside"), name)


def penalised() -> Seq2Seq:
    probe = model()
    probe.decoder.attention = Penalised(probe.decoder.attention)
    return probe


def test_penalties_are_weighted_where_targets_are_real() -> None:
    probe, data = penalised(), batch(targets=(4, 6, 5))
    plain = Criterion(0.1)(model(), data)
    losses = Criterion(0.1, {"cost": 0.5, "span": 0.25})(probe, data)
    assert losses.terms["cost"] == sum(map(sum, ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5])))
    close(losses.total, plain.total + 0.5 * losses.terms["cost"] + 0.25 * losses.terms["span"])
    close(losses.nll, plain.nll)
    gradient: Tensor = torch.autograd.grad(losses.total - plain.total, [probe.decoder.bridge.maps[0].weight])[0]
    assert gradient.any()


def test_no_penalty_is_dropped_silently() -> None:
    with pytest.raises(UserError, match=r"reports a penalty span; give its coefficient as loss.weights.span"):
        Criterion(0.1, {"cost": 0.5})(penalised(), batch())


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_refusals(smoothing: float) -> None:
    with pytest.raises(UserError, match=r"label_smoothing must lie in \[0, 1\)"):
        Criterion(smoothing)
