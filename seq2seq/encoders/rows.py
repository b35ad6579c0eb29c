"""Layout of a long sequence in rows that are encoded separately: sentences, or windows that overlap.

Shapes: B batch, S positions of the sequence, R rows of L positions, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowLayout:
    """Assignment of the positions of a sequence to rows.

    Where rows overlap, a position is in several rows; its state is read from only one of them.
    """

    index: Tensor  # (B, R, L) long, position in the sequence of each element of a row
    mask: Tensor  # (B, R, L) bool, True = real element of a row
    row: Tensor  # (B, S) long, row from which the state of each position is read
    place: Tensor  # (B, S) long, element of that row
    real: Tensor  # (B, S) bool, True = real position of the sequence

    @staticmethod
    def windows(mask: Tensor, size: int, overlap: int) -> RowLayout:
        """Return a layout in windows of ``size`` positions.

        Each window starts ``size - overlap`` positions after the one before it. The state of a position is read from
        the window in which it is furthest from an end, because it has the most context there.

        Args:
            mask: Mask of the sequence (B, S) bool, True = real.
            size: Length L of a window.
            overlap: Number of positions that two neighbouring windows share; less than ``size``.
        """
        batch, length = mask.shape
        step = size - overlap
        count = max(1, -(-(length - overlap) // step))
        places = torch.arange(length, device=mask.device)
        # Fill each window with consecutive positions.
        index = torch.arange(count, device=mask.device)[:, None] * step + places.new_tensor(range(size))  # (R, L)
        inside = index < length
        index = index.clamp(max=length - 1)
        # Choose the window of each position: windows change in the middle of an overlap.
        row = ((places - overlap // 2).div(step, rounding_mode="floor")).clamp(0, count - 1)
        # Use the same layout for all sequences of the batch.
        index, row, place = (x.expand(batch, *x.shape) for x in (index, row, places - row * step))
        return RowLayout(index, mask[:, index[0]] & inside, row, place, mask)

    @staticmethod
    def sentences(segments: Tensor, mask: Tensor) -> RowLayout:
        """Return a layout with one row for each sentence.

        Args:
            segments: Number of the sentence of each position (B, S) long, which counts up from 0.
            mask: Mask of the sequence (B, S) bool, True = real.
        """
        row = segments.clamp(min=0)
        count = int(row.max()) + 1
        # Count the positions of each sentence, and find the first one.
        size = torch.zeros(len(row), count, dtype=torch.long, device=row.device).scatter_add(1, row, mask.long())
        start = size.cumsum(1) - size  # (B, R)
        # Fill each row with the positions of its sentence.
        places = torch.arange(int(size.max()), device=row.device)
        index = (start.unsqueeze(2) + places).clamp(max=row.shape[1] - 1)
        place = torch.arange(row.shape[1], device=row.device) - start.gather(1, row)
        return RowLayout(index, places < size.unsqueeze(2), row, place.clamp(0, max(0, len(places) - 1)), mask)

    def split(self, x: Tensor) -> Tensor:
        """Return a sequence cut into rows.

        Args:
            x: Sequence (B, S, D).

        Returns:
            Rows (B R, L, D).
        """
        return self._of(x, self.index.flatten(1)).view(-1, self.index.shape[2], x.shape[-1])

    def join(self, x: Tensor) -> Tensor:
        """Return the sequence that rows were cut from; padding is 0.

        Args:
            x: Rows (B R, L, D).

        Returns:
            Sequence (B, S, D).
        """
        return self._of(x.view(len(self.index), -1, x.shape[-1]), self._spoken) * self.real.unsqueeze(-1)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean over the rows that have a real element.

        Args:
            x: One tensor for each row (B R, ...).

        Returns:
            Means (B, ...).
        """
        real = self.mask.any(2).to(x.dtype)  # (B, R)
        return torch.einsum("br...,br->b...", self.rows(x), real / real.sum(1, keepdim=True).clamp(min=1.0))

    def rows(self, x: Tensor) -> Tensor:
        """Return a tensor with separate dimensions for the batch and its rows.

        Args:
            x: One tensor for each row (B R, ...).

        Returns:
            The same tensors (B, R, ...).
        """
        return torch.unflatten(x, 0, self.index.shape[:2])

    def spread(self, weights: Tensor) -> Tensor:
        """Return the weights inside rows as weights over the whole sequence.

        The weights of a position are those in the row from which its state is read; they are 0 outside this row.

        Args:
            weights: Weights of self-attention inside each row (B R, H, L, L).

        Returns:
            Weights (B, H, S, S).
        """
        heads, size = weights.shape[1], self.index.shape[2]
        # Take the weights of each position from its row.
        row_weights = self._of(weights.transpose(1, 2).reshape(len(self.index), -1, heads * size), self._spoken)
        seen = self._of(self.mask, self.row).unsqueeze(2)  # (B, S, 1, L)
        row_weights = torch.unflatten(row_weights, 2, (heads, size)) * seen  # (B, S, H, L)
        # Write them at the positions of the sequence.
        keys = self._of(self.index, self.row).unsqueeze(2).expand_as(row_weights)
        out = row_weights.new_zeros(*row_weights.shape[:3], row_weights.shape[1]).scatter_add(3, keys, row_weights)
        return out.transpose(1, 2) * self.real[:, None, :, None]

    @property
    def _spoken(self) -> Tensor:
        """Index of each position's state among the R L elements of all rows (B, S)."""
        return self.row * self.index.shape[2] + self.place

    def _of(self, x: Tensor, places: Tensor) -> Tensor:
        """Return the elements of x (B, N, D) at ``places`` (B, P), as (B, P, D)."""
        return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
