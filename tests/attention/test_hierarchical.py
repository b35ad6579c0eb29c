"""Tests of hierarchical attention: it equals the paper's formula, computed word by word in Python."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Additive, Dot, General
from seq2seq.attention.components.windows import Global
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.hierarchical import HierarchicalAttention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import close, same, walk
from tests.catalogue import memory, noise, randomise

Q, T = 4, 3
KINDS = ("renormalised", "within")
every_kind = pytest.mark.parametrize("kind", KINDS)


def build(kind: str = "renormalised", **options: object) -> HierarchicalAttention:
    """Return hierarchical attention with random parameters."""
    options = {"word": Additive, "sentence": General, **options}
    return randomise(HierarchicalAttention(Q, SourceSpec(Q), kind=kind, **options).double()).eval()


def segmented(*documents: tuple[int, ...]) -> Memory:
    """Return a random memory whose documents have sentences of these lengths."""
    ids = [[i for i, n in enumerate(sizes) for _ in range(n)] for sizes in documents]
    source = memory(*map(len, ids), width=Q)
    longest = max(map(len, ids))
    return replace(source, segments=torch.tensor([row + [-1] * (longest - len(row)) for row in ids]))


def softmax(scores: dict[int, float]) -> dict[int, float]:
    """Return the softmax over the values of a dictionary."""
    total = sum(math.exp(e) for e in scores.values())
    return {key: math.exp(e) / total for key, e in scores.items()}


def formula(
    attention: HierarchicalAttention,
    query: Tensor,
    values: Tensor,
    sentence_of: list[int],
    states: Tensor,
    seen: list[int],
) -> tuple[list[float], dict[int, float], dict[int, float]]:
    """Return the weights p of a document's words, a_w and a_s by the paper's formula.

    Args:
        attention: Attention whose parameters are used.
        query: One query (Q,).
        values: Values of the words (S, Q).
        sentence_of: Sentence of each word.
        states: State of each sentence.
        seen: Visible words.
    """
    w, u, v = (p[0].tolist() for p in (attention.word.query_weight, attention.word.key_weight, attention.word.vector))

    def word(j: int) -> float:
        """Return the additive score of a word."""
        inner = [math.tanh(sum(query[i] * w[i][a] + values[j, i] * u[i][a] for i in range(Q))) for a in range(len(v))]
        return sum(x * y for x, y in zip(inner, v, strict=True))

    present = sorted({sentence_of[j] for j in seen})
    a_s = softmax({i: (query @ attention.sentence.weight[0] @ states[i]).item() for i in present})
    a_w = softmax({j: word(j) for j in seen})
    if attention.kind == "renormalised":
        product = {j: a_w[j] * a_s[sentence_of[j]] for j in seen}
        p = {j: x / sum(product.values()) for j, x in product.items()}
    else:
        p = {}
        for i in present:
            inside = softmax({j: word(j) for j in seen if sentence_of[j] == i})
            p |= {j: a_s[i] * x for j, x in inside.items()}
    return [p.get(j, 0.0) for j in range(len(values))], a_w, a_s


@every_kind
def test_by_hand(kind: str) -> None:
    """Words score log 1 and log 3 in sentence 1 and log 4 in sentence 2; the sentences score log(3)/2 and log 4."""
    attention = build(kind, word=Dot, sentence=Dot, positions=False)
    source = segmented((2, 1))
    source.values.zero_()
    source.values[0, :, 0] = torch.tensor([1.0, 3.0, 4.0]).double().log()
    root = math.sqrt(3)
    expected = {
        "renormalised": [root / (4 * root + 16), 3 * root / (4 * root + 16), 16 / (4 * root + 16)],
        "within": [root / (root + 4) / 4, root / (root + 4) * 3 / 4, 4 / (root + 4)],
    }[kind]
    weights = walk(attention, torch.eye(Q)[None, :1].double(), source).weights
    assert weights[0, 0, 0].tolist() == pytest.approx(expected)


@every_kind
@pytest.mark.parametrize("positions", [False, True])
def test_formula(kind: str, positions: bool) -> None:
    attention = build(kind, positions=positions)
    documents = ((2, 3, 1), (1, 2))
    source, queries = segmented(*documents), noise(2, T, Q)
    mask = torch.ones(2, T, 6, dtype=torch.bool)
    mask[0, 1, [0, 3]] = False
    mask[0, 2, 5] = False  # the only word of the third sentence
    answer = walk(attention, queries, source, mask=mask)
    for b, sizes in enumerate(documents):
        n = sum(sizes)
        ids = source.segments[b].tolist()[:n]
        values = source.values[b, :n]
        states = torch.stack([values[[j for j in range(n) if ids[j] == i]].mean(0) for i in range(len(sizes))])
        if positions:
            states = torch.cat((states, attention.place[: len(sizes)]), -1)
        for t in range(T):
            seen = [j for j in range(n) if mask[b, t, j]]
            p, a_w, a_s = formula(attention, queries[b, t], values, ids, states, seen)
            assert answer.weights[b, 0, t, :n].tolist() == pytest.approx(p, abs=1e-12)
            assert not answer.weights[b, 0, t, n:].any()
            close(answer.context[b, t], answer.weights[b, 0, t, :n] @ values)
            share = {i: sum(x for x, j in zip(p, ids, strict=True) if j == i) for i in a_s}
            before = {i: a_s[i] * sum(a_w[j] for j in seen if ids[j] == i) for i in a_s}
            if kind == "within":  # the weights of a sentence's words sum to a_s
                assert share == pytest.approx(a_s)
            else:  # the sum is proportional to a_s times the sum of the words' a_w
                assert share == pytest.approx({i: x / sum(before.values()) for i, x in before.items()})
            assert sum(p) == pytest.approx(1.0)


def test_both_kinds_give_different_weights() -> None:
    source, queries = segmented((2, 3, 1)), noise(1, T, Q)
    first, second = (walk(build(kind), queries, source).weights for kind in KINDS)
    assert (first - second).abs().max() > 0.01


@every_kind
def test_one_sentence_gives_plain_attention(kind: str) -> None:
    plain = ComposedAttention(Q, SourceSpec(Q), score=Additive, window=Global, normalizer=Softmax).double().eval()
    ours = build(kind, segment_length=9)
    plain.score.load_state_dict(ours.word.state_dict())
    source, queries = memory(9, 6, 0, width=Q), noise(3, T, Q)
    expected = walk(plain, queries, source)
    same(walk(ours, queries, source), expected)


@every_kind
def test_memory_without_segments_is_cut_into_blocks(kind: str) -> None:
    """Blocks have segment_length positions, counted by the positions of the words and not by their index in memory."""
    attention, queries = build(kind, segment_length=8), noise(2, T, Q)
    source = memory(6, 4, width=Q, step=3)  # positions 0, 3, .., 15
    ids = torch.tensor([[0, 0, 0, 1, 1, 1]] * 2)
    same(walk(attention, queries, source), walk(attention, queries, replace(source, segments=ids)))
    assert not torch.allclose(
        walk(attention, queries, source).context, walk(build(kind, segment_length=4), queries, source).context
    )


@every_kind
def test_sections_of_the_encoder_replace_means(kind: str) -> None:
    """The query is compared with the states of the sections instead of means; a padded section hides its words."""
    attention, queries = build(kind), noise(1, T, Q)
    source = segmented((2, 3, 1))
    means = torch.stack([source.values[0, places].mean(0) for places in ([0, 1], [2, 3, 4], [5])])[None]
    real = torch.ones(1, 3, dtype=torch.bool)
    given = replace(source, sections=Memory.of(means, real))
    same(walk(attention, queries, given), walk(attention, queries, source))
    other = replace(source, sections=Memory.of(noise(1, 3, Q, seed=8), real))
    p, _, _ = formula(
        attention,
        queries[0, 0],
        source.values[0],
        source.segments[0].tolist(),
        torch.cat((other.sections.values[0], attention.place[:3]), -1),
        list(range(6)),
    )
    assert walk(attention, queries, other).weights[0, 0, 0].tolist() == pytest.approx(p)
    real = torch.tensor([[True, False, True]])
    hidden = walk(attention, queries, replace(source, sections=Memory.of(means, real))).weights
    assert not hidden[..., 2:5].any()
    close(hidden.sum(-1), torch.ones(1, 1, T).double())


def test_positions_distinguish_equal_sentences() -> None:
    source, queries = segmented((2, 2, 2)), noise(1, T, Q)
    source.values[:, 2:4] = source.values[:, 4:] = source.values[:, :2]

    def shares(**options: object) -> Tensor:
        """Return the sum of the weights of each sentence (T, 3)."""
        return walk(build("within", **options), queries, source).weights[0, 0].unflatten(-1, (3, 2)).sum(-1)

    close(shares(positions=False), torch.full((T, 3), 1 / 3, dtype=torch.float64))
    distinguished = shares()
    assert (distinguished[:, 1] - distinguished[:, 2]).abs().min() > 0.01
    limited = shares(max_sections=2)  # the third sentence gets the position of the second
    close(limited[:, 1], limited[:, 2])
    assert (limited[:, 0] - limited[:, 1]).abs().min() > 0.01


@every_kind
def test_far_apart_scores_stay_finite(kind: str) -> None:
    """Weights and gradients are finite where a sentence's words have exp(score) of e^-200 times the largest."""
    attention = build(kind, word=Dot, sentence=Dot, positions=False).float()
    source = segmented((2, 2))
    values = torch.zeros(1, 4, Q)
    values[0, :, 0] = torch.tensor([0.0, 1.0, 200.0, 201.0])
    values.requires_grad_()
    sections = Memory.of(torch.zeros(1, 2, Q), torch.ones(1, 2, dtype=torch.bool))
    answer = walk(attention, torch.eye(Q)[None, :1], replace(source, values=values, sections=sections))
    if kind == "within":
        e = 1 / (1 + math.e)
        assert answer.weights[0, 0, 0].tolist() == pytest.approx([e / 2, (1 - e) / 2] * 2, rel=1e-5)
    answer.context.sum().backward()
    assert values.grad.isfinite().all()


def test_refusals() -> None:
    options = {"word": Additive, "sentence": Additive}
    for source, message in [
        (SourceSpec(Q, axes=2), "image regions"),
        (SourceSpec(Q, causal=True), "grows"),
        (SourceSpec(Q, position="rotary"), "sinusoidal"),
    ]:
        with pytest.raises(UserError, match=message):
            HierarchicalAttention(Q, source, **options)
    for wrong in ({"kind": "product"}, {"segment_length": 0}, {"max_sections": 0}, {"dropout": 1.5}):
        with pytest.raises(UserError, match=rf"^{next(iter(wrong))}="):
            build(**wrong)
