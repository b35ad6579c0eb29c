"""Mechanisms that remember what they attended to: a loop over T, of which a subclass implements one step.

Letters as in ``composed.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.attention.components.scores import Constant, Location
from seq2seq.attention.components.selections import SelectedWeights
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.requirements import refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError


@dataclass(frozen=True)
class StepOutput:
    """Output of one query (T = 1), with the state for the next one."""

    selected: SelectedWeights  # weights (B, H, 1, S)
    state: AttentionState  # state for the next query
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, H, 1)}
    visible: Tensor | None = None  # (B, 1 or H, 1, S), where the step hid more positions than its query


class RecurrentAttention(ComposedAttention):
    """Composed attention whose scores or weights depend on those of earlier queries, which ``state`` carries.

    A subclass implements ``history`` and ``step``. Score, window, normaliser, selection and heads remain free choices
    where the subclass does not fix them.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        **options: Options of ``ComposedAttention``.

    Raises:
        UserError: The source is that of self-attention.
    """

    def __init__(self, query_dim: int, source: SourceSpec, **options: Any) -> None:
        super().__init__(query_dim, source, **options)
        refuse_self(source)

    @override
    def initial_state(self, memory: Memory) -> AttentionState:
        """Return the selection's state and the mechanism's own ``history``."""
        return {**super().initial_state(memory), **self.history(memory)}

    @abstractmethod
    def history(self, memory: Memory) -> AttentionState:
        """Return the mechanism's own state before the first query.

        Args:
            memory: Prepared memory.

        Returns:
            Tensors by name, whose first dimension is B.
        """

    @abstractmethod
    def step(self, queries: HeadQueries, keys: Tensor, memory: Memory, state: AttentionState) -> StepOutput:
        """Attend from one query (T = 1).

        ``self.score(queries.vectors, keys, memory)`` gives scores (B, H, 1, S); ``self.select(scores, queries, memory,
        state)`` makes the weights. The output must be 0 where nothing is visible.

        Args:
            queries: The query as the heads compare it.
            keys: Prepared keys (B, H, S, .).
            memory: Prepared memory.
            state: State after the query before.

        Returns:
            Weights (B, H, 1, S) and the state after this query.
        """

    @override
    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        # Prepare queries, keys and values.
        queries = self.head_queries(query, memory, mask)
        values = memory.prepared["values"]
        keys = self._expand_groups(memory.prepared.get("keys", values))
        # Attend from one query after the other.
        steps: list[StepOutput] = []
        for t in range(query.vector.shape[1]):
            steps.append(self.step(queries.at(t), keys, memory, steps[-1].state if steps else state))
        # Concatenate the steps along T.
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
        """Width of the prepared keys, for tensors that are added to them."""
        if isinstance(self.score, Location | Constant):
            raise UserError(
                "what this attention remembers is added to the keys, but this score ignores keys; "
                "use the additive or the general score"
            )
        # Ask the score itself, by keys of zeros.
        with torch.no_grad():
            return self.score.keys(torch.zeros(1, self.heads, 1, self.score.key_dim)).shape[-1]


def with_position_order(memory: Memory) -> Memory:
    """Return a memory with the order of its positions prepared.

    ``order`` (B, S) is the index of the n-th position, with positions that are not real last. ``rank`` (B, S) is its
    inverse.

    Args:
        memory: Memory with positions (B, S, P).
    """
    place = memory.positions[..., 0]
    # Sort the positions, with padding at the end.
    order = place.masked_fill(~memory.mask, torch.iinfo(place.dtype).max).argsort(stable=True, dim=1)
    return replace(memory, prepared={**memory.prepared, "order": order, "rank": order.argsort(1)})


def take_along(x: Tensor, index: Tensor) -> Tensor:
    """Return x with its last dimension in the order ``index``.

    Args:
        x: Tensor (B, ..., S).
        index: Order (B, S).
    """
    return x.gather(-1, index.view(len(index), *[1] * (x.dim() - 2), -1).expand_as(x))


def _concatenate_steps(steps: list[StepOutput], get: Callable[[StepOutput], Tensor | None]) -> Tensor | None:
    """Concatenate one tensor of all steps along T; None where no step has it."""
    parts = [part for part in map(get, steps) if part is not None]
    return torch.cat(parts, 2) if parts else None
