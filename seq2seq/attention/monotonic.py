"""Monotonic attention: a forward scan from the position where the last query stopped to the next position that matches.

Letters as in ``composed.py``; w positions of a chunk. The source is read in the order of its positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

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
    """Monotonic attention (Raffel 2017, section 2.3).

    a_tj = p_tj q_tj, q_tj = (1 - p_t,j-1) q_t,j-1 + a_{t-1,j}, p = sigmoid(e + r + n).

    a_tj is the probability that the scan stops at j. The scan starts where the last one stopped (at first, at the first
    position) and stops at each position j with probability p_tj. A scan that passes the end stays there, so that
    weights sum to at most one, and the missing mass attends to nothing.

    e is any score; the paper's is additive with ``normalize`` and ``bias`` (section 2.4). r is learned; longer sources
    need a lower r. The noise n ~ N(0, ``noise_std``^2) in training pushes p towards 0 and 1, so that hard evaluation
    can stop at the first e + r > 0, p > 1/2 (section 2.5; p = 1/2 goes on). No gradient flows through this choice.

    The scan passes hidden positions (p = 0). A window's factor changes the weights but not the start of the next scan.
    A query that sees nothing leaves the scan where it was. Normaliser and selection are not used.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        score: Builds the score e, as in ``ComposedAttention``.
        window: Builds the window, as in ``ComposedAttention``.
        offset: Initial value of r.
        noise_std: Standard deviation of the noise n in training.
        hard: In evaluation, stop at the first position with p > 1/2.
        preserve: Stop at the last visible position, where the scan would pass the end (fairseq's
            ``mass_preservation``).
        **options: Other options of ``ComposedAttention``.

    Raises:
        UserError: The source is self-attention or a grid, or ``noise_std`` is below 0.
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
        # Check the source and the options.
        refuse_self(source)
        refuse_regions(source)
        if noise_std < 0:
            raise UserError(f"noise_std={noise_std} is a standard deviation and must be at least 0")
        self.noise_std, self.hard, self.preserve = noise_std, hard, preserve
        self.offset = nn.Parameter(torch.full((self.heads, 1, 1), float(offset)))
        self.gradient = "surrogate" if hard else "exact"
        if not preserve:
            self.mass = "at_most_one"

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Also prepare the order of the positions."""
        return with_position_order(super().prepare(memory))

    @override
    def initial_state(self, memory: Memory) -> AttentionState:
        """Return ``alignment`` (B, H, S), all on the first position, and in training one seed for each sequence."""
        values = memory.prepared["values"]
        # Start the first scan at the first position.
        start = values.new_zeros(len(values), self.heads, memory.mask.shape[1], dtype=wide_dtype(values.dtype))
        start[..., 0] = memory.mask.any(1, keepdim=True).to(start.dtype)
        state = {"alignment": start}
        if self.training and self.noise_std:
            state["seed"] = counter_rng.seeds(len(values), values.device)
        return state

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
        queries = self.head_queries(query, memory, mask)
        values, order = memory.prepared["values"], memory.prepared["order"]
        # Compute the stopping probabilities in the order of positions.
        visible = take_along(queries.visible.expand(-1, self.heads, query.vector.shape[1], -1), order)
        stop = take_along(self.stop(queries, memory, state), order).masked_fill(~visible, 0.0)
        # Find the last visible position, and the positions after it.
        left = visible.flip(-1).cumsum(-1).flip(-1)  # number of visible positions from here on
        last, beyond_last = visible & (left == 1), left == 0
        if self.preserve:
            stop = stop.masked_fill(last, 1.0)
        seen = visible.any(-1, keepdim=True)
        # Scan one query after the other: each scan starts where the last one stopped.
        passages = [rows.unbind(2) for rows in doublings(stop)]
        before, stopped = state["alignment"], []
        for t, row in enumerate(stop.unbind(2)):
            start = before
            # A window may have moved back: move the mass beyond it to its last position.
            if self.preserve:
                beyond = before * beyond_last[:, :, t]
                start = before - beyond + last[:, :, t] * beyond.sum(-1, keepdim=True)
            stopped.append(row * arrivals([rows[t] for rows in passages], start))
            before = torch.where(seen[:, :, t], stopped[-1], before)
        # Turn stops into weights, in the order of the memory.
        weights = take_along(self.spread(torch.stack(stopped, 2), visible, queries, memory), memory.prepared["rank"])
        used = SelectedWeights(self.shaped(weights, queries).to(values.dtype))
        return self.attended(used, queries, values, {**state, "alignment": before}, need_weights)

    def stop(self, queries: HeadQueries, memory: Memory, state: AttentionState) -> Tensor:
        """Return the stopping probabilities p (B, H, T, S).

        Args:
            queries: Result of ``head_queries``.
            memory: Prepared memory.
            state: State with the seed of the noise.
        """
        # Compute the energies.
        keys = memory.prepared.get("keys", memory.prepared["values"])
        energy = self.compare(queries, keys, memory).to(state["alignment"].dtype) + self.offset
        # In hard evaluation, stop or pass with certainty.
        if self.hard and not self.training:
            return (energy > 0).to(energy.dtype)
        # Add noise in training.
        if "seed" in state:
            u = counter_rng.uniform(state["seed"], queries.query.position, self.heads, memory.positions)
            energy = energy + self.noise_std * torch.special.ndtri(u).to(energy.dtype)
        return torch.sigmoid(energy)

    def spread(self, stopped: Tensor, visible: Tensor, queries: HeadQueries, memory: Memory) -> Tensor:
        """Return the weights, given where the scan stopped; both (B, H, T, S), in the order of positions.

        Args:
            stopped: Probability to stop at each position.
            visible: Mask of visible positions.
            queries: Result of ``head_queries``.
            memory: Prepared memory.
        """
        return stopped

    def shaped(self, weights: Tensor, queries: HeadQueries) -> Tensor:
        """Multiply the weights by the window's factor; where the window renormalises, keep their sum.

        Args:
            weights: Weights (B, H, T, S).
            queries: Result of ``head_queries``.
        """
        if queries.factor is None:
            return weights
        shaped = weights * queries.factor.to(weights.dtype)
        if not self.window.renormalise:
            return shaped
        total = shaped.sum(-1, keepdim=True)
        return shaped * (weights.sum(-1, keepdim=True) / total.masked_fill(total == 0, 1.0))


class MochaAttention(MonotonicAttention):
    """Monotonic chunkwise attention: soft attention over a chunk that ends where monotonic attention stops.

    beta_tj = sum_{k=j}^{j+w-1} a_tk exp(u_tj) / sum_{l=k-w+1}^{k} exp(u_tl) (MoChA, Chiu & Raffel 2018, section 2.3). u
    is a second score, which reads the same queries and keys. Hidden positions of a chunk get no weight. w = 1 is
    ``MonotonicAttention``.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        chunk_score: Builds the score u, as in ``ComposedAttention``.
        chunk: w, positions of a chunk.
        **options: Options of ``MonotonicAttention``.

    Raises:
        UserError: ``chunk`` is below 1.
    """

    def __init__(
        self, query_dim: int, source: SourceSpec, *, chunk_score: Callable[..., Score], chunk: int = 8, **options: Any
    ) -> None:
        super().__init__(query_dim, source, **options)
        at_least_1(chunk=chunk)
        self.chunk = chunk
        self.chunk_score = chunk_score(self.score.query_dim, self.score.key_dim, self.heads, source)

    @override
    def prepared_tensors(self, keys: Tensor, values: Tensor, memory: Memory) -> dict[str, Tensor]:
        """Also return the second score's keys (B, H, S, .)."""
        return {
            **super().prepared_tensors(keys, values, memory),
            "chunk_keys": self.chunk_score.keys(self._expand_groups(keys)),
        }

    @override
    def head_queries(self, query: Query, memory: Memory, mask: Tensor | None) -> HeadQueries:
        """Show only the positions for which both scores are defined."""
        queries, defined = super().head_queries(query, memory, mask), self.chunk_score.visible(memory)
        return queries if defined is None else replace(queries, visible=queries.visible & defined[:, None, None])

    @override
    def spread(self, stopped: Tensor, visible: Tensor, queries: HeadQueries, memory: Memory) -> Tensor:
        """Return beta, given a; both (B, H, T, S)."""
        energy = self.chunk_score(queries.vectors, memory.prepared["chunk_keys"], memory).to(stopped.dtype)
        return chunkwise(stopped, take_along(energy, memory.prepared["order"]), visible, self.chunk)


