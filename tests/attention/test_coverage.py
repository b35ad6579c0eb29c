"""Tests of coverage attention: it equals the papers' formulas, computed query by query."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Additive, Constant, Dot, General, Location, ScaledDot
from seq2seq.attention.components.selections import Hard
from seq2seq.attention.components.windows import Global, LocalM
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.coverage import CoverageAttention
from seq2seq.attention.types import AttentionOutput, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import close, walk
from tests.catalogue import WIDTH, mechanism, memory, noise, randomise

Q, V, T = 4, 6, 5
LENGTHS = (5, 3, 0)
PARTS = {"score": partial(Additive, bias=True), "window": Global, "normalizer": Softmax}


def build(**options: object) -> CoverageAttention:
    """Return coverage attention with random parameters."""
    return randomise(CoverageAttention(Q, SourceSpec(V), **{**PARTS, **options}).double()).eval()


def plain(attention: CoverageAttention, **options: object) -> ComposedAttention:
    """Return attention without coverage that has the same parameters."""
    soft = ComposedAttention(Q, SourceSpec(V), **{**PARTS, **options}).double().eval()
    soft.load_state_dict(attention.state_dict(), strict=False)
    return soft


def source() -> Memory:
    """Return a random memory of sentences with ``LENGTHS``."""
    return memory(*LENGTHS, width=V)


def by_hand(
    attention: CoverageAttention, queries: Tensor, length: int, values: Tensor, update
) -> tuple[Tensor, Tensor]:
    """Return weights (T, S) and coverage before each query (T, S, N) of a sentence.

    The scores are v^T tanh(W s + U h + w c + b), and ``update`` maps (c, a, h, s) to the next coverage.
    """
    w, u, v = attention.score.query_weight[0], attention.score.key_weight[0], attention.score.vector[0]
    c = torch.zeros(length, attention.size, dtype=torch.float64)
    rows, covered = [], []
    for s in queries:
        inner = [s @ w + values[j] @ u + c[j] @ attention.weight[0] + attention.score.bias[0, 0] for j in range(length)]
        e = torch.stack([x.tanh() @ v for x in inner])
        a = e.exp() / e.exp().sum()
        rows.append(a)
        covered.append(c)
        c = update(c, a, values[:length], s)
    return torch.stack(rows), torch.stack(covered)


def see(c: Tensor, a: Tensor, h: Tensor, s: Tensor) -> Tensor:
    """Add the weights to the coverage, as See 2017 does."""
    return c + a.unsqueeze(1)


def test_see() -> None:
    """Equations 10 to 12: c^t = sum of a^t' over t' < t, covloss_t = sum_i min(a_i^t, c_i^t)."""
    attention, queries, memory = build(), noise(3, T, Q), source()
    answer = walk(attention, queries, memory)
    for b, length in enumerate(LENGTHS[:2]):
        weights, covered = by_hand(attention, queries[b], length, memory.values[b], see)
        close(answer.weights[b, 0, :, :length], weights)
        close(answer.penalties["coverage"][b], torch.minimum(weights, covered[..., 0]).sum(1))
        close(answer.state["coverage"][b, 0, :length, 0], weights.sum(0))


def test_see_invariants() -> None:
    """0 <= covloss_t <= 1, covloss_0 = 0, and sum_i c_i^t = t."""
    for heads in (1, 2):
        answer = walk(build(heads=heads), noise(3, T, Q), source())
        penalty = answer.penalties["coverage"]
        assert (penalty[:, 0] == 0).all()
        assert (penalty[:2, 1:] > 0).all()
        assert (penalty <= 1).all()
        assert not penalty[2].any()
        close(answer.state["coverage"].sum((2, 3))[:2], torch.full((2, heads), float(T)).double())


@pytest.mark.parametrize("heads", [1, 2])
def test_gradient_of_the_penalty(heads: int) -> None:
    """The gradient equals finite differences, also through the earlier weights that the coverage sums."""
    attention, source = build(heads=heads), memory(4, 3, width=V)

    def penalty(queries: Tensor, values: Tensor, *parameters: Tensor) -> Tensor:
        """Return the coverage penalty; gradcheck changes the parameters in place."""
        return walk(attention, queries, replace(source, values=values)).penalties["coverage"]

    inputs = (noise(2, 4, Q).requires_grad_(), source.values.requires_grad_(), *attention.parameters())
    assert gradcheck(penalty, inputs, fast_mode=True)


def test_repeated_weights_have_the_full_penalty() -> None:
    """If the weights are equal at each step, the penalty is 0 at the first step and then 1."""
    attention = build()
    nn.init.zeros_(attention.score.vector)
    penalty = walk(attention, noise(1, 3, Q), memory(4, width=V)).penalties["coverage"]
    close(penalty, torch.tensor([[0.0, 1.0, 1.0]]).double())


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"project": True}, {"read_cell": True}], ids=str)
@pytest.mark.parametrize("kind", ["see", "linguistic", "neural"])
def test_zero_coverage_weight_gives_plain_attention(kind: str, options: dict[str, object]) -> None:
    attention, queries = build(kind=kind, **options), noise(3, T, Q)
    nn.init.zeros_(attention.weight)
    answer = walk(attention, queries, source())
    if "read_cell" in options:
        soft = ComposedAttention(2 * Q, SourceSpec(V), **PARTS).double().eval()
        soft.load_state_dict(attention.state_dict(), strict=False)
        queries = torch.cat((queries, queries), -1)  # cells are the queries here
    else:
        soft = plain(attention, **options)
    expected = walk(soft, queries, source())
    close(answer.weights, expected.weights)
    close(answer.context, expected.context)


def test_linguistic() -> None:
    """C_tj = C_{t-1,j} + a_tj / (N sigmoid(U h_j)), and there is no penalty."""
    attention, queries, memory = build(kind="linguistic", fertility=3.0), noise(3, T, Q), source()
    answer = walk(attention, queries, memory)
    assert not answer.penalties

    def update(c: Tensor, a: Tensor, h: Tensor, s: Tensor) -> Tensor:
        """Add the weights, divided by the fertilities."""
        return c + (a / (3.0 / (1.0 + (-h @ attention.fertility.weight[0]).exp()))).unsqueeze(1)

    for b, length in enumerate(LENGTHS[:2]):
        weights, _ = by_hand(attention, queries[b], length, memory.values[b], update)
        close(answer.weights[b, 0, :, :length], weights)


@pytest.mark.parametrize("size", [1, 3])
def test_neural(size: int) -> None:
    """The coverage equals that of PyTorch's GRU cell over [a; h; s]."""
    attention, queries, memory = build(kind="neural", coverage_dim=size), noise(3, T, Q), source()
    answer, cell = walk(attention, queries, memory), nn.GRUCell(1 + V + Q, size).double()
    reads = (attention.from_weight, attention.from_source, attention.from_state)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat([part.weight for part in reads], 1))
        cell.bias_ih.copy_(attention.from_source.bias)
        cell.weight_hh.copy_(attention.from_coverage.weight)
        cell.bias_hh.copy_(attention.from_coverage.bias)

    def update(c: Tensor, a: Tensor, h: Tensor, s: Tensor) -> Tensor:
        """Return the next state of the GRU cell."""
        return cell(torch.cat((a.unsqueeze(1), h, s.expand(len(h), -1)), 1), c)

    for b, length in enumerate(LENGTHS[:2]):
        weights, _ = by_hand(attention, queries[b], length, memory.values[b], update)
        close(answer.weights[b, 0, :, :length], weights)
        assert not answer.state["coverage"][b, :, length:].any()
    assert not answer.penalties


