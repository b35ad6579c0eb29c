"""Mechanisms that look back at what they attended to: the loop over T, of which each writes one step.

Letters as in ``composed.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from seq2seq.attention.components.scores import Constant, Location
from seq2seq.attention.components.selections import SelectedWeights
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.requirements import refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError


@dataclass(frozen=True)
class StepOutput:
    """What one query attended to, and what the next one must know."""

    selected: SelectedWeights  # weights (B, H, 1, S)
    state: AttentionState
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, H, 1)}
    visible: Tensor | None = None  # (B, 1 or H, 1, S), where the step itself saw less than it was asked about


class RecurrentAttention(ComposedAttention):
    """Composed attention whose scores or weights depend on those of earlier queries, carried in ``state``.

    A subclass gives its first state and one ``step``; score, window, normaliser, selection and heads stay free where
    it doesn't fix them.
    """

    def __init__(self, query_dim: int, source: SourceSpec, **options: Any) -> None:
        super().__init__(query_dim, source, **options)
        refuse_self(source)

    def initial_state(self, memory: Memory) -> AttentionState:
        """What the selection draws, and the mechanism's own ``history``."""
        return {**super().initial_state(memory), **self.history(memory)}

    @abstractmethod
    def history(self, memory: Memory) -> AttentionState:
        """The state before the first query, from a prepared memory."""

    @abstractmethod
    def step(self, queries: HeadQueries, keys: Tensor, memory: Memory, state: AttentionState) -> StepOutput:
        """One query (T = 1): keys (B, H, S, .) as the score wants them.

        ``self.score(queries.vectors, keys, memory)`` are scores (B, H, 1, S), ``self.select(scores, queries, memory,
        state)`` makes the weights of them. Everything must be 0 where nothing is visible.
        """

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts (B, T, C) of T queries, one after the other."""
        queries = self.head_queries(query, memory, mask)
        values = memory.prepared["values"]
        keys = self._expand_groups(memory.prepared.get("keys", values))
        steps: list[StepOutput] = []
        for t in range(query.vector.shape[1]):
            steps.append(self.step(queries.at(t), keys, memory, steps[-1].state if steps else state))
        selected = SelectedWeights(
            torch.cat([step.selected.weights for step in steps], 2),
            _concatenate_steps(steps, lambda step: step.selected.log_prob),
            {
                name: torch.cat([{**step.selected.penalties, **step.penalties}[name] for step in steps], 2)
                for name in {**steps[0].selected.penalties, **steps[0].penalties}
            },
        )
        visible = _concatenate_steps(steps, lambda step: step.visible)
        queries = queries if visible is None else replace(queries, visible=visible)
        return self.attended(selected, queries, values, steps[-1].state, need_weights)

    @property
    def compared_dim(self) -> int:
        """The width of keys as the score wants them, for what is added to them."""
        if isinstance(self.score, Location | Constant):
            raise UserError(
                "what this attention remembers is added to the keys, and this score looks at none; "
                "use the additive or the general score"
            )
        with torch.no_grad():
            return self.score.keys(torch.zeros(1, self.heads, 1, self.score.key_dim)).shape[-1]


def with_position_order(memory: Memory) -> Memory:
    """Return a memory with the order of its positions prepared.

    ``order`` (B, S) is the place of the n-th position, those that are not real last; ``rank`` (B, S) its inverse.
    """
    place = memory.positions[..., 0]
    order = place.masked_fill(~memory.mask, torch.iinfo(place.dtype).max).argsort(stable=True, dim=1)
    return replace(memory, prepared={**memory.prepared, "order": order, "rank": order.argsort(1)})


def take_along(x: Tensor, index: Tensor) -> Tensor:
    """x (B, ..., S) with its last dimension taken in the order ``index`` (B, S)."""
    return x.gather(-1, index.view(len(index), *[1] * (x.dim() - 2), -1).expand_as(x))


def _concatenate_steps(steps: list[StepOutput], of: Callable[[StepOutput], Tensor | None]) -> Tensor | None:
    parts = [part for part in map(of, steps) if part is not None]
    return torch.cat(parts, 2) if parts else None
