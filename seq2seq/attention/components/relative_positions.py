"""Relative position representations: keys and values learn how far away they stand.

Letters as in ``composed.py``; K = ``clip``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.attention.components.scores import Dot
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError


class RelativeAttention(ComposedAttention):
    """e_ij = q_i . (k_j + a^K_{j-i}) / sqrt(D), c_i = sum_j a_ij (v_j + a^V_{j-i}) (Shaw 2018, section 3.1, equations
    3 and 4), j - i clipped to -K..K (3.2); both tables are shared by the heads (3.3).

    ``values: false`` goes without a^V (the paper's table 3 finds a^K alone enough). The scale is the score's: any of
    the dot products.
    """

    def __init__(
        self, query_dim: int, source: SourceSpec, *, clip: int = 16, values: bool = True, **options: Any
    ) -> None:
        super().__init__(query_dim, source, **options)
        if not source.is_self:
            raise UserError(
                "relative attention learns distances in one sequence, but source and target are not on one axis; "
                "choose it for self-attention"
            )
        if source.axes != 1:
            raise UserError("relative attention learns distances in time; image regions have no such order")
        if source.position == "rotary":
            raise UserError(
                "relative and rotary both encode distance; choose one: no positions, or multi-head self-attention"
            )
        if not isinstance(self.score, Dot):
            raise UserError("relative attention adds to the keys of a dot product; use the scaled_dot score")
        if clip < 1:
            raise UserError(f"clip={clip}, the farthest distance told apart, must be at least 1")
        self.clip = clip
        width = self.query.out_features // self.heads if self.project else None
        self.key_table = nn.Parameter(torch.empty(2 * clip + 1, width or query_dim))
        self.value_table = nn.Parameter(torch.empty(2 * clip + 1, width or source.width)) if values else None
        for table in (self.key_table, self.value_table):
            if table is not None:
                nn.init.xavier_uniform_(table)

    def compare(self, queries: HeadQueries, keys: Tensor, memory: Memory) -> Tensor:
        """Scores (B, H, T, S); the tables are met once a distance, not once a pair (the paper's section 3.3)."""
        assert isinstance(self.score, Dot)
        terms = (self.score.queries(queries.vectors) * self.score.factor) @ self.key_table.T  # (B, H, T, 2K + 1)
        return super().compare(queries, keys, memory) + terms.gather(-1, self._distance(queries))

    def read(self, weights: Tensor, values: Tensor, queries: HeadQueries) -> Tensor:
        """(B, H, T, S), (B, H, S, D) -> contexts (B, H, T, D)."""
        context = super().read(weights, values, queries)
        if self.value_table is None:
            return context
        shares = weights.new_zeros(*weights.shape[:-1], len(self.value_table))  # of each distance
        return context + shares.scatter_add(-1, self._distance(queries), weights) @ self.value_table

    def _distance(self, queries: HeadQueries) -> Tensor:
        """clip(j - i) as a row of the tables, (B, H, T, S)."""
        apart = queries.places[:, None, :, 0] - queries.query.position[:, :, None]
        return (apart.clamp(-self.clip, self.clip) + self.clip).unsqueeze(1).expand(-1, self.heads, -1, -1)

    @property
    def _is_sdpa(self) -> bool:
        return False
