"""Tests of patterns: the positions that each query sees, unions of patterns, and caches without values out of reach."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components.patterns import BigBird, BlockLocal, Dilated, Longformer, Random, SlidingWindow
from seq2seq.attention.components.scores import Additive
from seq2seq.attention.components.windows import LocalM, Window
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import ask, close, cut, same, walk
from tests.catalogue import WIDTH, mechanism, memory, noise

ENCODER, DECODER = SourceSpec(WIDTH, is_self=True), SourceSpec(WIDTH, is_self=True, causal=True)
both_slots = pytest.mark.parametrize("source", [ENCODER, DECODER], ids=["encoder", "decoder"])
NARROW: dict[str, dict[str, Any]] = {
    "sliding_window": {"reach": 2},
    "dilated": {"reach": 1, "dilation": 3},
    "block_local": {"size": 3},
    "random": {"keys": 2, "max_length": 5},
    "longformer": {"tokens": 2, "reach": 1},
    "big_bird": {"tokens": 1, "reach": 1, "keys": 1, "max_length": 5},
}
every_pattern = pytest.mark.parametrize("name", NARROW)


def build(name: str, source: SourceSpec, *overrides: str, **options: Any) -> ComposedAttention:
    """Build self-attention with this pattern, with the options of ``NARROW`` unless others are given."""
    chosen = [f"self_attention.window.{key}={value}" for key, value in (options or NARROW[name]).items()]
    return mechanism("self_attention", name, source, *chosen, *overrides)


def seen(window: Window, length: int, source: Memory | None = None) -> list[list[int]]:
    """Return the places that each of ``length`` queries sees."""
    places = torch.arange(length)[None]
    visible = window(Query(torch.zeros(1, length, WIDTH), places), source or memory(length)).visible
    return [row.nonzero().flatten().tolist() for row in visible[0, 0]]


def used(mechanism: ComposedAttention, length: int) -> Tensor:
    """Return (H, T, S), True where a weight is not 0."""
    return walk(mechanism, noise(1, length, WIDTH), memory(length)).weights[0] > 0


def test_sliding_window() -> None:
    assert seen(SlidingWindow(WIDTH, 1, ENCODER, reach=1), 4) == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]]
    assert used(build("sliding_window", DECODER), 5)[0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1],
    ]  # fmt: skip


def test_dilated() -> None:
    window = Dilated(WIDTH, 1, ENCODER, reach=2, dilation=3)
    rows = seen(window, 14)
    assert rows[0] == [0, 3, 6]
    assert rows[7] == [1, 4, 7, 10, 13]
    assert rows[13] == [7, 10, 13]
    assert seen(Dilated(WIDTH, 1, ENCODER, reach=2, dilation=1), 6) == seen(
        SlidingWindow(WIDTH, 1, ENCODER, reach=2), 6
    )


def test_block_local() -> None:
    assert seen(BlockLocal(WIDTH, 1, ENCODER, size=2), 5) == [[0, 1], [0, 1], [2, 3], [2, 3], [4]]
    assert used(build("block_local", DECODER), 5)[0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1],
    ]  # fmt: skip


def test_longformer() -> None:
    assert seen(Longformer(WIDTH, 1, ENCODER, tokens=1, reach=1), 5) == [
        [0, 1, 2, 3, 4], [0, 1, 2], [0, 1, 2, 3], [0, 2, 3, 4], [0, 3, 4],
    ]  # fmt: skip
    assert used(build("longformer", DECODER, tokens=1, reach=1), 5)[0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 0, 1, 1],
    ]  # fmt: skip


@both_slots
def test_random(source: SourceSpec) -> None:
    """Query i sees itself and floor(u_ik n), u the stored draws; n = i + 1 if causal, else the unpadded length."""
    window = Random(WIDTH, 1, source, keys=3, max_length=4)
    u = (window.draws.double() / 2**31).tolist()
    padded = memory(9, 6).select(torch.tensor([1]))
    assert padded.mask.shape == (1, 9)
    for i, row in enumerate(seen(window, 6, padded)):
        n = i + 1 if source.causal else 6
        assert row == sorted({i, *(int(x * n) for x in u[i % 4])})


@both_slots
@pytest.mark.parametrize("window", [Random, BigBird])
def test_draws_are_stored(window: type[Window], source: SourceSpec) -> None:
    """Draws are made once, stored in the state dict, and equal in every precision."""
    first, second = (window(WIDTH, 1, source, keys=2, max_length=512) for _ in range(2))
    assert seen(first, 40) == seen(first, 40) != seen(second, 40)
    assert seen(copy.deepcopy(first).bfloat16(), 400) == seen(first, 400)
    second.load_state_dict(first.state_dict())
    assert seen(second, 40) == seen(first, 40)
    (draws,) = first.state_dict().values()
    assert draws.shape == (512, 2)


def test_big_bird_is_a_union() -> None:
    """Big Bird sees the union of Longformer and random positions."""
    window = BigBird(WIDTH, 1, ENCODER, tokens=2, reach=1, keys=2, max_length=16)
    drawn = Random(WIDTH, 1, ENCODER, keys=2, max_length=16)
    drawn.load_state_dict(window.random.state_dict())
    parts = (Longformer(WIDTH, 1, ENCODER, tokens=2, reach=1), drawn)
    unions = [sorted({*a, *b}) for a, b in zip(*(seen(part, 12) for part in parts), strict=True)]
    assert seen(window, 12) == unions


def test_causal_big_bird() -> None:
    """Query i sees place 0 (global), one place back, and floor(u_i (i + 1)), with u = 1/4 and 1/2 alternately."""
    ours = build("big_bird", DECODER, tokens=1, reach=1, keys=1, max_length=2)
    ours.window.random.draws.copy_(torch.tensor([[2**29], [2**30]]))
    assert used(ours, 9)[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 1, 0, 1, 1, 0],
        [1, 0, 1, 0, 0, 0, 0, 1, 1],
    ]


@both_slots
@every_pattern
def test_every_query_sees_itself(name: str, source: SourceSpec) -> None:
    assert used(build(name, source), 12).diagonal(dim1=1, dim2=2).all()


@both_slots
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sliding_window", {"reach": 8}),
        ("dilated", {"reach": 8, "dilation": 1}),
        ("block_local", {"size": 9}),
        ("longformer", {"tokens": 1, "reach": 8}),
        ("longformer", {"tokens": 9, "reach": 1}),
        ("big_bird", {"tokens": 1, "reach": 8}),
    ],
)
def test_wide_patterns_equal_full_attention(name: str, options: dict[str, int], source: SourceSpec) -> None:
    """A pattern that reaches every position equals full attention."""
    wide, plain = build(name, source, **options), mechanism("self_attention", "multi_head", source)
    plain.load_state_dict({key: x for key, x in wide.state_dict().items() if not key.startswith("window.")})
    queries, values = noise(3, 9, WIDTH), memory(9, 6, 2)
    same(walk(wide, queries, values), walk(plain, queries, values))


@both_slots
@every_pattern
@pytest.mark.parametrize("position", ["none", "rotary", "alibi"])
def test_weights_are_the_softmax_over_visible_positions(name: str, source: SourceSpec, position: str) -> None:
    """Weights are those of full attention at the visible positions, divided by their sum."""
    spec = SourceSpec(WIDTH, is_self=True, causal=source.causal, position=position)
    ours, plain = build(name, spec), mechanism("self_attention", "multi_head", spec)
    plain.load_state_dict({key: x for key, x in ours.state_dict().items() if not key.startswith("window.")})
    queries, values = noise(3, 12, WIDTH), memory(12, 6, 2)
    full = walk(plain, queries, values).weights
    part = full * ours.window(ask(queries, 0), values).visible
    assert (part == 0).sum() > (full == 0).sum()
    close(walk(ours, queries, values).weights, part / part.sum(-1, keepdim=True).clamp_min(1e-30))


@every_pattern
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("chunks", [(1,) * 12, (5, 7), (4, 1, 3, 4)], ids=str)
def test_dropping_cached_values_changes_no_context(name: str, chunks: tuple[int, ...], need_weights: bool) -> None:
    """The cache drops values out of reach, and contexts in chunks equal those of one call."""
    ours, queries, values = build(name, DECODER), noise(3, 12, WIDTH), memory(12, 6, 2)
    whole = walk(ours, queries, values).context
    close(walk(ours, queries, values, chunks=chunks, need_weights=need_weights).context, whole)


@pytest.mark.parametrize("name", sorted({*NARROW, "adaptive_span"}))
def test_dropping_cached_values_with_default_options(name: str) -> None:
    """The cache works with the options of ``conf`` for a sequence longer than the reach of every window."""
    ours, queries, values = mechanism("self_attention", name, DECODER), noise(2, 70, WIDTH), memory(70, 30)
    whole = walk(ours, queries, values)
    first, last = ours.window.cache_window or (0, 69)
    assert not whole.weights[0, :, -1, first : 69 - last].any()
    close(walk(ours, queries, values, chunks=(9, *(1,) * 61), need_weights=False).context, whole.context)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("sliding_window", 2),
        ("dilated", 3),
        ("block_local", 2),
        ("longformer", 3),
        ("random", None),
        ("big_bird", None),
    ],
)
def test_cache_is_bounded(name: str, most: int | None) -> None:
    """The cache keeps at most ``most`` values before each new value, but all of them if weights are needed."""
    ours, values = build(name, DECODER), memory(12, 6)
    for need_weights in (False, True):
        past = None
        for t in range(12):
            past = ours.extend(past, ours.prepare(cut(values, slice(t, t + 1))), need_weights=need_weights)
            kept = t if need_weights or most is None else min(t, most)
            assert past.mask.shape == (2, kept + 1)
            assert past.positions[0, -1, 0] == t
            assert {x.shape[2] for x in past.prepared.values()} == {kept + 1}
            assert past.extent.flatten().tolist() == [t + 1, min(t + 1, 6)]
        sizes = {x.untyped_storage().nbytes() for x in past.prepared.values()}
        assert sizes == {past.mask.numel() * WIDTH * 8}  # they are no views of larger tensors


def test_cache_keeps_global_tokens() -> None:
    ours, values, past = build("longformer", DECODER), memory(12), None
    for t in range(12):
        past = ours.extend(past, ours.prepare(cut(values, slice(t, t + 1))))
    assert past.positions.flatten().tolist() == [0, 1, 10, 11]


def test_cache_can_be_reordered() -> None:
    """The rows of a cache can be reordered after values were dropped."""
    ours, queries, values = build("sliding_window", DECODER), noise(3, 9, WIDTH), memory(9, 6, 4)
    index = torch.tensor([2, 0, 0])
    past = None
    for t in range(6):
        past = ours.extend(past, ours.prepare(cut(values, slice(t, t + 1))))
    past = ours.extend(past.select(index), ours.prepare(cut(values, slice(6, 9)).select(index)))
    context = ours(ask(queries[index, 6:], 6), past, {}).context
    close(context, walk(ours, queries[index], values.select(index)).context[:, 6:])


def test_local_m_drops_cached_values_too() -> None:
    """In self-attention, p_t = t is the query's own place, so local-m equals a sliding window and drops values too."""
    local = mechanism("self_attention", "multi_head", DECODER, "attention/window@self_attention.window=local_m",
                      "self_attention.window.reach=2")  # fmt: skip
    assert isinstance(local.window, LocalM)
    queries, values = noise(3, 12, WIDTH), memory(12, 6, 2)
    whole = walk(local, queries, values)
    close(walk(local, queries, values, chunks=(1,) * 12, need_weights=False).context, whole.context)
    same(walk(build("sliding_window", DECODER), queries, values), whole)


