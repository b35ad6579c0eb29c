"""Relative position representations: keys and values that depend on the distance from the query.

Letters as in ``composed.py``; K = ``clip``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.components.scores import Dot
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError


class RelativeAttention(ComposedAttention):
    """Self-attention with learned vectors for the distance between query and key.

    e_ij = q_i . (k_j + a^K_{j-i}) / sqrt(D), c_i = sum_j a_ij (v_j + a^V_{j-i}) (Shaw 2018, section 3.1, equations 3
    and 4). The distance j - i is clipped to -K..K (section 3.2), and the heads share both tables (section 3.3). The
    scale is that of the score, which can be any of the dot products.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        clip: K, largest distance with its own vector.
        values: Use a^V; the paper's table 3 finds a^K alone sufficient.
        **options: Options of ``ComposedAttention``.

    Raises:
        UserError: The source is not self-attention in time, or it has rotary positions; or an option is not supported.
    """

    def __init__(
        self, query_dim: int, source: SourceSpec, *, clip: int = 16, values: bool = True, **options: Any
    ) -> None:
        super().__init__(query_dim, source, **options)
        # Check the source and the options.
        if not source.is_self:
            raise UserError(
                "relative attention learns distances in one sequence, but source and target are two sequences; "
                "use it for self-attention"
            )
        if source.axes != 1:
            raise UserError("relative attention needs positions in time; image regions have none")
        if source.position == "rotary":
            raise UserError(
                "relative attention and rotary positions both encode distance; use positions=none, or multi-head "
                "self-attention with rotary positions"
            )
        if not isinstance(self.score, Dot):
            raise UserError("relative attention adds to the keys of a dot product; use the scaled_dot score")
        if clip < 1:
            raise UserError(f"clip={clip}, the largest distance with its own vector, must be at least 1")
        self.clip = clip
        # Build one row of each table for each distance.
        width = self.query.out_features // self.heads if self.project else None
        self.key_table = nn.Parameter(torch.empty(2 * clip + 1, width or query_dim))
        self.value_table = nn.Parameter(torch.empty(2 * clip + 1, width or source.width)) if values else None
        for table in (self.key_table, self.value_table):
            if table is not None:
                nn.init.xavier_uniform_(table)

    @override
    def compare(self, queries: HeadQueries, keys: Tensor, memory: Memory) -> Tensor:
        assert isinstance(self.score, Dot)
        # Multiply by the table once for each distance, not once for each pair (the paper's section 3.3).
        terms = (self.score.queries(queries.vectors) * self.score.factor) @ self.key_table.T  # (B, H, T, 2K + 1)
        return super().compare(queries, keys, memory) + terms.gather(-1, self._distance(queries))

    @override
    def read(self, weights: Tensor, values: Tensor, queries: HeadQueries) -> Tensor:
        context = super().read(weights, values, queries)
        if self.value_table is None:
            return context
        # Sum the weights of each distance.
        shares = weights.new_zeros(*weights.shape[:-1], len(self.value_table))
        return context + shares.scatter_add(-1, self._distance(queries), weights) @ self.value_table

    def _distance(self, queries: HeadQueries) -> Tensor:
        """Return clip(j - i) as a row number of the tables, (B, H, T, S)."""
        apart = queries.places[:, None, :, 0] - queries.query.position[:, :, None]
        return (apart.clamp(-self.clip, self.clip) + self.clip).unsqueeze(1).expand(-1, self.heads, -1, -1)

    @property
    @override
    def _is_sdpa(self) -> bool:
        """False, because the context has terms that SDPA does not compute."""
        return False
