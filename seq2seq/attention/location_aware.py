"""Location-aware attention: scores that depend on the weights of the previous query.

Letters as in ``composed.py``; k filters of width r, A width of keys in the form that the score compares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.composed import HeadQueries
from seq2seq.attention.recurrent import RecurrentAttention, StepOutput, take_along, with_position_order
from seq2seq.attention.requirements import at_least_1, refuse_regions
from seq2seq.attention.types import AttentionState, Memory, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import wide_dtype


class LocationAwareAttention(RecurrentAttention):
    """Location-aware attention (Chorowski 2015, section 2.2, equations 8 and 9).

    e_tj = v^T tanh(W s_t + V h_j + U f_tj + b), f_t = F * a_{t-1}. The filters F run over the real positions in their
    order. Before the first query a is uniform, as in ESPnet and SpeechBrain. U f is added to the score's keys, so that
    other scores can use it too.

    The window of ``reach`` shows the positions p - w .. p + w - 1, where p is the median of a_{t-1} (section 2.3).
    Where there is no median, at the first query and after one that saw nothing, it shows all positions. The paper's
    smoothing is the sigmoid normaliser, and its sharpening is a temperature.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        filters: k, number of filters; the paper's speech models have 10.
        width: r, width of a filter, an odd number of positions; the paper's speech models have 201.
        detach: Stop the gradient at a_{t-1}, as SpeechBrain does.
        reach: w, half the width of the window; None = no window.
        **options: Options of ``ComposedAttention``.

    Raises:
        UserError: The source is self-attention or a grid, or an option is out of range.
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
        # Check the source and the options.
        refuse_regions(source)
        at_least_1(filters=filters)
        if width < 1 or width % 2 == 0:
            raise UserError(f"width={width} must be odd, so that a filter sees as far to the left as to the right")
        if reach is not None and reach < 1:
            raise UserError(f"reach={reach}, half the width of the window, must be at least 1")
        # Build the filters and their projection.
        self.detach, self.radius = detach, reach
        if detach:
            self.gradient = "biased"
        self.filters = nn.Parameter(torch.empty(self.heads, filters, width))
        self.weight = nn.Parameter(torch.empty(self.heads, filters, self.compared_dim))
        nn.init.uniform_(self.filters, -(width**-0.5), width**-0.5)
        for weight in self.weight:
            nn.init.xavier_uniform_(weight)

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Also prepare the order of the positions."""
        return with_position_order(super().prepare(memory))

    @override
    def history(self, memory: Memory) -> AttentionState:
        """Return ``previous`` (B, H, S), uniform weights, and with a window ``centre`` (B, H): -1, no median yet."""
        real = memory.mask.to(wide_dtype(memory.prepared["values"].dtype))
        uniform = (real / real.sum(1, keepdim=True).clamp_min(1.0)).unsqueeze(1).expand(-1, self.heads, -1)
        state = {"previous": uniform}
        if self.radius is not None:
            state["centre"] = memory.positions.new_full((len(real), self.heads), -1)
        return state

    @override
    def step(self, queries: HeadQueries, keys: Tensor, memory: Memory, state: AttentionState) -> StepOutput:
        # Hide the positions outside the window.
        if self.radius is not None:
            rank, centre = memory.prepared["rank"][:, None, None], state["centre"][:, :, None, None]
            near = (rank >= centre - self.radius) & (rank < centre + self.radius)
            queries = replace(queries, visible=queries.visible & (near | (centre < 0)))
        # Add the features of the previous weights to the keys.
        scores = self.score(
            queries.vectors, keys + self.features(state["previous"], memory, keys) @ self.weight, memory
        )
        selected = self.select(scores, queries, memory, state)
        # Keep the new weights for the next query.
        weights = selected.weights.squeeze(2).to(state["previous"].dtype)
        after = {**state, "previous": weights.detach() if self.detach else weights}
        if self.radius is None:
            return StepOutput(selected, after)
        return StepOutput(selected, {**after, "centre": median(weights, memory)}, visible=queries.visible)

    def features(self, previous: Tensor, memory: Memory, keys: Tensor) -> Tensor:
        """Return the features f = F * a of each position, (B, H, S, k).

        Args:
            previous: Weights of the previous query (B, H, S).
            memory: Prepared memory.
            keys: Keys whose data type the features get.
        """
        # Convolve the weights in the order of positions.
        ordered = take_along(previous, memory.prepared["order"]).to(keys.dtype)
        rows = self.filters.flatten(0, 1).unsqueeze(1)  # (H k, 1, r)
        seen = F.conv1d(ordered, rows, padding=rows.shape[-1] // 2, groups=self.heads)  # (B, H k, S)
        return torch.unflatten(take_along(seen, memory.prepared["rank"]), 1, (self.heads, -1)).transpose(2, 3)


def median(weights: Tensor, memory: Memory) -> Tensor:
    """Return the rank of the position before which half of the weight lies, (B, H); -1 where there is no weight.

    Args:
        weights: Weights (B, H, S).
        memory: Memory with the order of its positions prepared.
    """
    # Sum the weights up to each rank.
    reached = take_along(weights.detach(), memory.prepared["order"]).cumsum(-1)
    total = reached[..., -1:]
    return torch.where(total.squeeze(-1) > 0, (reached < 0.5 * total).sum(-1), -1)