@pytest.mark.parametrize("window", [SlidingWindow, Dilated, BlockLocal, Random, Longformer, BigBird])
def test_patterns_refuse_other_slots(window: type[Window]) -> None:
    """Patterns refuse cross-attention and memories with two axes."""
    with pytest.raises(UserError, match=f"{window.__name__}.*two sequences.*self-attention"):
        window(WIDTH, 1, SourceSpec(WIDTH))
    with pytest.raises(UserError, match="time"):
        window(WIDTH, 1, SourceSpec(WIDTH, axes=2, is_self=True))


@every_pattern
def test_refusals(name: str) -> None:
    """Every option must be at least 1."""
    classes = {"sliding_window": SlidingWindow, "dilated": Dilated, "block_local": BlockLocal, "random": Random}
    window = {**classes, "longformer": Longformer, "big_bird": BigBird}[name]
    for option in NARROW[name]:
        with pytest.raises(UserError, match=rf"^{option}=0 must be at least 1"):
            window(WIDTH, 1, ENCODER, **{option: 0})


def test_patterns_combine_with_other_scores() -> None:
    """Overrides combine a pattern with another mechanism and another score."""
    ours = mechanism(
        "self_attention", "multi_head", ENCODER,
        "attention/window@self_attention.window=big_bird", "self_attention.window.keys=1",
        "attention/score@self_attention.score=additive",
    )  # fmt: skip
    assert isinstance(ours.window, BigBird)
    assert isinstance(ours.score, Additive)
    rows = [row.nonzero().flatten().tolist() for row in used(ours, 12)[0]]
    assert rows == seen(ours.window, 12)
    assert rows[11] != list(range(12))
