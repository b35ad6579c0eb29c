"""First-order and monotone hard attention: the position of a word depends on that of the word before.

Letters as in ``composed.py``; K number of jumps that have a score.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.composed import HeadQueries
from seq2seq.attention.latent_alignment import HardMarginalAttention, single_contexts
from seq2seq.attention.requirements import at_least_1, refuse_copying, refuse_regions
from seq2seq.attention.types import Alternatives, AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.chain import filtered, log_weights
from seq2seq.layers.tensors import widen


class FirstOrderAttention(HardMarginalAttention):
    """Exact hard attention whose positions form a Markov chain (Wu & Cotterell 2019, arXiv:1905.06319).

        p(y) = sum_a prod_t p(a_t | a_{t-1}, y_<t) p(y_t | v_{a_t}, y_<t)
        p(a_t = j | a_{t-1} = i) = softmax_j(e_tj + (W q_t + U v_i + b)_{j - i})

    The sum over all alignments a is exact, by the forward algorithm. Each word that is read says how well each position
    explains it. The weights of step t are therefore p(a_t = j | y_<t), and the mixture that they make is p(y_t | y_<t).
    They depend on words only. So does a decoder that reads the expected context (input feeding): the sum stays exact.

    The alignment starts with a jump from the first position. W, U and b start at 0, where all jumps are equally
    probable, and the model is that of ``HardMarginalAttention``.

    The paper's first-order model has a constant score e (``score=constant``) and no jump beyond ``max_jump=5``
    (``longer_jumps=false``). Its monotone models are ``monotone=true``, with ``max_jump=null`` (0-mono), or with a
    constant score and the same jumps (1-mono).

    In a layer that is not the last, the layers above read one context, and the attention is soft: softmax_j(e_tj).

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory, along time.
        monotone: Whether to forbid jumps back. Where nothing is visible at or after position i, as in a window that has
            moved on, the next position is any visible one.
        max_jump: Largest jump |j - i| that has a score of its own; None = jumps have no scores.
        longer_jumps: Whether longer jumps are possible; they have the score of the jump of size ``max_jump``.
        **options: Options of ``HardMarginalAttention``.

    Raises:
        UserError: The source has no order in time, or an option is out of range.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        monotone: bool = False,
        max_jump: int | None = 5,
        longer_jumps: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(query_dim, source, **options)
        # Check the source and the options.
        refuse_regions(source)
        refuse_copying(source)
        at_least_1(max_jump=max_jump)
        if max_jump is None and not longer_jumps:
            raise UserError("longer_jumps=false needs max_jump, the largest jump that is possible")
        self.monotone, self.max_jump, self.longer_jumps = monotone, max_jump, longer_jumps
        # Build the scores of jumps, which only the last layer has.
        if max_jump is not None and source.last:
            self.lowest = 0 if monotone else -max_jump
            jumps = max_jump - self.lowest + 1
            self.jump_from_query = nn.Linear(query_dim, jumps)
            self.jump_from_value = nn.Linear(source.width, jumps, bias=False)
            for parameter in (*self.jump_from_query.parameters(), *self.jump_from_value.parameters()):
                nn.init.zeros_(parameter)

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Also prepare ``jumps`` (B, S, K), the part U v_i of the scores of jumps."""
        prepared = super().prepare(memory)
        if not self.source.last or self.max_jump is None:
            return prepared
        return replace(prepared, prepared={**prepared.prepared, "jumps": self.jump_from_value(memory.values)})

    @override
    def initial_state(self, memory: Memory) -> AttentionState:
        """Return ``position`` (B, S), the distribution of the position before: the first one of the source."""
        if not self.source.last:
            return {}
        place = memory.positions[..., 0]
        first = place.masked_fill(~memory.mask, torch.iinfo(place.dtype).max).argmin(1, keepdim=True)
        position = widen(torch.zeros_like(place, dtype=memory.prepared["values"].dtype))
        return {"position": position.scatter(1, first, 1.0)}

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
        if not self.source.last:
            return super().forward(query, memory, state, mask=mask, need_weights=need_weights)
        queries = self.head_queries(query, memory, mask)
        values = memory.prepared["values"]
        scores = self.compare(queries, memory.prepared.get("keys", values), memory)
        # Follow the chain: each known word changes the distribution of its position, then comes a step.
        transitions = self.transitions(scores, queries, memory)
        contexts = single_contexts(queries, memory, query.vector.shape[1])
        evidence = None if query.evidence is None else query.evidence(contexts)
        prior, position = filtered(transitions, evidence, state["position"])
        weights = prior.unsqueeze(1).to(scores.dtype)
        # Compute the expected context. In training, the mixture uses the weights before dropout, which sum to one.
        used = self.apply_weights(weights, query)
        context = self.finish(self.read(used, self._expand_groups(values), queries), queries)
        log_prior = log_weights(prior if self.training else used.squeeze(1))
        return AttentionOutput(
            context,
            weights if need_weights else None,
            {**state, "position": position},
            alternatives=Alternatives(contexts, log_prior, transitions=transitions),
        )

    def transitions(self, scores: Tensor, queries: HeadQueries, memory: Memory) -> Tensor:
        """Return p(a_t = j | a_{t-1} = i) (B, T, S, S), with i before j; 0 for a query that sees nothing.

        Args:
            scores: Scores e (B, 1, T, S).
            queries: Queries as the head compares them.
            memory: Prepared memory.
        """
        # Find the positions that can follow each position.
        place = memory.positions[..., 0]
        jump = (place.unsqueeze(1) - place.unsqueeze(2)).unsqueeze(1)  # (B, 1, S, S)
        visible = queries.visible.transpose(1, 2)  # (B, T or 1, 1, S)
        allowed = visible
        if self.monotone:
            allowed = allowed & (jump >= 0)
        if self.max_jump is not None and not self.longer_jumps:
            allowed = allowed & (jump.abs() <= self.max_jump)
        allowed = allowed | (visible & ~allowed.any(-1, keepdim=True))
        # Add the score of each jump.
        scores = widen(scores).transpose(1, 2)  # (B, T, 1, S)
        if self.max_jump is not None:
            jumps = self.jump_from_query(queries.query.vector).unsqueeze(2) + memory.prepared["jumps"].unsqueeze(1)
            index = jump.clamp(self.lowest, self.max_jump) - self.lowest
            scores = scores + jumps.gather(-1, index.expand(-1, jumps.shape[1], -1, -1))
        # The rows i take the place of the queries of ``weigh``, and the queries that of its heads.
        factor = None if queries.factor is None else queries.factor.transpose(1, 2)
        scores = scores.expand(-1, -1, memory.mask.shape[1], -1)
        return self.weigh(scores, replace(queries, visible=allowed, factor=factor))
