"""A long sequence as rows that are encoded each by itself: sentences, or windows that overlap.

Shapes: B batch, S places, R rows of L places, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowLayout:
    """Which places stand in which row; where rows overlap, one of them speaks for a place."""

    index: Tensor  # (B, R, L) long, the place of the sequence that stands there
    mask: Tensor  # (B, R, L) bool, True = real
    row: Tensor  # (B, S) long, the row that speaks for each place,
    place: Tensor  # (B, S) long, and where it stands in that row
    real: Tensor  # (B, S) bool

    @staticmethod
    def windows(mask: Tensor, size: int, overlap: int) -> RowLayout:
        """Windows of ``size`` places, each begun ``size - overlap`` after the last; the one in which a place stands
        furthest from an end speaks for it.
        """
        batch, length = mask.shape
        step = size - overlap
        count = max(1, -(-(length - overlap) // step))
        places = torch.arange(length, device=mask.device)
        index = torch.arange(count, device=mask.device)[:, None] * step + places.new_tensor(range(size))  # (R, L)
        inside = index < length
        index = index.clamp(max=length - 1)
        row = ((places - overlap // 2).div(step, rounding_mode="floor")).clamp(0, count - 1)
        whole = (x.expand(batch, *x.shape) for x in (index, row, places - row * step))
        index, row, place = whole
        return RowLayout(index, mask[:, index[0]] & inside, row, place, mask)

    @staticmethod
    def sentences(segments: Tensor, mask: Tensor) -> RowLayout:
        """A row a sentence: segments (B, S) count up from 0."""
        row = segments.clamp(min=0)
        count = int(row.max()) + 1
        size = torch.zeros(len(row), count, dtype=torch.long, device=row.device).scatter_add(1, row, mask.long())
        start = size.cumsum(1) - size  # (B, R)
        places = torch.arange(int(size.max()), device=row.device)
        index = (start.unsqueeze(2) + places).clamp(max=row.shape[1] - 1)
        place = torch.arange(row.shape[1], device=row.device) - start.gather(1, row)
        return RowLayout(index, places < size.unsqueeze(2), row, place.clamp(0, max(0, len(places) - 1)), mask)

    def split(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B R, L, D)."""
        return self._of(x, self.index.flatten(1)).view(-1, self.index.shape[2], x.shape[-1])

    def join(self, x: Tensor) -> Tensor:
        """(B R, L, D) -> (B, S, D)."""
        return self._of(x.view(len(self.index), -1, x.shape[-1]), self._spoken) * self.real.unsqueeze(-1)

    def mean(self, x: Tensor) -> Tensor:
        """(B R, ...) -> (B, ...): the mean of the rows that hold anything."""
        real = self.mask.any(2).to(x.dtype)  # (B, R)
        return torch.einsum("br...,br->b...", self.rows(x), real / real.sum(1, keepdim=True).clamp(min=1.0))

    def rows(self, x: Tensor) -> Tensor:
        """(B R, ...) -> (B, R, ...)."""
        return torch.unflatten(x, 0, self.index.shape[:2])

    def spread(self, weights: Tensor) -> Tensor:
        """(B R, H, L, L) -> (B, H, S, S): what each place attended to in the row that speaks for it."""
        heads, size = weights.shape[1], self.index.shape[2]
        mine = self._of(weights.transpose(1, 2).reshape(len(self.index), -1, heads * size), self._spoken)
        mine = torch.unflatten(mine, 2, (heads, size)) * self._of(self.mask, self.row).unsqueeze(2)  # (B, S, H, L)
        keys = self._of(self.index, self.row).unsqueeze(2).expand_as(mine)
        out = mine.new_zeros(*mine.shape[:3], mine.shape[1]).scatter_add(3, keys, mine)
        return out.transpose(1, 2) * self.real[:, None, :, None]

    @property
    def _spoken(self) -> Tensor:
        return self.row * self.index.shape[2] + self.place

    def _of(self, x: Tensor, places: Tensor) -> Tensor:
        return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
