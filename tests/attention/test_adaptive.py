"""Tests of adaptive attention: the visual sentinel equals the paper's formula, computed slot by slot in Python."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from seq2seq.attention.adaptive import AdaptiveAttention
from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Additive, Constant, General, Location, ScaledDot
from seq2seq.attention.components.selections import Hard
from seq2seq.attention.components.windows import Global, LocalM, LocalP
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import AttentionOutput, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import close, walk
from tests.catalogue import memory, noise, randomise

Q, E, T = 4, 3, 3
LENGTHS = (5, 2, 0)
PARTS = {"score": Additive, "window": Global, "normalizer": Softmax}


def build(width: int = Q, **options: object) -> AdaptiveAttention:
    """Return adaptive attention with random parameters over a memory of this width."""
    options = {**PARTS, **options}
    return randomise(AdaptiveAttention(Q, SourceSpec(width, input_dim=E), **options).double()).eval()


def random_queries(batch: int, cell: bool = True) -> Query:
    """Return T random queries for each sentence, with or without LSTM cells."""
    cells = noise(batch, T, Q, seed=6)
    return Query(
        noise(batch, T, Q),
        torch.arange(T).expand(batch, -1),
        noise(batch, T, E, seed=5),
        (lambda: cells) if cell else None,
    )


def ask(attention: AdaptiveAttention, queries: Query, source: Memory) -> AttentionOutput:
    """Return the output of attention for the queries, with weights."""
    prepared = attention.prepare(source)
    return attention(queries, prepared, attention.initial_state(prepared), need_weights=True)


def sentinels(attention: AdaptiveAttention, queries: Query) -> Tensor:
    """Return the sentinels s_t = sigmoid(W_x x_t + W_h h_{t-1}) * tanh(m_t), where h_{-1} = 0."""
    w_x, w_h = attention.gate_input.weight, attention.gate_state.weight
    s = torch.zeros(queries.vector.shape, dtype=torch.float64)
    m = queries.vector if queries.cell is None else queries.cell()
    for b in range(len(s)):
        for t in range(T):
            before = queries.vector[b, t - 1] if t else torch.zeros(Q).double()
            logit = w_x @ queries.input[b, t] + w_h @ before
            s[b, t] = 1 / (1 + (-logit).exp()) * m[b, t].tanh()
    return s


@pytest.mark.parametrize("width", [Q, 6])
@pytest.mark.parametrize("cell", [True, False])
def test_formula(width: int, cell: bool) -> None:
    """alpha^ = softmax([w^T tanh(W_v v + W_g h); w^T tanh(W_s s + W_g h)]), where W_s = W_v W_k."""
    attention, queries, source = build(width), random_queries(3, cell), memory(*LENGTHS, width=width)
    answer, s = ask(attention, queries, source), sentinels(attention, queries)
    w_v, w_g, w = (p[0] for p in (attention.score.key_weight, attention.score.query_weight, attention.score.vector))
    w_s = attention.sentinel_key.weight.T @ w_v
    for b, length in enumerate(LENGTHS):
        for t in range(T):
            h = queries.vector[b, t] @ w_g
            z = [((source.values[b, j] @ w_v + h).tanh() @ w).item() for j in range(length)]
            z.append(((s[b, t] @ w_s + h).tanh() @ w).item())
            alpha = [math.exp(e) / sum(map(math.exp, z)) for e in z]
            assert answer.weights[b, 0, t].tolist() == pytest.approx(alpha[:-1] + [0.0] * (5 - length))
            assert answer.sentinel[b, 0, t].item() == pytest.approx(alpha[-1])
            value = s[b, t] if width == Q else attention.sentinel_value.weight @ s[b, t]
            context = alpha[-1] * value + sum(alpha[j] * source.values[b, j] for j in range(length))
            close(answer.context[b, t], context)
            assert (alpha[-1] == 1) == (length == 0)


@pytest.mark.parametrize("score", [Additive, General])
def test_context_mixes_sentinel_and_soft_attention(score: type) -> None:
    """c^ = beta s + (1 - beta) c, where c is the context of attention without a sentinel."""
    attention, queries, source = build(score=score), random_queries(2), memory(5, 2, width=Q)
    plain = ComposedAttention(Q, SourceSpec(Q), **{**PARTS, "score": score}).double().eval()
    plain.load_state_dict(attention.state_dict(), strict=False)
    answer, soft = ask(attention, queries, source), walk(plain, queries.vector, source)
    beta = answer.sentinel[:, 0].unsqueeze(-1)
    assert 0.001 < beta.min() < beta.max() < 0.999
    close(answer.context, beta * sentinels(attention, queries) + (1 - beta) * soft.context)
    close(answer.weights / (1 - beta.unsqueeze(1)), soft.weights)


def test_equal_scores_share_the_weight_with_the_sentinel() -> None:
    """With equal scores, the sentinel gets weight 1 / (S + 1)."""
    attention = build(score=Constant)
    answer = ask(attention, random_queries(3), memory(*LENGTHS, width=Q))
    for b, length in enumerate(LENGTHS):
        close(answer.sentinel[b], torch.full((1, T), 1 / (length + 1), dtype=torch.float64))


@pytest.mark.parametrize("options", [{}, {"project": True}, {"heads": 2}, {"heads": 4, "groups": 2, "dim": 8}], ids=str)
@pytest.mark.parametrize("score", [Additive, ScaledDot])
def test_sentinel_acts_as_one_more_memory_slot(score: type, options: dict[str, object]) -> None:
    """With W_k = 1, step t equals attention without a sentinel over the memory [v; s_t]."""
    attention, queries, source = build(score=score, **options), random_queries(2), memory(5, 2, width=Q)
    attention.sentinel_key.weight.data.copy_(torch.eye(Q))
    plain = ComposedAttention(Q, SourceSpec(Q), **{**PARTS, "score": score, **options}).double().eval()
    plain.load_state_dict(attention.state_dict(), strict=False)
    answer, s = ask(attention, queries, source), sentinels(attention, queries)
    for t in range(T):
        mask = torch.cat((source.mask, torch.ones(2, 1, dtype=torch.bool)), 1)
        more = Memory.of(torch.cat((source.values, s[:, t : t + 1]), 1), mask)
        expected = walk(plain, queries.vector[:, t : t + 1], more)
        close(answer.context[:, t : t + 1], expected.context)
        close(answer.weights[:, :, t : t + 1], expected.weights[..., :-1])
        close(answer.sentinel[:, :, t : t + 1], expected.weights[..., -1])


def test_state_keeps_the_previous_query() -> None:
    attention, queries, source = build(), random_queries(2), memory(5, 2, width=Q)
    whole, prepared = ask(attention, queries, source), attention.prepare(source)
    state = attention.initial_state(prepared)
    assert not state["previous"].any()
    for t in range(T):
        step = attention(queries.at(t), prepared, state, need_weights=True)
        state = step.state
        close(state["previous"], queries.vector[:, t])
        close(step.context, whole.context[:, t : t + 1])
        close(step.sentinel, whole.sentinel[:, :, t : t + 1])


def test_windows_limit_the_source_but_not_the_sentinel() -> None:
    queries, source = random_queries(1), memory(5, width=Q)
    narrow = ask(
        build(window=lambda *args: LocalM(*args, reach=1)), replace(queries, position=queries.position + 5), source
    )
    assert not narrow.weights[:, :, 1:].any()  # the windows of positions 6 and 7 are past the source
    assert narrow.sentinel[0, 0, 1:].tolist() == [1.0, 1.0]
    assert narrow.weights[0, 0, 0].nonzero().flatten().tolist() == [4]
    for renormalise in (False, True):
        attention = build(window=partial(LocalP, reach=2, renormalise=renormalise))
        answer = ask(attention, queries, source)
        total = answer.weights.sum(-1) + answer.sentinel
        assert attention.mass == ("one" if renormalise else "at_most_one")
        assert (total < 0.999).all() != renormalise
        if renormalise:
            close(total, torch.ones_like(total))


def test_hard_selection_can_draw_the_sentinel() -> None:
    """Each position and the sentinel are drawn as often as soft attention's weights say."""
    attention, many = build(selection=lambda: Hard(soft=0.0)), torch.zeros(4000, dtype=torch.long)
    queries, source = random_queries(1), memory(3, width=Q)
    soft = build()
    soft.load_state_dict(attention.state_dict())
    expected = ask(soft, queries, source)
    repeated = Query(queries.vector[many], queries.position[many], queries.input[many], lambda: queries.cell()[many])
    torch.manual_seed(0)
    drawn = ask(attention.train(), repeated, source.select(many))
    both = torch.cat((drawn.weights, drawn.sentinel.unsqueeze(-1)), -1)
    assert both.unique().tolist() == [0, 1]
    close(both.sum(-1), torch.ones(4000, 1, T).double())
    torch.testing.assert_close(drawn.sentinel.mean(0), expected.sentinel[0], rtol=0, atol=0.03)
    likelihood = torch.cat((expected.weights, expected.sentinel.unsqueeze(-1)), -1)[0]
    close(drawn.log_prob, (both * likelihood.log()).sum(-1).squeeze(1))


def test_refusals() -> None:
    for source, message in [
        (SourceSpec(Q), "provides none"),
        (SourceSpec(Q, is_self=True, input_dim=E), "self-attention"),
        (SourceSpec(Q, causal=True, input_dim=E), "self-attention"),
    ]:
        with pytest.raises(UserError, match=message):
            AdaptiveAttention(Q, source, **PARTS)
    with pytest.raises(UserError, match="sentinel has none"):
        build(score=Location)
