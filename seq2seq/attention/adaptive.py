"""Adaptive attention: one more slot, the sentinel, which holds what the decoder knows without the source.

Letters as in ``composed.py``; E width of the decoder's input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.components.scores import Location
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.requirements import refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import split_heads


class AdaptiveAttention(ComposedAttention):
    """Attention over the source and a sentinel (Lu 2017, section 2.3).

    c_t = sum_j a_tj v_j + beta_t s_t, [a_t; beta_t] = softmax([e_t; e(h_t, s_t)]).

    s_t = sigmoid(W_x x_t + W_h h_{t-1}) * tanh(m_t) is the paper's visual sentinel. x_t is the decoder's input
    (``Query.input``), h the query (zero before the first), and m_t an LSTM's cell (h_t itself in a decoder without
    cells). The sentinel's key W_k s_t has its own matrix: with the additive score, e(h_t, s_t) is the paper's
    w^T tanh(W_s s_t + W_g h_t), W_s = U W_k. The sentinel's value is s_t, mapped to the memory's width where the
    query's width differs.

    One softmax over S + 1 slots is the paper's c^ = beta s + (1 - beta) c. Where nothing is visible, beta is 1 and the
    context is that of the sentinel. The output returns beta as ``sentinel``; weights and sentinel together sum to the
    declared mass.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory, with ``input_dim``.
        **options: Options of ``ComposedAttention``.

    Raises:
        UserError: The source is self-attention, the decoder provides no input, or the score is ``location``.
    """

    def __init__(self, query_dim: int, source: SourceSpec, **options: Any) -> None:
        super().__init__(query_dim, source, **options)
        # Check the source and the score.
        refuse_self(
            source,
            "adaptive attention chooses between a source and the decoder's own knowledge, and self-attention has "
            "no separate source; use it as attention, not as self_attention",
        )
        if not source.input_dim:
            raise UserError("adaptive attention's sentinel reads the decoder's input, but this decoder provides none")
        if isinstance(self.score, Location):
            raise UserError(
                "the location score indexes source positions, and the sentinel has none; use the additive score"
            )
        # Build the sentinel, its key and its value.
        self.gate_input = nn.Linear(source.input_dim, query_dim, bias=False)
        self.gate_state = nn.Linear(query_dim, query_dim, bias=False)
        self.sentinel_key = nn.Linear(query_dim, source.width, bias=False)
        same = query_dim == source.width
        self.sentinel_value = nn.Identity() if same else nn.Linear(query_dim, source.width, bias=False)

    @override
    def initial_state(self, memory: Memory) -> AttentionState:
        """Also return ``previous`` (B, Q), the query before the first: zero."""
        values = memory.prepared["values"]
        return {**super().initial_state(memory), "previous": values.new_zeros(len(values), self.query_dim)}

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
        queries = _with_sentinel(self.head_queries(query, memory, mask))
        values = self._expand_groups(memory.prepared["values"])
        keys = self._expand_groups(memory.prepared.get("keys", memory.prepared["values"]))
        # Add the sentinel to the scores.
        own_key, own_value = self._sentinel_key_value(self.sentinel(query, state))  # (B, H, T, D)
        scores = torch.cat(
            (self.score(queries.vectors, keys, memory), self._sentinel_score(queries.vectors, own_key)), -1
        )
        # Give the sentinel a position (-1), which identifies its random draws.
        sentinel_position = memory.positions.new_full((len(scores), 1, memory.positions.shape[-1]), -1)
        places = replace(memory, positions=torch.cat((memory.positions, sentinel_position), 1))
        # Select the weights, and read values and sentinel.
        selected = self.select(scores, queries, places, state)
        weights = selected.weights  # (B, H, T, S + 1)
        used = self.apply_weights(weights, query)
        context = self.finish(used[..., :-1] @ values + used[..., -1:] * own_value, queries)
        return AttentionOutput(
            context,
            weights[..., :-1] if need_weights else None,
            {**state, "previous": query.vector[:, -1]},
            weights[..., -1],
            None if selected.log_prob is None else selected.log_prob.sum(1),
            {name: value.sum(1) for name, value in selected.penalties.items()},
        )

    def sentinel(self, query: Query, state: AttentionState) -> Tensor:
        """Return the sentinel s_t (B, T, Q).

        Args:
            query: Queries with the decoder's input.
            state: State with the query before the first of these.
        """
        assert query.input is not None
        # Gate the cell by the input and the previous query.
        before = torch.cat((state["previous"].unsqueeze(1), query.vector[:, :-1]), 1)
        gate = torch.sigmoid(self.gate_input(query.input) + self.gate_state(before))
        return gate * torch.tanh(query.vector if query.cell is None else query.cell())

    def _sentinel_key_value(self, sentinel: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sentinel's key and value (B, H, T, D) from s_t (B, T, Q), projected like those of the memory."""
        key, value = self.sentinel_key(sentinel), self.sentinel_value(sentinel)
        if self.project:
            key, value = self.key_value(key).chunk(2, -1)[0], self.key_value(value).chunk(2, -1)[1]
        return self._expand_groups(split_heads(key, self.groups)), self._expand_groups(split_heads(value, self.groups))

    def _sentinel_score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return e(h_t, s_t), (B, H, T, D) both -> (B, H, T, 1), as the scores of B T memories of one position."""
        batch, _, length, _ = queries.shape
        one = Memory.of(queries.new_zeros(batch * length, 1, 0), queries.new_ones(batch * length, 1, dtype=torch.bool))
        # Let each query see only its own sentinel, as a batch of B T queries.
        keys = _as_single_queries(self.score.keys(keys))
        scores: Tensor = self.score(_as_single_queries(queries), keys, one)  # (B T, H, 1, 1)
        return torch.unflatten(scores.squeeze(-1), 0, (batch, length)).transpose(1, 2)


def _as_single_queries(x: Tensor) -> Tensor:
    """Reshape (B, H, T, D) to (B T, H, 1, D)."""
    return x.transpose(1, 2).flatten(0, 1).unsqueeze(2)


def _with_sentinel(queries: HeadQueries) -> HeadQueries:
    """Append one position that is always visible, with factor 1 and no bias."""
    # The sentinel is never masked.
    visible = torch.cat((queries.visible, torch.ones_like(queries.visible[..., :1])), -1)
    factor = None if queries.factor is None else F.pad(queries.factor, (0, 1), value=1.0)
    return replace(queries, visible=visible, factor=factor)
