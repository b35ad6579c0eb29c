"""Coverage: scores that know how much each position was attended to already.

Letters as in ``composed.py``; A the width of keys as the score wants them, N of what is kept about a position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.attention.components.scores import Score
from seq2seq.attention.composed import HeadQueries
from seq2seq.attention.recurrent import RecurrentAttention, StepOutput
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import wide_dtype, widen

KINDS = ("see", "linguistic", "neural")


class CoverageAttention(RecurrentAttention):
    """e_tj = v^T tanh(W_h h_j + W_s s_t + w_c c_tj + b), c_tj what came before t (See 2017, section 2.3, equation 11;
    Tu 2016, section 3).

    w_c c_tj is added to the score's keys, so that other scores have it too: (k_j + w_c c_tj) . q. By ``kind``:

    - ``see``: c_tj = sum_{t' < t} a_t'j, with the penalty ``coverage`` = sum_j min(a_tj, c_tj) (equation 12), in 0..1
      (of several heads the mean). The paper counts it at the end of training only: ``loss.start_at.coverage``.
    - ``linguistic``: c_{t+1,j} = c_tj + a_tj / Phi_j, Phi_j = N sigmoid(U h_j) the word's fertility, at most
      N = ``fertility`` (Tu's section 3.1.1); null = 2.
    - ``neural``: c_{t+1,j} = GRU(c_tj, [a_tj; h_j; s_t]), of width ``coverage_dim`` (section 3.1.2); null = 10. The GRU
      is PyTorch's, whose reset gate acts after the matrix product, r * (U c); Tu's is Cho's, U (r * c).

    All start at 0, and are without the current step. With ``read_cell`` the score reads [m_t; s_t], m an LSTM's cell,
    as See's released code does (s_t itself in a decoder that has none).
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
        project = heads > 1 if project is None else project
        scorer = _doubled(score) if read_cell and not project else score
        super().__init__(query_dim, source, score=scorer, heads=heads, project=project, **options)
        if read_cell and project:
            self.query = nn.Linear(2 * query_dim, self.query.out_features)
            nn.init.xavier_uniform_(self.query.weight)
            nn.init.zeros_(self.query.bias)
        if kind not in KINDS:
            raise UserError(f"kind={kind} is unknown; choose one of {', '.join(KINDS)}")
        if fertility is not None and kind != "linguistic":
            raise UserError(f"fertility={fertility} belongs to kind=linguistic, not to {kind}")
        if fertility is not None and fertility <= 0:
            raise UserError(f"fertility={fertility} is the most that a word can have, and must be above 0")
        if coverage_dim is not None and kind != "neural":
            raise UserError(f"coverage_dim={coverage_dim} belongs to kind=neural, not to {kind}")
        at_least_1(coverage_dim=coverage_dim)
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

    def prepare(self, memory: Memory) -> Memory:
        """Also what coverage needs of each position: 1/Phi (B, H, S, 1), or its part of the gates (B, 1, S, 3N)."""
        prepared = super().prepare(memory)
        more = {}
        if self.kind == "linguistic":
            logit = self.fertility(memory.values).masked_fill(~memory.mask.unsqueeze(-1), 0.0)
            logit = widen(logit).transpose(1, 2).unsqueeze(-1)
            share = torch.sigmoid(logit).clamp_min(torch.finfo(logit.dtype).eps)  # no word is without fertility
            more = {"rate": 1.0 / (self.most * share)}
        elif self.kind == "neural":
            more = {"gates": self.from_source(memory.values).unsqueeze(1)}
        return replace(prepared, prepared={**prepared.prepared, **more})

    def history(self, memory: Memory) -> AttentionState:
        """``coverage`` (B, H, S, N): nothing was attended to."""
        values = memory.prepared["values"]
        shape = len(values), self.heads, memory.mask.shape[1], self.size
        return {"coverage": values.new_zeros(shape, dtype=wide_dtype(values.dtype))}

    def queries(self, query: Query) -> Tensor:
        """What each head compares with keys, the cell beside the state if it is read."""
        if self.read_cell:
            cell = query.vector if query.cell is None else query.cell()
            query = replace(query, vector=torch.cat((cell, query.vector), -1))
        return super().queries(query)

    def step(self, queries: HeadQueries, keys: Tensor, memory: Memory, state: AttentionState) -> StepOutput:
        """Scores of keys + c w_c, then c with the new weights."""
        before = state["coverage"]
        scores = self.score(queries.vectors, keys + self.added(before, keys.dtype), memory)
        selected = self.select(scores, queries, memory, state)
        weights = selected.weights.to(before.dtype).transpose(2, 3)  # (B, H, S, 1)
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
        """w c (B, H, S, A) in ``dtype``. A sum of a/Phi, or its product with a query, may be too large for fp16."""
        if self.size > 1:
            return before.to(dtype) @ self.weight
        most = torch.finfo(dtype).max ** 0.5
        return (before * self.weight).clamp(-most, most).to(dtype)

    def gated(self, before: Tensor, weights: Tensor, memory: Memory, query: Query) -> Tensor:
        """One step of the GRU at each position: (B, H, S, N), (B, H, S, 1) -> (B, H, S, N)."""
        heard = memory.prepared["gates"] + self.from_state(query.vector).unsqueeze(1)
        heard = heard + self.from_weight(weights.to(query.vector.dtype))
        kept = self.from_coverage(before.to(query.vector.dtype))
        (reset, update, new), (r, z, n) = heard.chunk(3, -1), kept.chunk(3, -1)
        update = torch.sigmoid(update + z)
        new = torch.tanh(new + torch.sigmoid(reset + r) * n)
        after = (1 - update) * new + update * before
        return after * memory.mask[:, None, :, None]  # nothing is kept of padding


def _doubled(score: Callable[..., Score]) -> Callable[..., Score]:
    """The score of queries twice as wide."""
    return lambda query_dim, *others: score(2 * query_dim, *others)
