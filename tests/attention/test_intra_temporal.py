"""Tests of intra-temporal attention: it equals the paper's formula, which divides exponentials."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Additive, Constant, Dot, General
from seq2seq.attention.components.windows import Global, LocalM
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.intra_temporal import IntraTemporalAttention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import close, walk
from tests.catalogue import memory, noise, randomise

Q, T = 4, 5
LENGTHS = (6, 3, 0)
PARTS = {"score": General, "window": Global, "normalizer": Softmax}


def build(kind: type = IntraTemporalAttention, **options: object) -> ComposedAttention:
    """Return attention of this class with random parameters."""
    return randomise(kind(Q, SourceSpec(Q), **{**PARTS, **options}).double()).eval()


def formula(scores: Tensor) -> Tensor:
    """Return weights (T, S) of scores (T, S) by the paper's formula.

    a_t = e'_t / sum_s e'_ts, where e'_0 = exp(e_0) and e'_t = exp(e_t) / sum_{t' < t} exp(e_t').
    """
    rows = []
    for t in range(len(scores)):
        e = scores[t].exp()
        e = e / scores[:t].exp().sum(0) if t else e
        rows.append(e / e.sum())
    return torch.stack(rows)


@pytest.mark.parametrize("score", [General, Additive])
def test_formula(score: type) -> None:
    attention, queries, source = build(score=score), noise(3, T, Q), memory(*LENGTHS, width=Q)
    prepared = attention.prepare(source)
    weights = walk(attention, queries, source).weights
    for b, length in enumerate(LENGTHS[:2]):
        scores = attention.score(queries[b : b + 1].unsqueeze(1), prepared.prepared["keys"][b : b + 1], prepared)
        close(weights[b, 0, :, :length], formula(scores[0, 0, :, :length]))


def unit_vectors(*scores: list[float]) -> tuple[ComposedAttention, Tensor, Memory]:
    """Return attention, queries and a memory of unit vectors, whose dot products are ``scores``."""
    values = torch.eye(Q).double().unsqueeze(0)
    return (
        build(score=Dot),
        torch.tensor([scores], dtype=torch.float64),
        Memory.of(values, torch.ones(1, Q, dtype=torch.bool)),
    )


def test_by_hand() -> None:
    """exp(e_t) is (2, 1, 1, 1) twice, then (4, 1, 1, 1). Step 1 divides by (2, 1, 1, 1), step 2 by (4, 2, 2, 2)."""
    two, four = math.log(2), math.log(4)
    weights = walk(*unit_vectors([two, 0, 0, 0], [two, 0, 0, 0], [four, 0, 0, 0])).weights[0, 0]
    expected = [[2 / 5, 1 / 5, 1 / 5, 1 / 5], [1 / 4] * 4, [2 / 5, 1 / 5, 1 / 5, 1 / 5]]
    close(weights, torch.tensor(expected, dtype=torch.float64))


def test_first_step_is_a_softmax() -> None:
    """Weights equal those of a softmax at the first step and differ from them later."""
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    first, plain = (walk(build(kind), queries, source).weights for kind in (IntraTemporalAttention, ComposedAttention))
    close(first[:, :, 0], plain[:, :, 0])
    assert (first[:2, :, 1:] - plain[:2, :, 1:]).abs().amax(-1).min() > 1e-3
    close(first.sum(-1)[:2], torch.ones(2, 1, T).double())


@pytest.mark.parametrize("window", [Global, partial(LocalM, reach=1)])
def test_equal_scores_stay_uniform(window: type) -> None:
    """Weights are uniform in a window too, because the history includes the scores of hidden positions."""
    attention = build(score=Constant, window=window)
    weights = walk(attention, noise(1, T, Q), memory(6, width=Q)).weights[0, 0]
    close(weights, weights.gt(0).double() / weights.gt(0).sum(-1, keepdim=True))


@pytest.mark.parametrize("size", [30.0, 89.0, 3000.0])
def test_large_scores_stay_finite(size: float) -> None:
    """fp32 weights equal fp64 weights, although exp(89) overflows in fp32 and the formula gives NaN."""
    rows = [[size, -size, 0, 1], [size, size, 1, 0], [-size, size, 0, 0], [size, -size, 2, 0]]
    attention, queries, source = unit_vectors(*rows)
    exact = walk(attention, queries, source).weights
    values = source.values.float().requires_grad_()
    single = Memory(values, source.mask, source.positions, source.extent)
    answer = walk(attention.float(), queries.float(), single)
    torch.testing.assert_close(answer.weights.double(), exact, rtol=1e-4, atol=1e-4)
    answer.context.sum().backward()
    assert values.grad.isfinite().all()
    assert formula(queries[0].float()).isfinite().all() == (size == 30)


def test_history_includes_masked_scores() -> None:
    """Positions that a mask hides in early steps count as if they were visible there."""
    attention, queries, source = build(), noise(1, T, Q), memory(6, width=Q)
    mask = torch.ones(1, T, 6, dtype=torch.bool)
    mask[0, 0, :4] = False
    mask[0, 1] = False
    masked, whole = walk(attention, queries, source, mask=mask), walk(attention, queries, source)
    close(masked.weights[:, :, 2:], whole.weights[:, :, 2:])
    assert not masked.weights[0, 0, 1].any()


def test_no_gradient_is_nan() -> None:
    """No operation's gradient is NaN, even where ``torch.where`` would hide it."""
    attention, queries = build(heads=2), noise(3, T, Q).requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        walk(attention, queries, memory(*LENGTHS, width=Q), chunks=(1, 2, 2)).context.sum().backward()
    assert queries.grad.isfinite().all()


def test_refusals() -> None:
    for source in (SourceSpec(Q, is_self=True), SourceSpec(Q, causal=True)):
        with pytest.raises(UserError, match="self-attention"):
            IntraTemporalAttention(Q, source, **PARTS)