def alignment(stop: Tensor, start: Tensor) -> Tensor:
    """Return a_j = p_j q_j with q_j = (1 - p_{j-1}) q_{j-1} + start_j.

    q is computed by doubling: after n rounds, each q_j contains what started less than 2^n positions before it. Only
    products of numbers in 0..1 appear. The quotient cumulative sum of start / cumulative product of 1 - p would lose
    all mass where the product underflows.

    Args:
        stop: p (..., S).
        start: Probability to start at each position (..., S).

    Returns:
        a (..., S).
    """
    return stop * arrivals(doublings(stop), start)


def doublings(stop: Tensor) -> list[Tensor]:
    """Return the probabilities (..., S) to pass the 1, 2, 4 ... positions before each; 0 where there are not that many.

    Args:
        stop: p (..., S).
    """
    passing, rows = F.pad(1 - stop[..., :-1], (1, 0)), []
    for n in range((stop.shape[-1] - 1).bit_length()):
        rows.append(passing)
        passing = passing * passing.roll(2**n, -1)  # elements that wrap around are multiplied by 0
    return rows


def arrivals(passages: list[Tensor], start: Tensor) -> Tensor:
    """Return the probability q (..., S) to arrive at each position.

    Args:
        passages: Result of ``doublings``.
        start: Probability to start at each position (..., S).
    """
    for n, passing in enumerate(passages):
        start = torch.addcmul(start, passing, start.roll(2**n, -1))
    return start


def chunkwise(stopped: Tensor, energy: Tensor, visible: Tensor, chunk: int) -> Tensor:
    """Return MoChA's beta (..., S).

    sum_{k=j}^{j+w-1} a_k exp(u_j - m_k) / sum_{l=k-w+1}^{k} exp(u_l - m_k), where m_k is the largest u of k's chunk, so
    that no exponent is above 0.

    Args:
        stopped: a (..., S).
        energy: u (..., S).
        visible: Mask (..., S).
        chunk: w, positions of a chunk.
    """
    chunk = min(chunk, stopped.shape[-1])
    least, most = torch.finfo(energy.dtype).min, torch.finfo(energy.dtype).max
    energy = energy.masked_fill(~visible, least)
    # Compute the share of each chunk.
    before = F.pad(energy, (chunk - 1, 0), value=least).unfold(-1, chunk, 1)  # (..., S, w), l = k - w + 1 .. k
    top = before.detach().amax(-1)
    share = stopped / torch.exp(before - top.unsqueeze(-1)).sum(-1)
    # Sum over the chunks that contain each position.
    shares = F.pad(share, (0, chunk - 1)).unfold(-1, chunk, 1)  # (..., S, w), k = j .. j + w - 1
    tops = F.pad(top, (0, chunk - 1), value=most).unfold(-1, chunk, 1)
    return (shares * torch.exp(energy.unsqueeze(-1) - tops)).sum(-1).masked_fill(~visible, 0.0)
