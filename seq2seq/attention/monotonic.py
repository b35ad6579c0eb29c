"""Monotonic attention: from where the last query stopped, forwards, to the first position that is good enough.

Letters as in ``composed.py``; w the places of a chunk. The source is read in the order of its positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.components import counter_rng
from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Score
from seq2seq.attention.components.selections import SelectedWeights, Soft
from seq2seq.attention.components.windows import Window
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.recurrent import take_along, with_position_order
from seq2seq.attention.requirements import at_least_1, refuse_regions, refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import wide_dtype


class MonotonicAttention(ComposedAttention):
    """a_tj = p_tj q_tj, q_tj = (1 - p_t,j-1) q_t,j-1 + a_{t-1,j}, p = sigmoid(e + r + n) (Raffel 2017, section 2.3).

    a_tj is the probability to stop at j, of a scan that starts where the last one stopped (the first position at first)
    and stops at j with probability p_tj. What is left scans past the end and stays there: weights sum to at most one,
    and what is missing attends to nothing. With ``preserve`` it stops at the last visible position instead (fairseq's
    ``mass_preservation``).

    e is any score; the paper's is additive with ``normalize`` and ``bias`` (section 2.4). r is learned and starts at
    ``offset``, the lower the longer the source. n ~ N(0, ``noise_std``^2) while training pushes p towards 0 and 1, so
    that with ``hard`` evaluation can stop at the first e + r > 0, p > 1/2 (section 2.5; p = 1/2 passes on): no gradient
    flows through that.

    Hidden positions are passed over (p = 0), a window's shape acts on the weights but not on where the scan starts
    next, and a query that sees nothing leaves the scan where it was. No normaliser and no selection take part.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        score: Callable[..., Score],
        window: Callable[..., Window],
        offset: float = -1.0,
        noise_std: float = 1.0,
        hard: bool = True,
        preserve: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(query_dim, source, score=score, window=window, normalizer=Softmax, selection=Soft, **options)
        refuse_self(source)
        refuse_regions(source)
        if noise_std < 0:
            raise UserError(f"noise_std={noise_std} is a standard deviation and must be at least 0")
        self.noise_std, self.hard, self.preserve = noise_std, hard, preserve
        self.offset = nn.Parameter(torch.full((self.heads, 1, 1), float(offset)))
        self.gradient = "surrogate" if hard else "exact"
        if not preserve:
            self.mass = "at_most_one"

    def prepare(self, memory: Memory) -> Memory:
        """Also the order of its positions."""
        return with_position_order(super().prepare(memory))

    def initial_state(self, memory: Memory) -> AttentionState:
        """``alignment`` (B, H, S), in the order of positions: all on the first; while training a seed each sequence."""
        values = memory.prepared["values"]
        start = values.new_zeros(len(values), self.heads, memory.mask.shape[1], dtype=wide_dtype(values.dtype))
        start[..., 0] = memory.mask.any(1, keepdim=True).to(start.dtype)
        state = {"alignment": start}
        if self.training and self.noise_std:
            state["seed"] = counter_rng.seeds(len(values), values.device)
        return state

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts (B, T, C) of T queries. Only where the scan starts must wait for the query before."""
        queries = self.head_queries(query, memory, mask)
        values, order = memory.prepared["values"], memory.prepared["order"]
        visible = take_along(queries.visible.expand(-1, self.heads, query.vector.shape[1], -1), order)
        stop = take_along(self.stop(queries, memory, state), order).masked_fill(~visible, 0.0)
        left = visible.flip(-1).cumsum(-1).flip(-1)  # how many are visible from here on
        last, gone = visible & (left == 1), left == 0
        if self.preserve:
            stop = stop.masked_fill(last, 1.0)
        seen = visible.any(-1, keepdim=True)
        passages = [rows.unbind(2) for rows in doublings(stop)]
        before, stopped = state["alignment"], []
        for t, row in enumerate(stop.unbind(2)):
            start = before
            if self.preserve:  # a window may have moved back, and left some of it behind
                beyond = before * gone[:, :, t]
                start = before - beyond + last[:, :, t] * beyond.sum(-1, keepdim=True)
            stopped.append(row * arrivals([rows[t] for rows in passages], start))
            before = torch.where(seen[:, :, t], stopped[-1], before)
        weights = take_along(self.spread(torch.stack(stopped, 2), visible, queries, memory), memory.prepared["rank"])
        used = SelectedWeights(self.shaped(weights, queries).to(values.dtype))
        return self.attended(used, queries, values, {**state, "alignment": before}, need_weights)

    def stop(self, queries: HeadQueries, memory: Memory, state: AttentionState) -> Tensor:
        """p (B, H, T, S)."""
        keys = memory.prepared.get("keys", memory.prepared["values"])
        energy = self.compare(queries, keys, memory).to(state["alignment"].dtype) + self.offset
        if self.hard and not self.training:
            return (energy > 0).to(energy.dtype)
        if "seed" in state:
            u = counter_rng.uniform(state["seed"], queries.query.position, self.heads, memory.positions)
            energy = energy + self.noise_std * torch.special.ndtri(u).to(energy.dtype)
        return torch.sigmoid(energy)

    def spread(self, stopped: Tensor, visible: Tensor, queries: HeadQueries, memory: Memory) -> Tensor:
        """What is read where the scan stopped: (B, H, T, S) both, in the order of positions."""
        return stopped

    def shaped(self, weights: Tensor, queries: HeadQueries) -> Tensor:
        """The window's factor; divided by its mean under the weights where the window renormalises."""
        if queries.factor is None:
            return weights
        shaped = weights * queries.factor.to(weights.dtype)
        if not self.window.renormalise:
            return shaped
        total = shaped.sum(-1, keepdim=True)
        return shaped * (weights.sum(-1, keepdim=True) / total.masked_fill(total == 0, 1.0))


