"""The k largest entries of a row, in a fixed order of equal entries: the plain formula, and a faster one by blocks.

Of equal entries, the first comes first. ``torch.topk`` does not specify which of equal entries it returns. Equal
log-probabilities are common where logits are bf16, so the result of a search would not be determined by its input.

Shapes: N rows, V entries, W entries of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.layers.plain_kernels import is_plain

BLOCK_WIDTH = 64  # W, entries of a block


def top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest entries of each row, largest first.

    No index is returned twice. Which indices stand for entries of -inf is not specified.

    Args:
        x: Entries (N, V).
        k: Number of entries, at most V.

    Returns:
        Values and indices, (N, k) each.
    """
    return plain_top(x, k) if is_plain() else blockwise_top(x, k)


def plain_top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Compute ``top`` by sorting all V entries.

    Args:
        x: Entries (N, V).
        k: Number of entries.

    Returns:
        Values and indices, (N, k) each.
    """
    values, indices = torch.sort(x, dim=1, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


def blockwise_top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Compute ``top`` by ranking only k W entries.

    The k blocks with the largest maxima hold the k largest entries. For an entry in another block, each of the k maxima
    is larger, or equal and further left. Thus each row is read once, and only k W entries are ranked.

    Args:
        x: Entries (N, V).
        k: Number of entries.

    Returns:
        Values and indices, (N, k) each.
    """
    size = x.shape[1]
    # Rank all entries of short rows: blocks would save nothing.
    if size <= BLOCK_WIDTH * (k + 1):
        return _ranked(x, k)
    # Take the maximum of each block; the last block may be shorter.
    whole = size - size % BLOCK_WIDTH
    best = x[:, :whole].unflatten(1, (-1, BLOCK_WIDTH)).amax(2)
    if whole < size:
        best = torch.cat((best, x[:, whole:].amax(1, keepdim=True)), 1)
    # Gather the entries of the k best blocks, from left to right.
    blocks = _ranked(best, k)[1].sort(1).values
    places = (blocks.unsqueeze(2) * BLOCK_WIDTH + torch.arange(BLOCK_WIDTH, device=x.device)).flatten(1)  # (N, k W)
    entries = x.gather(1, places.clamp(max=size - 1))
    if whole < size:
        entries = entries.masked_fill(places >= size, -torch.inf)
    # Rank these entries.
    values, chosen = _ranked(entries, k)
    return values, places.gather(1, chosen)


def _ranked(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Compute ``top`` by k maxima (``max`` returns the first one), or by a stable sort if k is large."""
    if k > 16:
        return plain_top(x, k)
    columns = []
    # Raise -inf to the smallest number: only entries that were taken are -inf, so none is taken twice.
    left = x.clamp_min(torch.finfo(x.dtype).min)
    for _ in range(k):
        columns.append(left.max(1, keepdim=True).indices)
        left = left.scatter(1, columns[-1], -torch.inf)
    indices = torch.cat(columns, 1)
    return x.gather(1, indices), indices
