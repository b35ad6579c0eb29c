"""Tests of end-to-end memory networks: they equal the paper's formulas, computed one memory at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seq2seq.attention.memory_network import MemoryNetworkAttention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import close, cut, walk
from tests.catalogue import memory, noise, randomise

Q, V, D, T = 4, 3, 5, 2
LENGTHS = (5, 3)
every_tying = pytest.mark.parametrize("tying", ["adjacent", "layerwise"])


def build(**options: object) -> MemoryNetworkAttention:
    """Build a memory network with random parameters."""
    options = {"dim": D, "max_length": 20, **options}
    return randomise(MemoryNetworkAttention(Q, SourceSpec(V), **options).double()).eval()


def dot(x: list[float], y: list[float]) -> float:
    """Return the dot product of two lists."""
    return sum(a * b for a, b in zip(x, y, strict=True))


@every_tying
@pytest.mark.parametrize("temporal", [True, False])
@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("linear", [False, True])
def test_formula(tying: str, temporal: bool, hops: int, linear: bool) -> None:
    """p_i = softmax_i(u . m_i), or u . m_i in the linear start; u <- u + sum_i p_i c_i (layerwise: H u + ...)."""
    attention = build(tying=tying, temporal=temporal, hops=hops, linear_start=float(linear))
    queries, source = noise(2, T, Q), memory(*LENGTHS, width=V)
    answer = walk(attention, queries, source)
    assert answer.weights.shape == (2, hops, T, 5)
    embed = attention.embed.tolist()
    b_matrix = attention.embed_query.weight.tolist()

    def vector(b: int, k: int, i: int) -> list[float]:
        """Return memory ``i`` of row ``b`` in embedding ``k``."""
        x = source.values[b, i].tolist()
        made = [dot(x, [row[d] for row in embed[k]]) for d in range(D)]
        if temporal:  # index 0 is the most recent memory
            age = LENGTHS[b] - 1 - i
            made = [m + s for m, s in zip(made, attention.time[k, age].tolist(), strict=True)]
        return made

    for b, length in enumerate(LENGTHS):
        for t in range(T):
            u = [dot(row, queries[b, t].tolist()) for row in b_matrix]
            for hop in range(hops):
                a, c = (hop, hop + 1) if tying == "adjacent" else (0, 1)

                scores = [dot(u, vector(b, a, i)) for i in range(length)]
                p = scores if linear else [math.exp(e) / sum(map(math.exp, scores)) for e in scores]
                assert answer.weights[b, hop, t].tolist() == pytest.approx(p + [0.0] * (5 - length))
                o = [sum(p[i] * vector(b, c, i)[d] for i in range(length)) for d in range(D)]
                if tying == "layerwise":
                    u = [dot(row, u) for row in attention.between_hops.weight.tolist()]
                u = [x + y for x, y in zip(u, o, strict=True)]
            assert answer.context[b, t].tolist() == pytest.approx(u)


def test_one_hop_by_hand() -> None:
    """One hop, two memories of one number: u = 1, m = (0, log 3), c = (1, 2): p = (1/4, 3/4), u + o = 1 + 7/4."""
    attention = MemoryNetworkAttention(1, SourceSpec(2), hops=1, temporal=False).double()
    attention.embed_query.weight.data.fill_(1.0)
    attention.embed.data.copy_(torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]]))
    values = torch.tensor([[[0.0, 1.0], [math.log(3), 2.0]]], dtype=torch.float64)
    answer = walk(attention, torch.ones(1, 1, 1).double(), Memory.of(values, torch.ones(1, 2, dtype=torch.bool)))
    assert answer.weights.flatten().tolist() == pytest.approx([0.25, 0.75])
    assert answer.context.item() == pytest.approx(2.75)


def test_tying_sets_the_number_of_parameters() -> None:
    """Adjacent: the output embedding of a hop is the input embedding of the next, so that K hops have K + 1 embeddings.

    Layerwise: all hops share one pair of embeddings.
    """
    assert build(hops=3).embed.shape[0] == build(hops=3).time.shape[0] == 4
    layerwise = build(hops=3, tying="layerwise")
    assert layerwise.embed.shape[0] == layerwise.time.shape[0] == 2
    assert layerwise.between_hops.weight.shape == (D, D)
    assert build(temporal=False).time is None


@every_tying
def test_weights_of_each_hop_sum_to_one(tying: str) -> None:
    weights = walk(build(tying=tying), noise(2, T, Q), memory(*LENGTHS, width=V)).weights
    close(weights.sum(-1), torch.ones(2, 3, T).double())
    close(build(tying=tying).alignment(weights), weights[:, 2])


@pytest.mark.parametrize("linear", [0.0, 1.0])
def test_order_matters_only_with_time_embeddings(linear: float) -> None:
    """Permuted memories give the same answer exactly if the time embedding T is 0 or absent."""
    queries, source = noise(1, T, Q), memory(5, width=V)
    order = torch.tensor([3, 1, 4, 0, 2])
    moved = Memory.of(source.values[:, order], source.mask)  # at new positions

    def move(attention: MemoryNetworkAttention) -> tuple[Tensor, Tensor]:
        """Return the differences of contexts and weights after the move."""
        answer = walk(attention, queries, source)
        again = walk(attention, queries, moved)
        return answer.context - again.context, answer.weights[..., order] - again.weights

    for difference in move(build(temporal=False, linear_start=linear)):
        close(difference, torch.zeros_like(difference))
    timed = build(linear_start=linear)
    assert all(difference.abs().max() > 0.01 for difference in move(timed))
    torch.nn.init.zeros_(timed.time)
    for difference in move(timed):
        close(difference, torch.zeros_like(difference))


def test_time_is_counted_from_the_most_recent() -> None:
    """Removing the oldest memories changes nothing for the others; memories older than T has rows get no weight."""
    attention, queries, source = build(max_length=3), noise(1, T, Q), memory(5, width=V)
    answer = walk(attention, queries, source)
    assert answer.weights[..., :2].eq(0).all()
    assert answer.weights[..., 2:].gt(0).all()
    recent = cut(source, slice(2, 5))
    close(walk(attention, queries, Memory.of(recent.values, recent.mask)).context, answer.context)
    assert walk(build(max_length=1, temporal=False), queries, source).weights.gt(0).all()


def test_linear_start_ends() -> None:
    """From a quarter of training on, the answer equals that without a linear start, also after resuming."""
    attention, plain = build(linear_start=0.25), build()
    queries, source = noise(2, T, Q), memory(*LENGTHS, width=V)
    assert (attention.mass, plain.mass) == ("free", "one")
    weights = []
    for progress in (0.0, 0.2, 0.25, 1.0):
        attention.set_progress(progress)
        weights.append(walk(attention, queries, source).weights)
    assert torch.equal(weights[0], weights[1])
    assert (weights[0] < 0).any()
    assert torch.equal(weights[2], weights[3])
    close(weights[3], walk(plain, queries, source).weights)
    attention.set_progress(0.0)
    resumed = build(linear_start=0.25)
    resumed.set_progress(1.0)
    resumed.load_state_dict(attention.state_dict())
    close(walk(resumed, queries, source).weights, weights[0])


def test_refusals() -> None:
    for source, message in [
        (SourceSpec(V, causal=True), "grows"),
        (SourceSpec(V, position="alibi"), "sinusoidal"),
        (SourceSpec(V, axes=2), "temporal=false"),
    ]:
        with pytest.raises(UserError, match=message):
            MemoryNetworkAttention(Q, source)
    MemoryNetworkAttention(Q, SourceSpec(V, axes=2), temporal=False)
    for wrong in (
        {"tying": "none"},
        {"hops": 0},
        {"max_length": 0},
        {"linear_start": 2.0},
        {"dropout": -0.5},
        {"scale": 0.0},
        {"input_scale": -1.0},
    ):
        with pytest.raises(UserError, match=rf"^{next(iter(wrong))}="):
            build(**wrong)


@every_tying
@pytest.mark.parametrize("scales", [{"scale": None, "input_scale": None}, {}], ids=["default", "paper"])
def test_embeddings_start_with_unit_variance(tying: str, scales: dict[str, None]) -> None:
    """Embeddings of dense vectors of unit variance have unit variance under any scale of the input."""
    torch.manual_seed(0)
    ours = MemoryNetworkAttention(64, SourceSpec(32), tying=tying, temporal=False, **scales)
    prepared = ours.prepare(Memory.of(torch.randn(2, 50, 32), torch.ones(2, 50, dtype=torch.bool)))
    assert prepared.prepared["memories"].std().item() == pytest.approx(1.0, rel=0.05)
    assert ours.embedded_query(torch.randn(100, 64)).std().item() == pytest.approx(1.0, rel=0.05)


def test_scales_by_hand() -> None:
    """One hop of width 1 over x = 0 and 1: p = softmax(3 u m), u = 0.5 q, m = 0.5 x, c = 0.5 x."""
    attention = build(dim=1, hops=1, temporal=False, scale=3.0, input_scale=0.5)
    attention.embed.data.fill_(1.0)
    attention.embed_query.weight.data.fill_(1.0)
    values = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    query = torch.tensor([[[2.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)  # u = 1, scores 0 and 1.5
    answer = walk(attention, query, Memory.of(values, torch.ones(1, 2, dtype=torch.bool)))
    second = math.exp(1.5) / (1 + math.exp(1.5))
    assert answer.weights.flatten().tolist() == pytest.approx([1 - second, second])
    assert answer.context.item() == pytest.approx(1 + 0.5 * second)


def test_scales_follow_the_widths() -> None:
    attention = MemoryNetworkAttention(16, SourceSpec(4), dim=25, scale=None, input_scale=None)
    assert (attention.scale, *attention.input_scales) == pytest.approx((1 / 5, 1 / 2, 1 / 4))
