"""Location-aware attention: scores that see where the last query looked.

Letters as in ``composed.py``; k filters of width r, A the width of keys as the score wants them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.composed import HeadQueries
from seq2seq.attention.recurrent import RecurrentAttention, StepOutput, take_along, with_position_order
from seq2seq.attention.requirements import at_least_1, refuse_regions
from seq2seq.attention.types import AttentionState, Memory, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import wide_dtype


class LocationAwareAttention(RecurrentAttention):
    """e_tj = v^T tanh(W s_t + V h_j + U f_tj + b), f_t = F * a_{t-1} (Chorowski 2015, section 2.2, equations 8 and 9).

    F has ``filters`` (k) rows of ``width`` (r, odd), which run over the real positions in their order; the paper's are
    10 of 201, for speech. Before the first query a is uniform, as in ESPnet and SpeechBrain. U f is added to the
    score's keys, so that other scores have it too. ``detach`` lets no gradient through a_{t-1}, as SpeechBrain does.

    With ``reach`` (w) only the places p - w .. p + w - 1 are seen, p the median of a_{t-1} (section 2.3); all are while
    there is none, at the first query and after one that saw nothing. The paper's smoothing is a sigmoid normaliser, its
    sharpening a temperature.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        filters: int = 10,
        width: int = 31,
        detach: bool = False,
        reach: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(query_dim, source, **options)
        refuse_regions(source)
        at_least_1(filters=filters)
        if width < 1 or width % 2 == 0:
            raise UserError(f"width={width} must be odd: a filter sees as far to each side")
        if reach is not None and reach < 1:
            raise UserError(f"reach={reach}, half the width of the window, must be at least 1")
        self.detach, self.radius = detach, reach
        self.filters = nn.Parameter(torch.empty(self.heads, filters, width))
        self.weight = nn.Parameter(torch.empty(self.heads, filters, self.compared_dim))
        nn.init.uniform_(self.filters, -(width**-0.5), width**-0.5)
        for weight in self.weight:
            nn.init.xavier_uniform_(weight)

    def prepare(self, memory: Memory) -> Memory:
        """Also the order of its positions."""
        return with_position_order(super().prepare(memory))

    def history(self, memory: Memory) -> AttentionState:
        """``previous`` (B, H, S): uniform; ``centre`` (B, H): no median yet."""
        real = memory.mask.to(wide_dtype(memory.prepared["values"].dtype))
        uniform = (real / real.sum(1, keepdim=True).clamp_min(1.0)).unsqueeze(1).expand(-1, self.heads, -1)
        state = {"previous": uniform}
        if self.radius is not None:
            state["centre"] = memory.positions.new_full((len(real), self.heads), -1)
        return state

    def step(self, queries: HeadQueries, keys: Tensor, memory: Memory, state: AttentionState) -> StepOutput:
        """Scores of keys + f U, then the new weights as the previous ones."""
        if self.radius is not None:
            rank, centre = memory.prepared["rank"][:, None, None], state["centre"][:, :, None, None]
            near = (rank >= centre - self.radius) & (rank < centre + self.radius)
            queries = replace(queries, visible=queries.visible & (near | (centre < 0)))
        scores = self.score(
            queries.vectors, keys + self.features(state["previous"], memory, keys) @ self.weight, memory
        )
        selected = self.select(scores, queries, memory, state)
        weights = selected.weights.squeeze(2).to(state["previous"].dtype)
        after = {**state, "previous": weights.detach() if self.detach else weights}
        if self.radius is None:
            return StepOutput(selected, after)
        return StepOutput(selected, {**after, "centre": median(weights, memory)}, visible=queries.visible)

    def features(self, previous: Tensor, memory: Memory, keys: Tensor) -> Tensor:
        """f = F * a: (B, H, S) -> (B, H, S, k), in the dtype of ``keys``."""
        ordered = take_along(previous, memory.prepared["order"]).to(keys.dtype)
        rows = self.filters.flatten(0, 1).unsqueeze(1)  # (H k, 1, r)
        seen = F.conv1d(ordered, rows, padding=rows.shape[-1] // 2, groups=self.heads)  # (B, H k, S)
        return take_along(seen, memory.prepared["rank"]).unflatten(1, (self.heads, -1)).transpose(2, 3)


def median(weights: Tensor, memory: Memory) -> Tensor:
    """Half of the weight lies before it: (B, H, S) -> ranks (B, H), -1 where there is no weight."""
    reached = take_along(weights.detach(), memory.prepared["order"]).cumsum(-1)
    total = reached[..., -1:]
    return torch.where(total.squeeze(-1) > 0, (reached < 0.5 * total).sum(-1), -1)
