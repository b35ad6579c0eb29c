"""Tests of location-aware attention: it equals the paper's formula, computed one position and one filter at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Additive, General, Location
from seq2seq.attention.components.windows import Global
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.location_aware import LocationAwareAttention, median
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import ask, close, walk
from tests.catalogue import memory, noise, randomise

Q, V, T = 4, 6, 4
LENGTHS = (7, 3, 0)
PARTS = {"score": partial(Additive, bias=True), "window": Global, "normalizer": Softmax}


def build(**options: object) -> LocationAwareAttention:
    """Build location-aware attention with random parameters."""
    options = {"filters": 2, "width": 3, **PARTS, **options}
    return randomise(LocationAwareAttention(Q, SourceSpec(V), **options).double()).eval()


@pytest.mark.parametrize("width", [1, 3, 31])
@pytest.mark.parametrize("detach", [False, True])
def test_formula(width: int, detach: bool) -> None:
    """e = w^T tanh(W s + V h + U f + b), f_j = sum_d F_d a_{t-1, j+d}, a_{-1} uniform over the real positions."""
    attention, queries, source = build(width=width, detach=detach), noise(3, T, Q), memory(*LENGTHS, width=V)
    answer = walk(attention, queries, source)
    for b, length in enumerate(LENGTHS[:2]):
        previous = [1 / length] * length
        for t in range(T):
            e = []
            for j in range(length):
                inner = queries[b, t] @ attention.score.query_weight[0] + attention.score.bias[0, 0]
                inner = inner + source.values[b, j] @ attention.score.key_weight[0]
                for k in range(2):
                    reached = [(d, j + d - width // 2) for d in range(width) if 0 <= j + d - width // 2 < length]
                    f = sum(attention.filters[0, k, d] * previous[i] for d, i in reached)
                    inner = inner + f * attention.weight[0, k]
                e.append(inner.tanh() @ attention.score.vector[0])
            previous = torch.stack(e).softmax(0)
            close(answer.weights[b, 0, t, :length], previous)


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"score": General}], ids=str)
@pytest.mark.parametrize("zero", ["filters", "weight"])
def test_zero_filters_give_plain_attention(zero: str, options: dict[str, object]) -> None:
    attention, queries, source = build(**options), noise(3, T, Q), memory(*LENGTHS, width=V)
    nn.init.zeros_(getattr(attention, zero))
    soft = ComposedAttention(Q, SourceSpec(V), **{**PARTS, **options}).double().eval()
    soft.load_state_dict(attention.state_dict(), strict=False)
    close(walk(attention, queries, source).weights, walk(soft, queries, source).weights)


def scores(attention: LocationAwareAttention, source: Memory, previous: Tensor) -> Tensor:
    """Return the scores of one query after the weights ``previous``."""
    prepared = attention.prepare(source)
    keys = prepared.prepared["keys"]
    keys = keys + attention.features(previous, prepared, keys) @ attention.weight
    return attention.score(noise(1, 1, 1, Q), keys, prepared)


def test_shifting_memory_and_weights_shifts_the_scores() -> None:
    attention, values, weights = build(width=5), noise(1, 6, V), noise(1, 1, 6, seed=3).softmax(-1)
    at = []
    for shift in (4, 7):
        long, previous = torch.zeros(1, 20, V).double(), torch.zeros(1, 1, 20).double()
        long[:, shift : shift + 6], previous[..., shift : shift + 6] = values, weights
        mask = torch.ones(1, 20, dtype=torch.bool)
        at.append(scores(attention, Memory.of(long, mask), previous)[..., shift - 2 : shift + 8])
    close(at[0], at[1])


def test_filters_run_over_real_positions_in_their_order() -> None:
    """The filters skip padding, also between real positions."""
    attention, queries, source = build(width=5), noise(1, T, Q), memory(5, width=V)
    answer = walk(attention, queries, source)
    places = [4, 0, 6, 2, 1]  # of the five values in the moved memory
    values, mask, positions = noise(1, 7, V, seed=5), torch.zeros(1, 7, dtype=torch.bool), torch.full((1, 7, 1), 2)
    values[:, places], mask[:, places], positions[0, places, 0] = source.values, True, torch.arange(5) * 10
    moved = walk(attention, queries, Memory(values, mask, positions, torch.tensor([[41]])))
    close(moved.weights[..., places], answer.weights)
    close(moved.context, answer.context)


def test_median() -> None:
    """The median is the first position up to which the weights reach half of their sum, or -1 without weights."""
    source = build().prepare(memory(4, 4, 4, 0, width=V))
    weights = torch.tensor([[0.2, 0.2, 0.2, 0.4], [0.5, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.3], [0, 0, 0, 0]])
    assert median(weights.unsqueeze(1), source).flatten().tolist() == [2, 0, 3, -1]


def test_window() -> None:
    """The window is p - w .. p + w - 1 around the median p. The first query, or one after an empty query, sees all."""
    attention, queries, source = build(reach=2), noise(1, 6, Q), memory(7, width=V, step=3)
    prepared = attention.prepare(source)
    state = attention.initial_state(prepared)
    assert state["centre"].tolist() == [[-1]]
    mask = torch.ones(1, 1, 7, dtype=torch.bool)
    seen, centres = [], []
    for t, hidden in enumerate([[], [], [], range(7), []]):
        mask[...] = True
        mask[..., list(hidden)] = False
        answer = attention(ask(queries[:, t : t + 1], t), prepared, state, mask=mask, need_weights=True)
        state = answer.state
        seen.append(answer.weights[0, 0, 0].nonzero().flatten().tolist())
        centres.append(state["centre"].item())
        assert not hidden or not answer.context.any()
    everything = list(range(7))
    assert seen[0] == seen[4] == everything
    assert seen[3] == []
    for t in (1, 2):
        p = centres[t - 1]
        assert seen[t] == [j for j in everything if p - 2 <= j <= p + 1]
        assert len(seen[t]) < 7
    assert centres[3] == -1


def test_a_masked_window_gives_a_zero_context() -> None:
    """The context doesn't contain even the bias of W_o."""
    attention, source = build(reach=1, heads=2), memory(7, width=V)
    mask = torch.zeros(1, 2, 7, dtype=torch.bool)
    mask[0, 0, 0] = mask[0, 1, 6] = True
    answer = walk(attention, noise(1, 2, Q), source, mask=mask)
    assert answer.context[0, 0].any()
    assert not answer.context[0, 1].any()


