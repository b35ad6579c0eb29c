"""Helpers that call a mechanism as a decoder does, and compare its answers."""

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
    """Return the answer to ``queries`` (B, T, Q), asked all at once or in ``chunks``.

    In a causal slot the memory grows by one value for each query; in other slots it is complete from the start.

    Args:
        attention: Mechanism to ask.
        queries: Query vectors (B, T, Q).
        memory: Memory (B, S, .).
        chunks: Numbers of queries in each call; None = one call.
        mask: Mask (B, T, S) of the positions that each query sees.
        need_weights: Whether to ask for weights.
        target: Target vectors (B, T, .) that the mechanism may read.
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
    """Return a query of ``vectors`` (B, T, Q) from position ``start`` on; decoder inputs and cell states equal them."""
    positions = torch.arange(start, start + vectors.shape[1]).expand(len(vectors), -1)
    return Query(vectors, positions, vectors, partial(torch.clone, vectors), target)


def cut(memory: Memory, places: slice) -> Memory:
    """Return a memory of only some places of a memory along time."""
    mask = memory.mask[:, places]
    return Memory(memory.values[:, places], mask, memory.positions[:, places], mask.sum(1, keepdim=True))


def draw(patch: pytest.MonkeyPatch, path: tuple[int, ...]) -> None:
    """Make query t draw the memory's position ``path[t]`` in every sequence and head, until the patch ends."""

    def uniform(seed: Tensor, position: Tensor, heads: int, places: Tensor) -> Tensor:
        """Return a number near 1 at the chosen positions and near 0 elsewhere."""
        chosen = torch.tensor(path)[position][:, None, :, None] == places[:, None, None, :, 0]
        return torch.where(chosen, 1 - 1e-15, 1e-15).double().expand(-1, heads, -1, -1)

    patch.setattr(counter_rng, "uniform", uniform)


def join(answers: list[AttentionOutput], size: int) -> AttentionOutput:
    """Join the answers to chunks; positions that a chunk didn't have yet get weight 0."""

    def along(dim: int, parts: list[Tensor | None]) -> Tensor | None:
        """Concatenate the parts, of which all or none are tensors."""
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
    """Join the alternatives of several chunks, if there are any."""
    given = [part for part in parts if part is not None]
    assert len(given) in (0, len(parts))
    assert len({part.kind for part in given}) < 2
    if not given:
        return None
    contexts, log_weights = (torch.cat([getattr(p, name) for p in given], 1) for name in ("contexts", "log_weights"))
    steps = [part.transitions for part in given if part.transitions is not None]
    return Alternatives(contexts, log_weights, given[0].kind, torch.cat(steps, 1) if steps else None)


def outcome(answer: AttentionOutput) -> Tensor:
    """Return the part of an answer that a decoder uses (B, T, .).

    This is the context and, if there are alternatives, sum_j w_j tanh(c_j), which no mean of contexts determines.
    """
    if answer.alternatives is None:
        return answer.context
    contexts, weights = answer.alternatives.contexts, answer.alternatives.log_weights.exp().unsqueeze(-1)
    return torch.cat((answer.context, (weights * contexts.tanh()).sum(2)), -1)


def close(actual: Tensor | None, expected: Tensor | None, dtype: torch.dtype = torch.float64) -> None:
    """Check that two tensors are equal up to rounding in ``dtype``."""
    torch.testing.assert_close(actual, expected, rtol=EXACT[dtype], atol=EXACT[dtype])


def same(actual: AttentionOutput, expected: AttentionOutput, dtype: torch.dtype = torch.float64) -> None:
    """Check that two answers are equal in every field, up to rounding in ``dtype``."""
    for name in (field.name for field in fields(AttentionOutput)):
        ours, theirs = getattr(actual, name), getattr(expected, name)
        if isinstance(ours, Alternatives) and isinstance(theirs, Alternatives):
            assert ours.kind == theirs.kind
            ours, theirs = possible(ours), possible(theirs)
        if ours is not None or theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=EXACT[dtype], atol=EXACT[dtype])


def possible(alternatives: Alternatives) -> tuple[Tensor, Tensor]:
    """Return contexts (B, T, J, C), set to 0 where they have no weight, and log-weights."""
    some = alternatives.log_weights > -torch.inf
    return alternatives.contexts * some.unsqueeze(-1), alternatives.log_weights
