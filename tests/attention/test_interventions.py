"""Interventions over every file of ``conf/attention``: the weights shown are all that a context is made of."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seq2seq.attention.base import Attention
from seq2seq.attention.interventions import (
    CHANGES,
    FIRST_WEIGHTS,
    Change,
    change_of,
    forced,
    intervened,
    recorded,
)
from seq2seq.attention.types import Memory, Query, SourceSpec, select_rows
from seq2seq.errors import UserError
from tests.attention.walk import outcome, walk
from tests.catalogue import WIDTH, choices, mechanism, memory, noise

T, S = 5, 6
SOURCE = SourceSpec(WIDTH, input_dim=WIDTH)
every_mechanism = pytest.mark.parametrize("name", choices("attention"))
every_intervention = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())


def built(name: str) -> Attention:
    return mechanism("attention", name, SOURCE)


def given(values: list[Tensor]) -> Change:
    """Weights of our choice, call by call."""
    calls = iter(values)
    return lambda weights, query, memory, first: next(calls)


def seen(attention: Attention, queries: Tensor, source: Memory) -> list[Tensor]:
    """The weights as they come, call by call."""
    found: list[Tensor] = []

    def keep(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
        found.append(weights)
        return weights

    with intervened(attention, keep):
        walk(attention, queries, source)
    return found


@every_mechanism
def test_weights_put_back_change_nothing(name: str) -> None:
    attention, queries, source = built(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    plain = walk(attention, queries, source)
    with intervened(attention, lambda weights, query, memory, first: weights):
        same = walk(attention, queries, source)
    assert_close(outcome(same), outcome(plain))
    assert_close(same.weights, plain.weights)
    assert_close(walk(attention, queries, source).context, plain.context)  # and nothing of it stays behind


@every_mechanism
def test_a_context_is_affine_in_its_weights(name: str) -> None:
    """c(x A + (1 - x) B) = x c(A) + (1 - x) c(B): nothing else reads what was weighed."""
    attention, queries, source = built(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    own = seen(attention, queries, source)
    one = [noise(*weights.shape) for weights in own]
    other = [weights.flip(-1) for weights in one]
    mixed = [0.3 * a + 0.7 * b for a, b in zip(one, other, strict=True)]
    contexts = []
    for weights in (one, other, mixed):
        with intervened(attention, given(weights)):
            contexts.append(walk(attention, queries, source).context)
    assert_close(contexts[2], 0.3 * contexts[0] + 0.7 * contexts[1])
    assert not torch.allclose(contexts[0], contexts[1])


@every_mechanism
@every_intervention
def test_chunks(name: str, change: Change) -> None:
    attention, queries, source = built(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    with intervened(attention, change):
        whole = walk(attention, queries, source)
        parts = walk(attention, queries, source, chunks=(1,) * T)
    assert_close(outcome(parts), outcome(whole))
    assert_close(parts.weights, whole.weights)


@every_mechanism
@every_intervention
def test_padding_takes_nothing(name: str, change: Change) -> None:
    attention, queries, source = built(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    with intervened(attention, change):
        padded = walk(attention, queries, source)
        alone = walk(attention, queries[1:2], memory(S, 4, 2, step=3).select(torch.tensor([1])))
    assert not padded.weights[1, :, :, 4:].any()
    assert_close(padded.context[1:2], alone.context)


@pytest.mark.parametrize("name", ["additive", "multi_head", "latent", "coverage", "linear", "hierarchical"])
def test_what_they_do_to_weights(name: str) -> None:
    attention, queries, source = built(name), noise(2, T, WIDTH), memory(S, 4, step=3)
    plain = walk(attention, queries, source).weights
    found = {}
    for how, change in CHANGES.items():
        with intervened(attention, change):
            found[how] = walk(attention, queries, source).weights
    assert_close(found["uniform"][0], torch.full_like(plain[0], 1 / S))
    assert_close(found["uniform"][1, ..., :4], torch.full_like(plain[1, ..., :4], 1 / 4))
    assert_close(found["frozen"], plain[:, :, :1].expand_as(plain))
    assert_close(found["permuted"].sort(-1).values, plain.sort(-1).values)
    moved = found["permuted"].argmax(-1) != plain.argmax(-1)
    assert 0.4 < moved.double().mean() < 1


@every_mechanism
def test_mean_rows(name: str) -> None:
    """Of the first sentence two target positions are padding. Each use of weights has a mean of its own."""
    attention, queries, source = built(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    real = torch.ones(3, T, dtype=torch.bool)
    real[0, 3:] = False
    with recorded(attention) as weights:
        plain = walk(attention, queries, source, chunks=(2, 1, 2)).weights
    means = weights.means(real)
    with intervened(attention, CHANGES["frozen"], means):
        whole = walk(attention, queries, source)
        parts = walk(attention, queries, source, chunks=(1,) * T)
    expected = torch.stack([plain[n, :, : 3 if n == 0 else T].mean(1, keepdim=True) for n in range(3)])
    assert_close(whole.weights, expected.expand_as(plain))
    assert_close(outcome(parts), outcome(whole))


def test_rows_of_a_frozen_state_can_be_reordered() -> None:
    attention, queries, source = built("additive"), noise(2, 1, WIDTH), memory(S, 4, step=3)
    prepared = attention.prepare(source)
    ask = partial(Query, position=torch.zeros(2, 1, dtype=torch.long))
    with intervened(attention, CHANGES["frozen"]):
        first = attention(ask(queries), prepared, attention.initial_state(prepared), need_weights=True)
        order = torch.tensor([1, 0])
        turned = select_rows(first.state, order)
        again = attention(ask(noise(2, 1, WIDTH)), prepared.select(order), turned, need_weights=True)
    assert any(name.startswith(FIRST_WEIGHTS) for name in first.state)
    assert_close(again.weights, first.weights.index_select(0, order))


@every_mechanism
def test_forced_rows_are_used(name: str) -> None:
    """Row 0 is scaled to a sum of 1. Row 1 is zero and steps 3 and 4 have no row, so that they keep their weights."""
    attention, queries, source = built(name), noise(2, T, WIDTH), memory(S, S, step=3)
    rows = torch.tensor([[2.0, 0, 2, 0, 0, 0], [0.0] * S, [0, 0, 0, 0, 0, 1.0]])
    with intervened(attention, forced(rows)):
        whole = walk(attention, queries, source)
        parts = walk(attention, queries, source, chunks=(1,) * T)
    hops = whole.weights.shape[1]
    assert_close(whole.weights[:, :, 0], (rows[0].double() / 4).expand(2, hops, S))
    assert_close(whole.weights[:, :, 2], rows[2].double().expand(2, hops, S))
    assert_close(outcome(parts), outcome(whole))
    assert_close(parts.weights, whole.weights)


def test_forced_rows_leave_other_steps() -> None:
    attention, queries, source = built("additive"), noise(2, T, WIDTH), memory(S, S, step=3)
    plain = walk(attention, queries, source)
    with intervened(attention, forced([[0.0] * S, [1.0] + [0.0] * (S - 1)])):
        changed = walk(attention, queries, source)
    kept = [0, 2, 3, 4]
    assert_close(changed.weights[:, :, kept], plain.weights[:, :, kept])
    assert_close(changed.context[:, kept], plain.context[:, kept])
    assert not torch.allclose(changed.context[:, 1], plain.context[:, 1])


def test_what_cannot_be_forced() -> None:
    attention, queries = built("additive"), noise(2, T, WIDTH)
    for rows in ([1.0, 2.0], [[]], [[-1.0, 2.0]], [[float("nan"), 1.0]]):
        with pytest.raises(UserError, match="forced attention: must be a matrix"):
            forced(rows)
    for source, columns in ((memory(S, S, step=3), S - 1), (memory(S, 4, step=3), S)):
        with intervened(attention, forced([[1.0] * columns])), pytest.raises(UserError, match="one source at a time"):
            walk(attention, queries, source)


def test_changes_by_name() -> None:
    assert change_of("uniform") is CHANGES["uniform"]
    assert change_of(CHANGES["frozen"]) is CHANGES["frozen"]
    with pytest.raises(UserError, match="'averaged' is unknown; choose from: uniform, permuted, frozen"):
        change_of("averaged")
