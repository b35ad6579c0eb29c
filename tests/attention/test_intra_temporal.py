"""Intra-temporal attention against the paper's formula, which divides exponentials."""

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


def made(kind: type = IntraTemporalAttention, **options: object) -> ComposedAttention:
    return randomise(kind(Q, SourceSpec(Q), **{**PARTS, **options}).double()).eval()


def literally(scores: Tensor) -> Tensor:
    """e'_t = exp(e_t) at first, then exp(e_t) / sum_{t' < t} exp(e_t'); a = e' / sum e'. (T, S) -> (T, S)."""
    rows = []
    for t in range(len(scores)):
        e = scores[t].exp()
        e = e / scores[:t].exp().sum(0) if t else e
        rows.append(e / e.sum())
    return torch.stack(rows)


@pytest.mark.parametrize("score", [General, Additive])
def test_formula(score: type) -> None:
    attention, queries, source = made(score=score), noise(3, T, Q), memory(*LENGTHS, width=Q)
    prepared = attention.prepare(source)
    weights = walk(attention, queries, source).weights
    for b, length in enumerate(LENGTHS[:2]):
        scores = attention.score(queries[b : b + 1].unsqueeze(1), prepared.prepared["keys"][b : b + 1], prepared)
        close(weights[b, 0, :, :length], literally(scores[0, 0, :, :length]))


def unit(*scores: list[float]) -> tuple[ComposedAttention, Tensor, Memory]:
    """A dot score over a memory of unit vectors: the queries are the scores."""
    values = torch.eye(Q).double().unsqueeze(0)
    return (
        made(score=Dot),
        torch.tensor([scores], dtype=torch.float64),
        Memory.of(values, torch.ones(1, Q, dtype=torch.bool)),
    )


def test_by_hand() -> None:
    """exp(e): (2, 1, 1, 1) twice, then (4, 1, 1, 1): 2 is divided by 2, 4 by 2 + 2, 1 by 1 and by 1 + 1."""
    two, four = math.log(2), math.log(4)
    weights = walk(*unit([two, 0, 0, 0], [two, 0, 0, 0], [four, 0, 0, 0])).weights[0, 0]
    expected = [[2 / 5, 1 / 5, 1 / 5, 1 / 5], [1 / 4] * 4, [2 / 5, 1 / 5, 1 / 5, 1 / 5]]
    close(weights, torch.tensor(expected, dtype=torch.float64))


def test_at_first_it_is_a_softmax() -> None:
    """Then it no longer is."""
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    first, plain = (walk(made(kind), queries, source).weights for kind in (IntraTemporalAttention, ComposedAttention))
    close(first[:, :, 0], plain[:, :, 0])
    assert (first[:2, :, 1:] - plain[:2, :, 1:]).abs().amax(-1).min() > 1e-3
    close(first.sum(-1)[:2], torch.ones(2, 1, T).double())


@pytest.mark.parametrize("window", [Global, partial(LocalM, reach=1)])
def test_equal_scores_stay_uniform(window: type) -> None:
    """In a window too: what it hid has its history all the same."""
    attention = made(score=Constant, window=window)
    weights = walk(attention, noise(1, T, Q), memory(6, width=Q)).weights[0, 0]
    close(weights, weights.gt(0).double() / weights.gt(0).sum(-1, keepdim=True))


@pytest.mark.parametrize("size", [30.0, 89.0, 3000.0])
def test_large_scores_stay_finite(size: float) -> None:
    """In fp32 exp(89) is infinite, and the formula NaN."""
    rows = [[size, -size, 0, 1], [size, size, 1, 0], [-size, size, 0, 0], [size, -size, 2, 0]]
    attention, queries, source = unit(*rows)
    exact = walk(attention, queries, source).weights
    values = source.values.float().requires_grad_()
    single = Memory(values, source.mask, source.positions, source.extent)
    answer = walk(attention.float(), queries.float(), single)
    torch.testing.assert_close(answer.weights.double(), exact, rtol=1e-4, atol=1e-4)
    answer.context.sum().backward()
    assert values.grad.isfinite().all()
    assert literally(queries[0].float()).isfinite().all() == (size == 30)


def test_history_is_of_scores_not_of_weights() -> None:
    """What a mask hid at first counts as if it had been seen."""
    attention, queries, source = made(), noise(1, T, Q), memory(6, width=Q)
    mask = torch.ones(1, T, 6, dtype=torch.bool)
    mask[0, 0, :4] = False
    mask[0, 1] = False
    masked, whole = walk(attention, queries, source, mask=mask), walk(attention, queries, source)
    close(masked.weights[:, :, 2:], whole.weights[:, :, 2:])
    assert not masked.weights[0, 0, 1].any()


def test_no_step_computes_a_nan() -> None:
    """Not even one that ``where`` would hide."""
    attention, queries = made(heads=2), noise(3, T, Q).requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        walk(attention, queries, memory(*LENGTHS, width=Q), chunks=(1, 2, 2)).context.sum().backward()
    assert queries.grad.isfinite().all()


def test_refusals() -> None:
    for source in (SourceSpec(Q, is_self=True), SourceSpec(Q, causal=True)):
        with pytest.raises(UserError, match="self-attention"):
            IntraTemporalAttention(Q, source, **PARTS)
