"""Adaptive attention: one more slot, which stands for what the decoder knows without looking.

Letters as in ``composed.py``; E the width of what the decoder reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.components.scores import Location
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.requirements import refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import split_heads


class AdaptiveAttention(ComposedAttention):
    """c_t = sum_j a_tj v_j + beta_t s_t, [a_t; beta_t] = softmax([e_t; e(h_t, s_t)]) (Lu 2017, section 2.3).

    s_t = sigmoid(W_x x_t + W_h h_{t-1}) * tanh(m_t) is the visual sentinel: x_t what the decoder reads
    (``Query.input``), h the query, zero before the first, m_t an LSTM's cell (h_t itself in a decoder that has none).
    The sentinel's key W_k s_t has a matrix of its own: under the additive score e(h_t, s_t) is the paper's
    w^T tanh(W_s s_t + W_g h_t), W_s = U W_k. Its value is s_t, mapped to the memory's width where the query's differs.

    One softmax over S + 1 slots is the paper's c^ = beta s + (1 - beta) c. Where nothing is visible, beta is 1 and the
    context is the sentinel's. beta is reported as ``sentinel``: with the weights it makes the declared mass.
    """

    def __init__(self, query_dim: int, source: SourceSpec, **options: Any) -> None:
        super().__init__(query_dim, source, **options)
        refuse_self(
            source,
            "adaptive attention weighs the source against what the decoder knows by itself; self-attention has "
            "no such outside: use it as attention, not as self_attention",
        )
        if not source.input_dim:
            raise UserError("adaptive attention's sentinel reads the decoder's input, but this decoder shows none")
        if isinstance(self.score, Location):
            raise UserError(
                "the location score indexes source positions, and the sentinel has none; use the additive score"
            )
        self.gate_input = nn.Linear(source.input_dim, query_dim, bias=False)
        self.gate_state = nn.Linear(query_dim, query_dim, bias=False)
        self.sentinel_key = nn.Linear(query_dim, source.width, bias=False)
        same = query_dim == source.width
        self.sentinel_value = nn.Identity() if same else nn.Linear(query_dim, source.width, bias=False)

    def initial_state(self, memory: Memory) -> AttentionState:
        """``previous`` (B, Q): the query before the first."""
        values = memory.prepared["values"]
        return {**super().initial_state(memory), "previous": values.new_zeros(len(values), self.query_dim)}

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts (B, T, C) of T queries, and the sentinel's share (B, H, T)."""
        queries = _with_sentinel(self.head_queries(query, memory, mask))
        values = self._expand_groups(memory.prepared["values"])
        keys = self._expand_groups(memory.prepared.get("keys", memory.prepared["values"]))
        own_key, own_value = self._sentinel_key_value(self.sentinel(query, state))  # (B, H, T, D)
        scores = torch.cat(
            (self.score(queries.vectors, keys, memory), self._sentinel_score(queries.vectors, own_key)), -1
        )
        nowhere = memory.positions.new_full((len(scores), 1, memory.positions.shape[-1]), -1)
        places = replace(memory, positions=torch.cat((memory.positions, nowhere), 1))  # for what is drawn
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
        """s_t (B, T, Q)."""
        assert query.input is not None
        before = torch.cat((state["previous"].unsqueeze(1), query.vector[:, :-1]), 1)
        gate = torch.sigmoid(self.gate_input(query.input) + self.gate_state(before))
        return gate * torch.tanh(query.vector if query.cell is None else query.cell())

    def _sentinel_key_value(self, sentinel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, Q) -> key and value of the slot (B, H, T, D), a head's own where heads are projected."""
        key, value = self.sentinel_key(sentinel), self.sentinel_value(sentinel)
        if self.project:
            key, value = self.key_value(key).chunk(2, -1)[0], self.key_value(value).chunk(2, -1)[1]
        return self._expand_groups(split_heads(key, self.groups)), self._expand_groups(split_heads(value, self.groups))

    def _sentinel_score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """e(h_t, s_t) for each t: (B, H, T, D) both -> (B, H, T, 1). To the score, B T memories of one place."""
        batch, _, length, _ = queries.shape
        one = Memory.of(queries.new_zeros(batch * length, 1, 0), queries.new_ones(batch * length, 1, dtype=torch.bool))
        keys = _as_single_queries(self.score.keys(keys))
        scores = self.score(_as_single_queries(queries), keys, one)  # (B T, H, 1, 1)
        return scores.squeeze(-1).unflatten(0, (batch, length)).transpose(1, 2)


def _as_single_queries(x: Tensor) -> Tensor:
    """(B, H, T, D) -> (B T, H, 1, D)."""
    return x.transpose(1, 2).flatten(0, 1).unsqueeze(2)


def _with_sentinel(queries: HeadQueries) -> HeadQueries:
    """One more place at the end: always visible, unshaped, unbiased."""
    visible = torch.cat((queries.visible, torch.ones_like(queries.visible[..., :1])), -1)
    factor = None if queries.factor is None else F.pad(queries.factor, (0, 1), value=1.0)
    return replace(queries, visible=visible, factor=factor)
