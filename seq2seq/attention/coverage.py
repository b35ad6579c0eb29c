"""Coverage: scores that depend on how much attention each position already received.

Letters as in ``composed.py``; A width of keys in the form that the score compares, N width of a position's coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.components.scores import Score
from seq2seq.attention.composed import HeadQueries
from seq2seq.attention.recurrent import RecurrentAttention, StepOutput
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import wide_dtype, widen

KINDS = ("see", "linguistic", "neural")


class CoverageAttention(RecurrentAttention):
    """Attention with coverage, the history of the attention that each position received.

    e_tj = v^T tanh(W_h h_j + W_s s_t + w_c c_tj + b), where c_tj is the coverage from earlier steps (See 2017,
    section 2.3, equation 11; Tu 2016, section 3). All c_tj start at 0 and do not include the current step. w_c c_tj is
    added to the score's keys, so that other scores can use it too: (k_j + w_c c_tj) . q. ``kind`` selects the coverage:

    - ``see``: c_tj = sum_{t' < t} a_t'j, with the penalty ``coverage`` = sum_j min(a_tj, c_tj) (equation 12), in 0..1
      (of several heads the mean). The paper uses it only at the end of training: ``loss.start_at.coverage``.
    - ``linguistic``: c_{t+1,j} = c_tj + a_tj / Phi_j, where Phi_j = N sigmoid(U h_j) is the word's fertility, at most
      N = ``fertility`` (Tu's section 3.1.1).
    - ``neural``: c_{t+1,j} = GRU(c_tj, [a_tj; h_j; s_t]), of width ``coverage_dim`` (section 3.1.2). The GRU is
      PyTorch's, whose reset gate acts after the matrix product, r * (U c); Tu's is Cho's, U (r * c).

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        score: Builds the score, as in ``ComposedAttention``.
        kind: ``see``, ``linguistic`` or ``neural``.
        read_cell: The score reads [m_t; s_t], where m is an LSTM's cell, as in See's released code; in a decoder
            without cells, m_t is s_t.
        fertility: Largest fertility, for ``linguistic``; null = 2.
        coverage_dim: N, width of the coverage, for ``neural``; null = 10.
        heads: H, number of heads.
        project: As in ``ComposedAttention``.
        **options: Other options of ``ComposedAttention``.

    Raises:
        UserError: An option is out of range, or belongs to another ``kind``.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        score: Callable[..., Score],
        kind: str = "see",
        read_cell: bool = False,
        fertility: float | None = None,
        coverage_dim: int | None = None,
        heads: int = 1,
        project: bool | None = None,
        **options: Any,
    ) -> None:
        # Build the attention, whose score may read the cell too.
        project = heads > 1 if project is None else project
        scorer = _doubled(score) if read_cell and not project else score
        super().__init__(query_dim, source, score=scorer, heads=heads, project=project, **options)
        if read_cell and project:  # the projection reads the cell and the state
            self.query = nn.Linear(2 * query_dim, self.query.out_features)
            nn.init.xavier_uniform_(self.query.weight)
            nn.init.zeros_(self.query.bias)
        # Check the options of each kind.
        if kind not in KINDS:
            raise UserError(f"kind={kind} is unknown; choose one of {', '.join(KINDS)}")
        if fertility is not None and kind != "linguistic":
            raise UserError(f"fertility={fertility} belongs to kind=linguistic, not to kind={kind}")
        if fertility is not None and fertility <= 0:
            raise UserError(f"fertility={fertility} is the largest fertility of a word and must be above 0")
        if coverage_dim is not None and kind != "neural":
            raise UserError(f"coverage_dim={coverage_dim} belongs to kind=neural, not to kind={kind}")
        at_least_1(coverage_dim=coverage_dim)
        # Build the coverage.
        self.kind, self.read_cell = kind, read_cell
        self.terms = ("coverage",) if kind == "see" else ()
        self.most = fertility or 2.0
        self.size = (coverage_dim or 10) if kind == "neural" else 1
        self.weight = nn.Parameter(torch.empty(heads, self.size, self.compared_dim))
        for weight in self.weight:
            nn.init.xavier_uniform_(weight)
        if kind == "linguistic":
            self.fertility = nn.Linear(source.width, heads, bias=False)
        elif kind == "neural":
            self.from_source = nn.Linear(source.width, 3 * self.size)
            self.from_state = nn.Linear(query_dim, 3 * self.size, bias=False)
            self.from_weight = nn.Linear(1, 3 * self.size, bias=False)
            self.from_coverage = nn.Linear(self.size, 3 * self.size)

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Also prepare 1/Phi of each position (B, H, S, 1), or the memory's part of the gates (B, 1, S, 3N)."""
        prepared = super().prepare(memory)
        # Prepare what each kind needs of the source.
        more = {}
        if self.kind == "linguistic":
            logit = self.fertility(memory.values).masked_fill(~memory.mask.unsqueeze(-1), 0.0)
            logit = widen(logit).transpose(1, 2).unsqueeze(-1)
            # Keep every fertility above 0.
            share = torch.sigmoid(logit).clamp_min(torch.finfo(logit.dtype).eps)
            more = {"rate": 1.0 / (self.most * share)}
        elif self.kind == "neural":
            more = {"gates": self.from_source(memory.values).unsqueeze(1)}
        return replace(prepared, prepared={**prepared.prepared, **more})

    @override
    def history(self, memory: Memory) -> AttentionState:
        """Return ``coverage`` (B, H, S, N), all 0."""
        values = memory.prepared["values"]
        shape = len(values), self.heads, memory.mask.shape[1], self.size
        return {"coverage": values.new_zeros(shape, dtype=wide_dtype(values.dtype))}

    @override
    def queries(self, query: Query) -> Tensor:
        if self.read_cell:
            cell = query.vector if query.cell is None else query.cell()
            query = replace(query, vector=torch.cat((cell, query.vector), -1))
        return super().queries(query)

    @override
    def step(self, queries: HeadQueries, keys: Tensor, memory: Memory, state: AttentionState) -> StepOutput:
        before = state["coverage"]
        # Score the keys with the coverage of earlier steps.
        scores = self.score(queries.vectors, keys + self.added(before, keys.dtype), memory)
        selected = self.select(scores, queries, memory, state)
        weights = selected.weights.to(before.dtype).transpose(2, 3)  # (B, H, S, 1)
        # Update the coverage.
        penalties = {}
        if self.kind == "see":
            penalties["coverage"] = torch.minimum(weights, before).sum(2) / self.heads
            after = before + weights
        elif self.kind == "linguistic":
            after = before + weights * memory.prepared["rate"]
        else:
            after = self.gated(before, weights, memory, queries.query)
        return StepOutput(selected, {**state, "coverage": after}, penalties)

    def added(self, before: Tensor, dtype: torch.dtype) -> Tensor:
        """Return w c (B, H, S, A), which is added to the keys.

        It is clamped, because a sum of a/Phi, or its product with a query, may be too large for fp16.

        Args:
            before: Coverage (B, H, S, N).
            dtype: Data type of the result.
        """
        if self.size > 1:
            return before.to(dtype) @ self.weight
        most = torch.finfo(dtype).max ** 0.5
        return (before * self.weight).clamp(-most, most).to(dtype)

    def gated(self, before: Tensor, weights: Tensor, memory: Memory, query: Query) -> Tensor:
        """Return the coverage (B, H, S, N) after one step of the GRU at each position.

        Args:
            before: Coverage (B, H, S, N).
            weights: Weights of the step (B, H, S, 1).
            memory: Prepared memory.
            query: The query of the step, T = 1.
        """
        # Compute the gates from source, state, weight and earlier coverage.
        gates = memory.prepared["gates"] + self.from_state(query.vector).unsqueeze(1)
        gates = gates + self.from_weight(weights.to(query.vector.dtype))
        recurrent_gates = self.from_coverage(before.to(query.vector.dtype))
        (reset, update, new), (r, z, n) = gates.chunk(3, -1), recurrent_gates.chunk(3, -1)
        update = torch.sigmoid(update + z)
        new = torch.tanh(new + torch.sigmoid(reset + r) * n)
        # Combine old and new coverage.
        after = (1 - update) * new + update * before
        return after * memory.mask[:, None, :, None]  # the coverage of padding is 0


def _doubled(score: Callable[..., Score]) -> Callable[..., Score]:
    """Return the builder of a score whose queries are twice as wide."""
    return lambda query_dim, *others: score(2 * query_dim, *others)