def test_general_score_adds_coverage_to_the_keys() -> None:
    """The general score is q . (W k + w c)."""
    attention, queries, memory = build(score=General), noise(1, 2, Q), source()
    first, second = walk(attention, queries, memory.select(torch.tensor([0]))).weights[0, 0]
    c = first.unsqueeze(1) * attention.weight[0]
    e = (memory.values[0] @ attention.score.weight[0].T + c) @ queries[0, 1]
    close(second, e.softmax(0))


@pytest.mark.parametrize("project", [False, True])
def test_read_cell(project: bool) -> None:
    """The score's query is [c; h], or [h; h] in a decoder without cells."""
    attention = build(read_cell=True, project=project, score=partial(ScaledDot) if project else PARTS["score"])
    vector, cells = noise(1, 1, Q), noise(1, 1, Q, seed=7)
    prepared = attention.prepare(memory(4, width=V))

    def weights(cell: Tensor | None) -> Tensor:
        """Return the weights of one query with this cell."""
        query = Query(vector, torch.zeros(1, 1, dtype=torch.long), None, None if cell is None else lambda: cell)
        return attention(query, prepared, attention.initial_state(prepared), need_weights=True).weights[0, 0, 0]

    read = torch.cat((cells, vector), -1)[0, 0]
    keys = prepared.prepared["keys"][0, 0]
    if project:
        e = keys @ (attention.query.weight @ read + attention.query.bias) / Q**0.5
    else:
        e = (read @ attention.score.query_weight[0] + keys).tanh() @ attention.score.vector[0]
    close(weights(cells), e.softmax(0))
    close(weights(None), weights(vector))
    assert not torch.allclose(weights(None), weights(cells))


