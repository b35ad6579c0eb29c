"""Asking a mechanism as a decoder does, and comparing its answers."""

from __future__ import annotations

from dataclasses import fields
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.attention.base import Attention
from seq2seq.attention.components import counter_rng
from seq2seq.attention.types import Alternatives, AttentionOutput, Memory, Query

EXACT = {torch.float64: 1e-12, torch.float32: 2e-5}


def walk(
    attention: Attention,
    queries: Tensor,
    memory: Memory,
    *,
    chunks: tuple[int, ...] | None = None,
    mask: Tensor | None = None,
    need_weights: bool = True,
    target: Tensor | None = None,
) -> AttentionOutput:
    """The answer to ``queries`` (B, T, Q), asked all at once or in ``chunks``, ``target`` (B, T, .) known if given.

    In a causal slot the memory grows with the queries, one value a query; elsewhere it is whole from the start.
    """
    answers, start, past, state = [], 0, None, None
    for count in chunks or (queries.shape[1],):
        rows = slice(start, start + count)
        if attention.source.causal:
            past = attention.extend(past, attention.prepare(cut(memory, rows)), need_weights=need_weights)
        elif past is None:
            past = attention.prepare(memory)
        state = attention.initial_state(past) if state is None else state
        query = ask(queries[:, rows], start, None if target is None else target[:, rows])
        narrower = None if mask is None else mask[:, rows, : past.mask.shape[1]]
        answers.append(attention(query, past, state, mask=narrower, need_weights=need_weights))
        state, start = answers[-1].state, rows.stop
    return join(answers, memory.mask.shape[1])


def ask(vectors: Tensor, start: int, target: Tensor | None = None) -> Query:
    """(B, T, Q) at positions from ``start`` on, which are the decoder's input and its cells too."""
    positions = torch.arange(start, start + vectors.shape[1]).expand(len(vectors), -1)
    return Query(vectors, positions, vectors, partial(torch.clone, vectors), target)


def cut(memory: Memory, places: slice) -> Memory:
    """Some places of a memory along time, as a memory of their own."""
    mask = memory.mask[:, places]
    return Memory(memory.values[:, places], mask, memory.positions[:, places], mask.sum(1, keepdim=True))


def draw(patch: pytest.MonkeyPatch, path: tuple[int, ...]) -> None:
    """From here on query t draws the memory's position ``path[t]``, in every sequence and head."""

    def uniform(seed: Tensor, position: Tensor, heads: int, places: Tensor) -> Tensor:
        chosen = torch.tensor(path)[position][:, None, :, None] == places[:, None, None, :, 0]
        return torch.where(chosen, 1 - 1e-15, 1e-15).double().expand(-1, heads, -1, -1)

    patch.setattr(counter_rng, "uniform", uniform)


def join(answers: list[AttentionOutput], size: int) -> AttentionOutput:
    """Answers to chunks as one answer; what a chunk did not see yet has weight 0."""

    def along(dim: int, parts: list[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        assert len(given) in (0, len(parts))
        return torch.cat(given, dim) if given else None

    weights = [None if a.weights is None else F.pad(a.weights, (0, size - a.weights.shape[-1])) for a in answers]
    return AttentionOutput(
        torch.cat([a.context for a in answers], 1),
        along(2, weights),
        answers[-1].state,
        along(2, [a.sentinel for a in answers]),
        along(1, [a.log_prob for a in answers]),
        {name: torch.cat([a.penalties[name] for a in answers], 1) for name in answers[0].penalties},
        offered([a.alternatives for a in answers]),
    )


def offered(parts: list[Alternatives | None]) -> Alternatives | None:
    """The alternatives of several chunks as those of one, where there are any."""
    given = [part for part in parts if part is not None]
    assert len(given) in (0, len(parts))
    assert len({part.kind for part in given}) < 2
    if not given:
        return None
    contexts, log_weights = (torch.cat([getattr(p, name) for p in given], 1) for name in ("contexts", "log_weights"))
    return Alternatives(contexts, log_weights, given[0].kind)


def outcome(answer: AttentionOutput) -> Tensor:
    """All that a decoder makes of an answer (B, T, .): the context that it goes on with and, where alternatives are
    what is read out, sum_j w_j tanh(c_j) of them, which no mean of contexts can tell.
    """
    if answer.alternatives is None:
        return answer.context
    contexts, weights = answer.alternatives.contexts, answer.alternatives.log_weights.exp().unsqueeze(-1)
    return torch.cat((answer.context, (weights * contexts.tanh()).sum(2)), -1)


def close(actual: Tensor | None, expected: Tensor | None, dtype: torch.dtype = torch.float64) -> None:
    """Equal up to rounding in ``dtype``."""
    torch.testing.assert_close(actual, expected, rtol=EXACT[dtype], atol=EXACT[dtype])


def same(actual: AttentionOutput, expected: AttentionOutput, dtype: torch.dtype = torch.float64) -> None:
    """Two answers equal in all they report, up to rounding in ``dtype``."""
    for name in (field.name for field in fields(AttentionOutput)):
        ours, theirs = getattr(actual, name), getattr(expected, name)
        if isinstance(ours, Alternatives) and isinstance(theirs, Alternatives):
            assert ours.kind == theirs.kind
            ours, theirs = possible(ours), possible(theirs)
        if ours is not None or theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=EXACT[dtype], atol=EXACT[dtype])


def possible(alternatives: Alternatives) -> tuple[Tensor, Tensor]:
    """Contexts (B, T, J, C), 0 where they have no weight, and log-weights."""
    some = alternatives.log_weights > -torch.inf
    return alternatives.contexts * some.unsqueeze(-1), alternatives.log_weights
