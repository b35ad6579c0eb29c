"""Dropout: on the CPU by 16-bit draws, a quarter of a random word an element, else by ``F.dropout``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seq2seq.layers.plain_kernels import is_plain

DRAW_LEVELS = 2**16  # of a 16-bit draw: p is met to 2^-17


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Return x / (1-p) where kept, 0 with probability p (Srivastava 2014).

    On the CPU the mask is read off 64-bit words, four elements each: ``F.dropout`` draws a word an element, which took
    a tenth of a Transformer's training step. Elsewhere, and within ``plain_kernels()``, it is ``F.dropout``.
    """
    if not training or p == 0.0:
        return x
    if is_plain() or x.device.type != "cpu" or p == 1.0:
        return F.dropout(x, p)
    return x * keep_mask(x.shape, p, x.dtype)


def relu_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Return dropout(relu(x)), whose backward pass reads the output: positive where x was and was kept.

    No mask is stored, and a Transformer's widest activation is passed over twice less.
    """
    if is_plain() or not training or p == 0.0 or p == 1.0 or x.device.type != "cpu":
        return dropout(F.relu(x), p, training)
    dropped: Tensor = _ReLUDropout.apply(x, p)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return dropped


class _ReLUDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        y = F.relu(x).mul_(keep_mask(x.shape, p, x.dtype))
        ctx.save_for_backward(y)
        ctx.scale = 1.0 / (1.0 - p)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, y, 0).mul_(ctx.scale), None


def keep_mask(shape: torch.Size | tuple[int, ...], p: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a CPU tensor of 0 with probability p, else 1/(1-p); p rounded to 1/65536."""
    count = 1
    for size in shape:
        count *= size
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[:count].view(shape)
    kept = torch.empty(shape, dtype=dtype)
    torch.ge(draws, round(p * DRAW_LEVELS) - DRAW_LEVELS // 2, out=kept)  # straight to floats: bool is a slow detour
    return kept.mul_(1.0 / (1.0 - p))


class Dropout(nn.Module):
    """``dropout`` as a module."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout must lie in 0..1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout to a tensor of any shape."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"p={self.p}"