def test_read_cell_doubles_the_query_width_of_a_dot_score() -> None:
    """With read_cell, a dot score fits an encoder that is twice as wide as the decoder."""
    with pytest.raises(UserError, match="widths"):
        CoverageAttention(Q, SourceSpec(2 * Q), **{**PARTS, "score": Dot})
    CoverageAttention(Q, SourceSpec(2 * Q), **{**PARTS, "score": Dot}, read_cell=True)


@pytest.mark.parametrize("kind", ["see", "linguistic"])
def test_query_without_visible_positions_keeps_the_coverage(kind: str) -> None:
    attention, queries = build(kind=kind, heads=2), noise(1, 3, Q)
    mask = torch.ones(1, 3, 5, dtype=torch.bool)
    mask[0, 1] = False
    answer = walk(attention, queries, memory(5, width=V), mask=mask)
    shorter = walk(attention, queries[:, [0, 2]], memory(5, width=V))
    close(answer.context[:, [0, 2]], shorter.context)
    close(answer.state["coverage"], shorter.state["coverage"])


def test_coverage_works_with_windows_and_selections() -> None:
    narrow = walk(build(window=partial(LocalM, reach=1)), noise(1, 3, Q), memory(5, width=V))
    assert narrow.weights[0, 0, 0].nonzero().flatten().tolist() == [0, 1]
    assert not narrow.state["coverage"][0, 0, 4].any()
    drawn: AttentionOutput = walk(build(selection=partial(Hard, soft=0.0)).train(), noise(1, 3, Q), memory(5, width=V))
    assert drawn.penalties.keys() == {"coverage", "negative_entropy"}
    assert drawn.state["coverage"].sum() == 3
    assert drawn.penalties["coverage"].unique().tolist() in ([0], [0, 1])


def test_fertility_near_zero_keeps_gradients_finite() -> None:
    attention, source = build(kind="linguistic").float(), memory(4, 2, width=V, dtype=torch.float32)
    values = (source.values * 1e4).requires_grad_()
    answer = walk(attention, noise(2, T, Q, dtype=torch.float32), replace(source, values=values))
    answer.context.sum().backward()
    assert answer.context.isfinite().all()
    assert all(x.grad.isfinite().all() for x in (values, *attention.parameters()))


def test_defaults_equal_the_papers() -> None:
    """The default is coverage of See 2017 over an additive score with a bias."""
    attention = mechanism("attention", "coverage", SourceSpec(WIDTH))
    assert attention.kind == "see"
    assert attention.score.bias is not None
    assert build(kind="linguistic").most == 2
    assert build(kind="neural").size == 10


def test_refusals() -> None:
    for options, message in [
        ({"kind": "tu"}, "choose one of see, linguistic, neural"),
        ({"fertility": 2.0}, "belongs to kind=linguistic"),
        ({"kind": "linguistic", "fertility": 0.0}, "above 0"),
        ({"coverage_dim": 10}, "belongs to kind=neural"),
        ({"kind": "neural", "coverage_dim": 0}, "at least 1"),
        ({"score": Constant}, "added to the keys"),
        ({"score": Location}, "added to the keys"),
    ]:
        with pytest.raises(UserError, match=message):
            build(**options)
    for source in (SourceSpec(V, is_self=True), SourceSpec(V, causal=True)):
        with pytest.raises(UserError, match="self-attention"):
            CoverageAttention(Q, source, **PARTS)
