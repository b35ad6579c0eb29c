"""Intra-temporal attention: scores divided by earlier scores (not ``attention=temporal``, which attends over frames).

Letters as in ``composed.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.requirements import refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.layers.tensors import wide_dtype


class IntraTemporalAttention(ComposedAttention):
    """Intra-temporal attention: positions with high earlier scores get less weight.

    a_t = normalise(e_t - L_{t-1}), L_t = log sum_{t' <= t} exp(e_t'), L_{-1} = 0 (Paulus 2017, section 2.1; Sankaran
    2016; Nallapati 2016). It is the logarithm of the papers' exp(e_tj) / sum_{t' < t} exp(e_t'j), which overflows.

    As in the papers, L is a history of scores and not of weights. A position has this history whether or not the window
    or a mask let a query see it, so that equal scores give equal weights in every window. All T queries are computed at
    once, because no score depends on an earlier weight.

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
        """Also return ``earlier`` (B, H, S), the logarithm of 0 as the smallest number, which has a finite gradient."""
        values = memory.prepared["values"]
        dtype = wide_dtype(values.dtype)
        shape = len(values), self.heads, memory.mask.shape[1]
        nothing = values.new_full(shape, torch.finfo(dtype).min, dtype=dtype)
        return {**super().initial_state(memory), "earlier": nothing}

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
        # Compute the scores.
        queries = self.head_queries(query, memory, mask)
        values, earlier = memory.prepared["values"], state["earlier"]
        scores = self.compare(queries, memory.prepared.get("keys", values), memory)
        # Sum the exponentials of earlier scores.
        real = scores.to(earlier.dtype).masked_fill(~memory.mask[:, None, None], 0.0)
        history = [earlier]
        for row in real.unbind(2):  # torch.logcumsumexp is ten times slower
            history.append(torch.logaddexp(history[-1], row))
        # Divide the scores by them; without a history, scores stay as they are.
        before = torch.stack(history[:-1], 2)  # (B, H, T, S)
        before = before.masked_fill(before == torch.finfo(before.dtype).min, 0.0)
        selected = self.select((scores - before).to(scores.dtype), queries, memory, state)
        return self.attended(selected, queries, values, {**state, "earlier": history[-1]}, need_weights)
