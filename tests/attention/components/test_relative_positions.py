"""Tests of relative position representations: they equal the paper's equations, computed for one pair at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components.relative_positions import RelativeAttention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.config.instantiate import build_node
from seq2seq.errors import UserError
from seq2seq.layers.dropout import dropout
from tests import seeding
from tests.attention.walk import ask, close, same, walk
from tests.catalogue import WIDTH, config, mechanism, memory, noise

T, HEADS = 7, 4
ENCODER, DECODER = SourceSpec(WIDTH, is_self=True), SourceSpec(WIDTH, is_self=True, causal=True)
both_slots = pytest.mark.parametrize("source", [ENCODER, DECODER], ids=["encoder", "decoder"])


def build(source: SourceSpec, *overrides: str) -> RelativeAttention:
    """Build relative self-attention with these options."""
    ours = mechanism("self_attention", "relative", source, *(f"self_attention.{line}" for line in overrides))
    assert isinstance(ours, RelativeAttention)
    return ours


def by_hand(ours: RelativeAttention, queries: Tensor, values: Memory) -> tuple[Tensor, Tensor]:
    """Return contexts (B, T, C) and weights (B, H, T, S) from equations 3 and 4, computed in loops."""
    width = WIDTH // HEADS
    q = ours.query(queries)
    keys, v = ours.key_value(values.values).chunk(2, -1)
    size = values.values.shape[1]
    contexts = torch.zeros(len(queries), T, WIDTH, dtype=torch.float64)
    weights = torch.zeros(len(queries), HEADS, T, size, dtype=torch.float64)
    for b in range(len(queries)):
        for i in range(T):
            seen = [j for j in range(size) if values.mask[b, j] and (j <= i or not ours.source.causal)]
            combined = torch.zeros(WIDTH, dtype=torch.float64)
            for h in range(HEADS):
                part = slice(h * width, (h + 1) * width)
                distance = {j: max(-ours.clip, min(ours.clip, j - i)) + ours.clip for j in seen}
                scores = {j: float(q[b, i, part] @ (keys[b, j, part] + ours.key_table[distance[j]])) for j in seen}
                total = sum(math.exp(e / math.sqrt(width)) for e in scores.values())
                for j in seen:
                    weights[b, h, i, j] = math.exp(scores[j] / math.sqrt(width)) / total
                    value = v[b, j, part]
                    if ours.value_table is not None:
                        value = value + ours.value_table[distance[j]]
                    combined[part] += weights[b, h, i, j] * value
            if seen:
                contexts[b, i] = ours.output(combined)
    return contexts, weights


@both_slots
@pytest.mark.parametrize("values", ["true", "false"])
@pytest.mark.parametrize("clip", [1, 3, 16])
def test_by_hand(source: SourceSpec, clip: int, values: str) -> None:
    """Contexts and weights equal those of the loops in ``by_hand``."""
    ours = build(source, f"clip={clip}", f"values={values}")
    queries, past = noise(3, T, WIDTH), memory(T, 4, 0)
    with torch.no_grad():
        contexts, weights = by_hand(ours, queries, past)
    for need_weights in (True, False):
        answer = walk(ours, queries, past, need_weights=need_weights)
        close(answer.context, contexts)
        if need_weights:
            close(answer.weights, weights)


@both_slots
def test_tables_of_zeros_give_plain_attention(source: SourceSpec) -> None:
    """With zero tables, relative attention equals multi-head attention."""
    ours, plain = build(source), mechanism("self_attention", "multi_head", source)
    for table in (ours.key_table, ours.value_table):
        torch.nn.init.zeros_(table)
    plain.load_state_dict({name: x for name, x in ours.state_dict().items() if "table" not in name})
    queries, values = noise(3, T, WIDTH), memory(T, 4, 0)
    same(walk(ours, queries, values), walk(plain, queries, values))


def test_only_distances_matter() -> None:
    """Moving all positions by 100 changes no weight, but reversing the order does."""
    ours, values = build(ENCODER, "clip=2"), memory(T, 4)
    prepared = ours.prepare(values)
    moved = ours.prepare(replace(values, positions=values.positions + 100))
    queries = noise(2, T, WIDTH)
    answer = walk(ours, queries, values)
    close(ours(ask(queries, 100), moved, {}, need_weights=True).weights, answer.weights)
    backwards = replace(prepared, positions=-prepared.positions)
    other = ours(replace(ask(queries, 0), position=-torch.arange(T).expand(2, -1)), backwards, {}, need_weights=True)
    assert not torch.allclose(other.weights, answer.weights)


def test_tables_are_shared_by_heads_and_start_nonzero() -> None:
    """Each table has 2 x 16 + 1 rows of the width of one head, and its initial values are not near 0."""
    seeding.seed(0)
    ours = build_node(config("self_attention=relative").self_attention, WIDTH, ENCODER)
    assert ours.key_table.shape == ours.value_table.shape == (33, WIDTH // HEADS)
    assert ours.key_table.std() > 0.1


def test_one_head_without_projections() -> None:
    """Queries and values are used as they are. a^K is added to the keys of the score, W k for a general score."""
    for score in ("dot", "general"):
        ours = mechanism(
            "self_attention", "relative", ENCODER, f"attention/score@self_attention.score={score}",
            "self_attention.heads=1", "self_attention.project=false", "self_attention.clip=2",
            "self_attention.score.scale=0.7",
        )  # fmt: skip
        queries, values = noise(1, T, WIDTH), memory(T)
        keys = ours.score.keys(values.values[:, None])[0, 0]
        distance = (torch.arange(T) - torch.arange(T)[:, None]).clamp(-2, 2) + 2
        weights = (0.7 * torch.einsum("td,tsd->ts", queries[0], keys + ours.key_table[distance])).softmax(-1)
        context = torch.einsum("ts,tsd->td", weights, values.values[0] + ours.value_table[distance])
        close(walk(ours, queries, values).context[0], context)


def test_dropout_acts_on_distances_too() -> None:
    """Dropout of the weights acts on a^V as it acts on v."""
    ours = mechanism(
        "self_attention", "relative", ENCODER, "self_attention.heads=1", "self_attention.project=false",
        "self_attention.clip=2", "model.attention_dropout=0.5",
    ).train()  # fmt: skip
    queries, values = noise(2, T, WIDTH), memory(T, 4)
    seeding.seed(0)
    answer = walk(ours, queries, values)
    seeding.seed(0)
    dropped = dropout(answer.weights[:, 0], 0.5)
    assert (dropped == 0).sum() > (answer.weights == 0).sum()
    distance = (torch.arange(T) - torch.arange(T)[:, None]).clamp(-2, 2) + 2
    values_read = values.values[:, None] + ours.value_table[distance]
    close(answer.context, torch.einsum("bts,btsd->btd", dropped, values_read))


@pytest.mark.parametrize(
    ("overrides", "source", "reason"),
    [
        ([], SourceSpec(WIDTH), r"two sequences"),
        ([], replace(ENCODER, axes=2), r"time"),
        ([], replace(ENCODER, position="rotary"), r"both encode distance"),
        (["attention/score@self_attention.score=additive"], ENCODER, r"dot product"),
        (["self_attention.clip=0"], ENCODER, r"clip=0.*at least 1"),
    ],
)
def test_refusals(overrides: list[str], source: SourceSpec, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        build_node(config("self_attention=relative", *overrides).self_attention, WIDTH, source)
