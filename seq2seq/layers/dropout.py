"""Dropout from 16-bit random numbers on the CPU, four of them for each 64-bit word, and ``F.dropout`` elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seq2seq.layers.plain_kernels import is_plain

DRAW_LEVELS = 2**16  # values of a 16-bit random number: p is rounded to within 2^-17


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Return x / (1 - p) for elements that are kept, and 0 with probability p (Srivastava 2014).

    On the CPU, one random 64-bit word gives the mask of four elements. ``F.dropout`` draws one word for each element,
    which took a tenth of a training step of a Transformer. On other devices, and within ``plain_kernels()``, it is
    ``F.dropout``.

    Args:
        x: Tensor of any shape.
        p: Probability that an element is set to 0.
        training: Whether to apply dropout; if False, x is returned.
    """
    if not training or p == 0.0:
        return x
    if is_plain() or x.device.type != "cpu" or p == 1.0:
        return F.dropout(x, p)
    return x * keep_mask(x.shape, p, x.dtype)


def relu_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Return dropout(relu(x)), without a stored mask.

    The backward pass reads the output: it is positive where x was positive and was kept. This saves two passes over the
    widest activation of a Transformer.

    Args:
        x: Tensor of any shape.
        p: Probability that an element is set to 0.
        training: Whether to apply dropout; if False, relu(x) is returned.
    """
    if is_plain() or not training or p == 0.0 or p == 1.0 or x.device.type != "cpu":
        return dropout(F.relu(x), p, training)
    dropped: Tensor = _ReLUDropout.apply(x, p)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return dropped


class _ReLUDropout(torch.autograd.Function):
    """ReLU and dropout in one function, whose backward pass needs only the output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        """Return dropout(relu(x)), and store the output for the backward pass.

        Args:
            ctx: Context of autograd, which stores the output.
            x: Tensor of any shape.
            p: Probability that an element is set to 0.
        """
        y = F.relu(x).mul_(keep_mask(x.shape, p, x.dtype))
        ctx.save_for_backward(y)
        ctx.scale = 1.0 / (1.0 - p)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of x: the scaled gradient where the output is positive, else 0.

        Args:
            ctx: Context of autograd, which holds the output.
            grad: Gradient of the output.
        """
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, y, 0).mul_(ctx.scale), None


def keep_mask(shape: torch.Size | tuple[int, ...], p: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a CPU tensor with 0 at probability p, and 1 / (1 - p) elsewhere; p is rounded to 1/65536.

    Args:
        shape: Shape of the mask.
        p: Probability of 0.
        dtype: Type of the mask.
    """
    count = 1
    for size in shape:
        count *= size
    # Read four 16-bit numbers off each random 64-bit word.
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[:count].view(shape)
    kept = torch.empty(shape, dtype=dtype)
    # Compare straight into floats: a bool mask would have to be converted, which is slow.
    torch.ge(draws, round(p * DRAW_LEVELS) - DRAW_LEVELS // 2, out=kept)
    return kept.mul_(1.0 / (1.0 - p))


class Dropout(nn.Module):
    """Module that applies ``dropout`` in training.

    Args:
        p: Probability that an element is set to 0.

    Raises:
        ValueError: ``p`` is not in 0..1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout={p} must be at least 0 and at most 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout to a tensor.

        Args:
            x: Tensor of any shape.
        """
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Return the options that ``print(model)`` shows."""
        return f"p={self.p}"