class MochaAttention(MonotonicAttention):
    """beta_tj = sum_{k=j}^{j+w-1} a_tk exp(u_tj) / sum_{l=k-w+1}^{k} exp(u_tl): softmax attention over the ``chunk`` of
    w places that ends where monotonic attention stops (MoChA, Chiu & Raffel 2018, section 2.3).

    u is a second score, ``chunk_score``, which reads the same queries and keys. Hidden places of a chunk have no part.
    w = 1 is ``MonotonicAttention``.
    """

    def __init__(
        self, query_dim: int, source: SourceSpec, *, chunk_score: Callable[..., Score], chunk: int = 8, **options: Any
    ) -> None:
        super().__init__(query_dim, source, **options)
        at_least_1(chunk=chunk)
        self.chunk = chunk
        self.chunk_score = chunk_score(self.score.query_dim, self.score.key_dim, self.heads, source)

    def prepared_tensors(self, keys: Tensor, values: Tensor, memory: Memory) -> dict[str, Tensor]:
        """Also the second score's keys (B, H, S, .)."""
        return {
            **super().prepared_tensors(keys, values, memory),
            "chunk_keys": self.chunk_score.keys(self._expand_groups(keys)),
        }

    def head_queries(self, query: Query, memory: Memory, mask: Tensor | None) -> HeadQueries:
        """Only what both scores are defined for is visible."""
        queries, defined = super().head_queries(query, memory, mask), self.chunk_score.visible(memory)
        return queries if defined is None else replace(queries, visible=queries.visible & defined[:, None, None])

    def spread(self, stopped: Tensor, visible: Tensor, queries: HeadQueries, memory: Memory) -> Tensor:
        """beta from a: (B, H, T, S) both."""
        energy = self.chunk_score(queries.vectors, memory.prepared["chunk_keys"], memory).to(stopped.dtype)
        return chunkwise(stopped, take_along(energy, memory.prepared["order"]), visible, self.chunk)


def alignment(stop: Tensor, start: Tensor) -> Tensor:
    """a_j = p_j q_j, q_j = (1 - p_{j-1}) q_{j-1} + start_j: (..., S) both.

    q by doubling: after n rounds each q_j has what started less than 2^n places before it. Only products of numbers in
    0..1 appear; the cumulative sum of start / cumulative product of 1 - p loses all mass where that product underflows.
    """
    return stop * arrivals(doublings(stop), start)


def doublings(stop: Tensor) -> list[Tensor]:
    """The probability (..., S) to pass the 1, 2, 4 .. places before each; 0 where there are not that many."""
    passing, rows = F.pad(1 - stop[..., :-1], (1, 0)), []
    for n in range((stop.shape[-1] - 1).bit_length()):
        rows.append(passing)
        passing = passing * passing.roll(2**n, -1)  # what comes round is met by a 0
    return rows


def arrivals(passages: list[Tensor], start: Tensor) -> Tensor:
    """q (..., S), of the ``doublings`` of a query."""
    for n, passing in enumerate(passages):
        start = torch.addcmul(start, passing, start.roll(2**n, -1))
    return start


def chunkwise(stopped: Tensor, energy: Tensor, visible: Tensor, chunk: int) -> Tensor:
    """sum_{k=j}^{j+w-1} a_k exp(u_j - m_k) / sum_{l=k-w+1}^{k} exp(u_l - m_k): (..., S) each.

    m_k is the largest u of k's chunk, so no exponent is above 0.
    """
    chunk = min(chunk, stopped.shape[-1])
    least, most = torch.finfo(energy.dtype).min, torch.finfo(energy.dtype).max
    energy = energy.masked_fill(~visible, least)
    before = F.pad(energy, (chunk - 1, 0), value=least).unfold(-1, chunk, 1)  # (..., S, w), l = k - w + 1 .. k
    top = before.detach().amax(-1)
    share = stopped / torch.exp(before - top.unsqueeze(-1)).sum(-1)
    shares = F.pad(share, (0, chunk - 1)).unfold(-1, chunk, 1)  # (..., S, w), k = j .. j + w - 1
    tops = F.pad(top, (0, chunk - 1), value=most).unfold(-1, chunk, 1)
    return (shares * torch.exp(energy.unsqueeze(-1) - tops)).sum(-1).masked_fill(~visible, 0.0)
