"""Linear projection of many rows, a block at a time, with the gradients of a loss of its results.

A kernel computes the gradient of a block while its results are still in the cache. Thus N x V numbers are never stored,
and no result is computed twice.

Shapes: N rows, D features, V outputs, n rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.layers.tensors import wide_dtype


class BlockwiseLinear:
    """Projection x W^T + b in blocks of rows, with the sums of its gradients.

    Products are computed in the type of autocast; gradients of parameters are summed in at least fp32. Use it with
    autocast disabled.

    Args:
        features: Rows x (N, D).
        weight: Matrix W (V, D).
        bias: Bias b (V,), or None.
        train: Whether gradients are computed.
    """

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor | None, *, train: bool) -> None:
        device = features.device.type
        autocast = torch.is_autocast_enabled(device)
        self.dtype = torch.get_autocast_dtype(device) if autocast else features.dtype
        self.wide = wide_dtype(self.dtype)
        self.parameters = features, weight, bias
        self.x, self.w = features.to(self.dtype), weight.to(self.dtype)
        self.b = None if bias is None else bias.to(self.dtype)
        self.rows = max(1, (2**22 if device == "cpu" else 2**26) // len(weight))
        self.d_x = torch.empty_like(self.x) if train else None
        self.d_w = torch.zeros_like(weight, dtype=self.wide) if train else None
        self.d_b = torch.zeros_like(bias, dtype=self.wide) if train and bias is not None else None

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the rows of each block, at least one block, and its results (n, V)."""
        for start in range(0, max(len(self.x), 1), self.rows):
            block = slice(start, start + self.rows)
            yield block, F.linear(self.x[block], self.w, self.b)

    def add(self, block: slice, grad: Tensor) -> None:
        """Add the gradient of a block to those of the parameters.

        Args:
            block: Rows of the block.
            grad: Gradient of its results (n, V).
        """
        assert self.d_x is not None and self.d_w is not None
        if self.d_b is not None:
            self.d_b += grad.sum(0)
        grad = grad.to(self.dtype)
        torch.mm(grad, self.w, out=self.d_x[block])
        if self.dtype == self.wide:
            self.d_w.addmm_(grad.t(), self.x[block])
        else:
            self.d_w += grad.t() @ self.x[block]

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients of features, weight and bias, in their types; None for those that are not computed."""
        pairs = zip((self.d_x, self.d_w, self.d_b), self.parameters, strict=True)
        return [None if d is None or parameter is None else d.to(parameter.dtype) for d, parameter in pairs]