@pytest.mark.parametrize("detach", [False, True])
def test_detach(detach: bool) -> None:
    """The second context has a gradient in the first query only without ``detach``."""
    attention, queries = build(detach=detach), noise(1, 2, Q).requires_grad_()
    context = walk(attention, queries, memory(5, width=V)).context[:, 1]
    (gradient,) = torch.autograd.grad(context.sum(), [queries])
    assert gradient[0, 1].any()
    assert gradient[0, 0].any() != detach
    assert attention.gradient == ("biased" if detach else "exact")


def test_gradient_through_earlier_weights_equals_finite_differences() -> None:
    """The law of gradients covers the default, which stops this gradient."""
    attention, source = build(detach=False), memory(3, 2, width=V)

    def outcomes(queries: Tensor, values: Tensor) -> Tensor:
        return walk(attention, queries, replace(source, values=values)).context

    assert gradcheck(outcomes, (noise(2, 3, Q).requires_grad_(), source.values.requires_grad_()), fast_mode=True)


def test_refusals() -> None:
    for options, message in [
        ({"width": 4}, "must be odd"),
        ({"filters": 0}, "at least 1"),
        ({"reach": 0}, "at least 1"),
        ({"score": Location}, "added to the keys"),
    ]:
        with pytest.raises(UserError, match=message):
            build(**options)
    with pytest.raises(UserError, match="image regions"):
        LocationAwareAttention(Q, SourceSpec(V, axes=2), **PARTS)
    with pytest.raises(UserError, match="self-attention"):
        LocationAwareAttention(Q, SourceSpec(V, is_self=True), **PARTS)
