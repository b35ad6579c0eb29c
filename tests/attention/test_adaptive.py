"""The visual sentinel against the paper's formula, a slot at a time in plain Python."""

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


def made(width: int = Q, **options: object) -> AdaptiveAttention:
    options = {**PARTS, **options}
    return randomise(AdaptiveAttention(Q, SourceSpec(width, input_dim=E), **options).double()).eval()


def query(batch: int, cell: bool = True) -> Query:
    cells = noise(batch, T, Q, seed=6)
    return Query(
        noise(batch, T, Q),
        torch.arange(T).expand(batch, -1),
        noise(batch, T, E, seed=5),
        (lambda: cells) if cell else None,
    )


def ask(attention: AdaptiveAttention, asked: Query, source: Memory) -> AttentionOutput:
    prepared = attention.prepare(source)
    return attention(asked, prepared, attention.initial_state(prepared), need_weights=True)


def sentinels(attention: AdaptiveAttention, asked: Query) -> Tensor:
    """s_t = sigmoid(W_x x_t + W_h h_{t-1}) * tanh(m_t), h_{-1} = 0."""
    w_x, w_h = attention.gate_input.weight, attention.gate_state.weight
    made = torch.zeros(asked.vector.shape, dtype=torch.float64)
    m = asked.vector if asked.cell is None else asked.cell()
    for b in range(len(made)):
        for t in range(T):
            before = asked.vector[b, t - 1] if t else torch.zeros(Q).double()
            logit = w_x @ asked.input[b, t] + w_h @ before
            made[b, t] = 1 / (1 + (-logit).exp()) * m[b, t].tanh()
    return made


@pytest.mark.parametrize("width", [Q, 6])
@pytest.mark.parametrize("cell", [True, False])
def test_formula(width: int, cell: bool) -> None:
    """alpha^ = softmax([w^T tanh(W_v v + W_g h); w^T tanh(W_s s + W_g h)]), W_s = W_v W_k."""
    attention, asked, source = made(width), query(3, cell), memory(*LENGTHS, width=width)
    answer, s = ask(attention, asked, source), sentinels(attention, asked)
    w_v, w_g, w = (p[0] for p in (attention.score.key_weight, attention.score.query_weight, attention.score.vector))
    w_s = attention.sentinel_key.weight.T @ w_v
    for b, length in enumerate(LENGTHS):
        for t in range(T):
            h = asked.vector[b, t] @ w_g
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
def test_one_softmax_is_the_mixture_with_soft_attention(score: type) -> None:
    """c^ = beta s + (1 - beta) c, c what attention without a sentinel reads."""
    attention, asked, source = made(score=score), query(2), memory(5, 2, width=Q)
    plain = ComposedAttention(Q, SourceSpec(Q), **{**PARTS, "score": score}).double().eval()
    plain.load_state_dict(attention.state_dict(), strict=False)
    answer, soft = ask(attention, asked, source), walk(plain, asked.vector, source)
    beta = answer.sentinel[:, 0].unsqueeze(-1)
    assert 0.001 < beta.min() < beta.max() < 0.999
    close(answer.context, beta * sentinels(attention, asked) + (1 - beta) * soft.context)
    close(answer.weights / (1 - beta.unsqueeze(1)), soft.weights)


def test_by_hand() -> None:
    """All scores equal: the sentinel is one of S + 1."""
    attention = made(score=Constant)
    answer = ask(attention, query(3), memory(*LENGTHS, width=Q))
    for b, length in enumerate(LENGTHS):
        close(answer.sentinel[b], torch.full((1, T), 1 / (length + 1), dtype=torch.float64))


@pytest.mark.parametrize("options", [{}, {"project": True}, {"heads": 2}, {"heads": 4, "groups": 2, "dim": 8}], ids=str)
@pytest.mark.parametrize("score", [Additive, ScaledDot])
def test_it_is_one_more_memory_slot(score: type, options: dict[str, object]) -> None:
    """W_k = 1: attention over [v; s_t], a memory of its own at each t."""
    attention, asked, source = made(score=score, **options), query(2), memory(5, 2, width=Q)
    attention.sentinel_key.weight.data.copy_(torch.eye(Q))
    plain = ComposedAttention(Q, SourceSpec(Q), **{**PARTS, "score": score, **options}).double().eval()
    plain.load_state_dict(attention.state_dict(), strict=False)
    answer, s = ask(attention, asked, source), sentinels(attention, asked)
    for t in range(T):
        mask = torch.cat((source.mask, torch.ones(2, 1, dtype=torch.bool)), 1)
        more = Memory.of(torch.cat((source.values, s[:, t : t + 1]), 1), mask)
        expected = walk(plain, asked.vector[:, t : t + 1], more)
        close(answer.context[:, t : t + 1], expected.context)
        close(answer.weights[:, :, t : t + 1], expected.weights[..., :-1])
        close(answer.sentinel[:, :, t : t + 1], expected.weights[..., -1])


def test_the_previous_query_travels_in_the_state() -> None:
    attention, asked, source = made(), query(2), memory(5, 2, width=Q)
    whole, prepared = ask(attention, asked, source), attention.prepare(source)
    state = attention.initial_state(prepared)
    assert not state["previous"].any()
    for t in range(T):
        step = attention(asked.at(t), prepared, state, need_weights=True)
        state = step.state
        close(state["previous"], asked.vector[:, t])
        close(step.context, whole.context[:, t : t + 1])
        close(step.sentinel, whole.sentinel[:, :, t : t + 1])


def test_windows_shape_the_source_only() -> None:
    asked, source = query(1), memory(5, width=Q)
    narrow = ask(made(window=lambda *args: LocalM(*args, reach=1)), replace(asked, position=asked.position + 5), source)
    assert not narrow.weights[:, :, 1:].any()  # queries 6 and 7 are past all
    assert narrow.sentinel[0, 0, 1:].tolist() == [1.0, 1.0]
    assert narrow.weights[0, 0, 0].nonzero().flatten().tolist() == [4]
    for renormalise in (False, True):
        attention = made(window=partial(LocalP, reach=2, renormalise=renormalise))
        answer = ask(attention, asked, source)
        total = answer.weights.sum(-1) + answer.sentinel
        assert attention.mass == ("one" if renormalise else "at_most_one")
        assert (total < 0.999).all() != renormalise
        if renormalise:
            close(total, torch.ones_like(total))


def test_drawn_the_sentinel_is_one_of_the_places() -> None:
    attention, many = made(selection=lambda: Hard(soft=0.0)), torch.zeros(4000, dtype=torch.long)
    asked, source = query(1), memory(3, width=Q)
    soft = made()
    soft.load_state_dict(attention.state_dict())
    expected = ask(soft, asked, source)
    repeated = Query(asked.vector[many], asked.position[many], asked.input[many], lambda: asked.cell()[many])
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
        made(score=Location)
