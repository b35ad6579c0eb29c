"""The k largest entries of a row, the first of equal ones first: the plain formula, and a faster way by blocks.

``torch.topk`` leaves open which of equal numbers it returns, and equal log-probabilities are common where logits
are bf16: a search would not be a function of its input. Shapes: N rows, V entries, W entries a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.layers.plain_kernels import is_plain

BLOCK_WIDTH = 64  # W


def top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the values and indices (N, k) of the largest entries of x (N, V), largest first, no index twice.

    Which indices stand for entries of -inf is left open.
    """
    return plain_top(x, k) if is_plain() else blockwise_top(x, k)


def plain_top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sort all V entries."""
    values, indices = torch.sort(x, dim=1, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


def blockwise_top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sort k W entries.

    The k blocks with the largest maxima hold the k largest entries: for an entry outside them, each of the k
    maxima is larger, or equal and further left. So a row is read once, and only k W entries are ranked.
    """
    size = x.shape[1]
    if size <= BLOCK_WIDTH * (k + 1):
        return _ranked(x, k)
    whole = size - size % BLOCK_WIDTH
    best = x[:, :whole].unflatten(1, (-1, BLOCK_WIDTH)).amax(2)
    if whole < size:
        best = torch.cat((best, x[:, whole:].amax(1, keepdim=True)), 1)
    blocks = _ranked(best, k)[1].sort(1).values
    places = (blocks.unsqueeze(2) * BLOCK_WIDTH + torch.arange(BLOCK_WIDTH, device=x.device)).flatten(1)  # (N, k W)
    entries = x.gather(1, places.clamp(max=size - 1))
    if whole < size:
        entries = entries.masked_fill(places >= size, -torch.inf)
    values, chosen = _ranked(entries, k)
    return values, places.gather(1, chosen)


def _ranked(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the same by repeated maxima (``max`` returns the first), or by a stable sort where k is large."""
    if k > 16:
        return plain_top(x, k)
    columns = []
    left = x.clamp_min(torch.finfo(x.dtype).min)  # only what was taken is -inf, so that nothing is taken twice
    for _ in range(k):
        columns.append(left.max(1, keepdim=True).indices)
        left = left.scatter(1, columns[-1], -torch.inf)
    indices = torch.cat(columns, 1)
    return x.gather(1, indices), indices
