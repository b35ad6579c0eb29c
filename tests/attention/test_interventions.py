"""Tests of interventions on the weights of every mechanism: no context uses other weights than those shown."""

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


def build(name: str) -> Attention:
    """Return a mechanism of ``conf/attention`` over a source."""
    return mechanism("attention", name, SOURCE)


def replace_by(values: list[Tensor]) -> Change:
    """Return a change that replaces the weights of each call by the next of ``values``."""
    calls = iter(values)
    return lambda weights, query, memory, first: next(calls)


def computed_weights(attention: Attention, queries: Tensor, source: Memory) -> list[Tensor]:
    """Return the weights that attention computes, call by call."""
    found: list[Tensor] = []

    def keep(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
        """Record the weights and return them unchanged."""
        found.append(weights)
        return weights

    with intervened(attention, keep):
        walk(attention, queries, source)
    return found


@every_mechanism
def test_returning_the_same_weights_changes_nothing(name: str) -> None:
    attention, queries, source = build(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    plain = walk(attention, queries, source)
    with intervened(attention, lambda weights, query, memory, first: weights):
        same = walk(attention, queries, source)
    assert_close(outcome(same), outcome(plain))
    assert_close(same.weights, plain.weights)
    assert_close(walk(attention, queries, source).context, plain.context)  # the intervention has ended


@every_mechanism
def test_context_is_affine_in_the_weights(name: str) -> None:
    """c(x A + (1 - x) B) = x c(A) + (1 - x) c(B) for any weights A and B that replace its own."""
    attention, queries, source = build(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    own = computed_weights(attention, queries, source)
    one = [noise(*weights.shape) for weights in own]
    other = [weights.flip(-1) for weights in one]
    mixed = [0.3 * a + 0.7 * b for a, b in zip(one, other, strict=True)]
    contexts = []
    for weights in (one, other, mixed):
        with intervened(attention, replace_by(weights)):
            contexts.append(walk(attention, queries, source).context)
    assert_close(contexts[2], 0.3 * contexts[0] + 0.7 * contexts[1])
    assert not torch.allclose(contexts[0], contexts[1])


@every_mechanism
@every_intervention
def test_intervention_is_independent_of_chunks(name: str, change: Change) -> None:
    attention, queries, source = build(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    with intervened(attention, change):
        whole = walk(attention, queries, source)
        parts = walk(attention, queries, source, chunks=(1,) * T)
    assert_close(outcome(parts), outcome(whole))
    assert_close(parts.weights, whole.weights)


@every_mechanism
@every_intervention
def test_intervention_ignores_padding(name: str, change: Change) -> None:
    attention, queries, source = build(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
    with intervened(attention, change):
        padded = walk(attention, queries, source)
        alone = walk(attention, queries[1:2], memory(S, 4, 2, step=3).select(torch.tensor([1])))
    assert not padded.weights[1, :, :, 4:].any()
    assert_close(padded.context[1:2], alone.context)


@pytest.mark.parametrize("name", ["additive", "multi_head", "latent", "coverage", "linear", "hierarchical"])
def test_changes_compute_the_documented_weights(name: str) -> None:
    attention, queries, source = build(name), noise(2, T, WIDTH), memory(S, 4, step=3)
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
def test_frozen_weights_can_be_recorded_means(name: str) -> None:
    """Frozen weights equal their mean over real target positions, for each use of weights. Sentence 0 has padding."""
    attention, queries, source = build(name), noise(3, T, WIDTH), memory(S, 4, 2, step=3)
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
    attention, queries, source = build("additive"), noise(2, 1, WIDTH), memory(S, 4, step=3)
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
    """Row 0 is scaled to a sum of 1. Step 1, whose row is zero, and steps 3 and 4 without a row keep their weights."""
    attention, queries, source = build(name), noise(2, T, WIDTH), memory(S, S, step=3)
    rows = torch.tensor([[2.0, 0, 2, 0, 0, 0], [0.0] * S, [0, 0, 0, 0, 0, 1.0]])
    with intervened(attention, forced(rows)):
        whole = walk(attention, queries, source)
        parts = walk(attention, queries, source, chunks=(1,) * T)
    hops = whole.weights.shape[1]
    assert_close(whole.weights[:, :, 0], (rows[0].double() / 4).expand(2, hops, S))
    assert_close(whole.weights[:, :, 2], rows[2].double().expand(2, hops, S))
    assert_close(outcome(parts), outcome(whole))
    assert_close(parts.weights, whole.weights)


def test_forced_rows_keep_other_steps() -> None:
    attention, queries, source = build("additive"), noise(2, T, WIDTH), memory(S, S, step=3)
    plain = walk(attention, queries, source)
    with intervened(attention, forced([[0.0] * S, [1.0] + [0.0] * (S - 1)])):
        changed = walk(attention, queries, source)
    kept = [0, 2, 3, 4]
    assert_close(changed.weights[:, :, kept], plain.weights[:, :, kept])
    assert_close(changed.context[:, kept], plain.context[:, kept])
    assert not torch.allclose(changed.context[:, 1], plain.context[:, 1])


def test_refusals_of_forced_rows() -> None:
    attention, queries = build("additive"), noise(2, T, WIDTH)
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
