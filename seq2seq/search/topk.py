"""The k largest of a row, and among equals the first: what makes a search one function of its input.

``torch.topk`` leaves open which of equal numbers it returns, and equal log-probabilities are common where logits
are bf16. Shapes: N rows, V entries, W entries a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WIDTH = 64


def top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """x (N, V) -> values and indices (N, k), largest first, no index twice.

    The k blocks with the largest maxima hold the k largest entries: for an entry outside them, each of the k
    maxima is larger, or equal and further left. So a row is read once, and only k W entries are ranked.
    """
    size = x.shape[1]
    if size <= _WIDTH * (k + 1):
        return _ranked(x, k)
    whole = size - size % _WIDTH
    best = x[:, :whole].unflatten(1, (-1, _WIDTH)).amax(2)
    if whole < size:
        best = torch.cat((best, x[:, whole:].amax(1, keepdim=True)), 1)
    blocks = _ranked(best, k)[1].sort(1).values
    places = (blocks.unsqueeze(2) * _WIDTH + torch.arange(_WIDTH, device=x.device)).flatten(1)  # (N, k W)
    entries = x.gather(1, places.clamp(max=size - 1))
    if whole < size:
        entries = entries.masked_fill(places >= size, -torch.inf)
    values, chosen = _ranked(entries, k)
    return values, places.gather(1, chosen)


def _ranked(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same by repeated maxima (``max`` returns the first), or by a stable sort where k is large."""
    if k > 16:
        values, indices = torch.sort(x, dim=1, descending=True, stable=True)
        return values[:, :k], indices[:, :k]
    found = []
    left = x.clamp_min(torch.finfo(x.dtype).min)  # only what was taken is -inf, so that nothing is taken twice
    for _ in range(k):
        found.append(left.max(1, keepdim=True).indices)
        left = left.scatter(1, found[-1], -torch.inf)
    indices = torch.cat(found, 1)
    return x.gather(1, indices), indices
