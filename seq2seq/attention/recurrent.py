"""Mechanisms that look back at what they attended to: the loop over T, of which each writes one step.

Letters as in ``composed.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seq2seq.attention.base import Attended, Memory, Query, SourceSpec, State
from seq2seq.attention.composed import Asked, Composed
from seq2seq.attention.selections import Selected
from seq2seq.errors import UserError


@dataclass(frozen=True)
class Step:
    """What one query attended to, and what the next one must know."""

    selected: Selected  # weights (B, H, 1, S)
    state: State
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, H, 1)}


class Recurrent(Composed):
    """Composed attention whose scores or weights depend on those of earlier queries, carried in ``state``.

    A subclass gives its first state and one ``step``; score, window, normaliser, selection and heads stay free where
    it doesn't fix them.
    """

    def __init__(self, query_dim: int, source: SourceSpec, **options: Any) -> None:
        super().__init__(query_dim, source, **options)
        if source.is_self:
            raise UserError(
                f"{type(self).__name__.lower()} attention looks back at a source that stays the same; "
                "it can't be self-attention"
            )

    def initial_state(self, memory: Memory) -> State:
        """What the selection draws, and the mechanism's own ``history``."""
        return {**super().initial_state(memory), **self.history(memory)}

    @abstractmethod
    def history(self, memory: Memory) -> State:
        """The state before the first query, from a prepared memory."""

    @abstractmethod
    def step(self, asked: Asked, keys: Tensor, memory: Memory, query: Query, state: State) -> Step:
        """One query (T = 1): keys (B, H, S, .) as the score wants them; ``query`` is what ``asked`` was made of.

        ``self.score(asked.queries, keys, memory)`` are scores (B, H, 1, S), ``self.select(scores, asked, memory,
        state)`` makes the weights of them. Everything must be 0 where nothing is visible.
        """

    def forward(
        self, query: Query, memory: Memory, state: State, *, mask: Tensor | None = None, need_weights: bool = False
    ) -> Attended:
        """Contexts (B, T, C) of T queries, one after the other."""
        asked = self.ask(query, memory, mask)
        values = memory.prepared["values"]
        keys = self._each_head(memory.prepared.get("keys", values))
        steps: list[Step] = []
        for t in range(query.vector.shape[1]):
            steps.append(self.step(asked.at(t), keys, memory, query.at(t), steps[-1].state if steps else state))
        selected = Selected(
            torch.cat([step.selected.weights for step in steps], 2),
            _along(steps, lambda step: step.selected.log_prob),
            {
                name: torch.cat([{**step.selected.penalties, **step.penalties}[name] for step in steps], 2)
                for name in {**steps[0].selected.penalties, **steps[0].penalties}
            },
        )
        return self.attended(selected, asked, values, steps[-1].state, need_weights)


def _along(steps: list[Step], of: Callable[[Step], Tensor | None]) -> Tensor | None:
    parts = [part for part in map(of, steps) if part is not None]
    return torch.cat(parts, 2) if parts else None
