"""Feature maps: functions that replace the softmax in linear attention.

Letters as in ``types.py``; D width of a head, M number of its features, L any number of vectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.requirements import at_least_1


class FeatureMap(AttentionComponent, ABC):
    """Base of feature maps phi(x) >= 0; the similarity of q and k is phi(q) . phi(k).

    Features can be too large or too small for floats, so ``powers`` returns their logarithms. Linear attention uses
    phi(k) e^-r, where r is the largest exponent of each feature among the keys, and phi(q) e^(r - c), where c is the
    largest exponent of the query. No result depends on r or c, because the division by the sum of weights cancels them.

    Args:
        width: D, width of a head.
    """

    of_product = False  # True where phi(q) . phi(k) estimates a function of q . k, as rotary positions need

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @abstractmethod
    def powers(self, x: Tensor) -> Tensor:
        """Return log phi(x), of shape (B, H, L, M).

        Args:
            x: Queries or keys (B, H, L, D).
        """


class Elu(FeatureMap):
    """Feature map elu(x) + 1 (Katharopoulos 2020, equation 7): e^x below 0, x + 1 above; M = D."""

    @override
    def powers(self, x: Tensor) -> Tensor:
        powers: Tensor = _LogEluPlusOne.apply(x)  # type: ignore[no-untyped-call]  # torch leaves it without types
        return powers


class _LogEluPlusOne(torch.autograd.Function):
    """log(elu(x) + 1): x below 0 and log(1 + x) above, with the gradient 1 / (1 + [x]_+).

    Computed from ``F.elu(x) + 1``, it would be log 0 for x below -17.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu().log1p_().add_(x.clamp(max=0.0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = grad / x.relu().add_(1.0)
        return slope


class Favor(FeatureMap):
    """Positive random features of the Performer (Choromanski 2021, lemma 1).

    phi(x) = exp(w x' - |x'|^2 / 2) / sqrt(M), x' = x / D^(1/4): E[phi(q) . phi(k)] = exp(q . k / sqrt(D)). The M rows
    of w are drawn once and stored in the state dict. They are normal, and orthogonal within each group of D rows
    (section 2.4).

    Args:
        width: D, width of a head.
        features: M, number of features.
    """

    of_product = True
    directions: Tensor

    def __init__(self, width: int, *, features: int = 64) -> None:
        super().__init__(width)
        at_least_1(features=features)
        self.register_buffer("directions", orthogonal(features, width))

    @override
    def powers(self, x: Tensor) -> Tensor:
        """Return w x' - |x'|^2 / 2 - log(M) / 2."""
        # The log of phi is a projection minus a term that depends on the length of x.
        offset: Tensor = 0.5 * (x.square().sum(-1, keepdim=True) * self.width**-0.5 + math.log(len(self.directions)))
        projected: Tensor = x @ (self.directions.to(x.dtype) * self.width**-0.25).T
        return projected - offset


def orthogonal(count: int, width: int) -> Tensor:
    """Return standard normal rows (count, width); each group of ``width`` neighbouring rows is orthogonal.

    Args:
        count: Number of rows.
        width: Width of a row.
    """
    # Draw groups of ``width`` orthonormal rows.
    q, r = torch.linalg.qr(torch.randn(-(-count // width), width, width))
    # The signs make q uniform over all rotations, as an unbiased estimate needs; LAPACK's own q is not uniform.
    rows: Tensor = (q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)).flatten(0, 1)[:count]
    # Give each row the length of a normal vector.
    lengths: Tensor = torch.linalg.vector_norm(torch.randn(count, width), dim=1, keepdim=True)
    return rows * lengths
