"""Feature maps: what takes the softmax's place in linear attention.

Letters as in ``types.py``; D the width of a head, M the number of its features, L any number of vectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.requirements import at_least_1


class FeatureMap(AttentionComponent, ABC):
    """phi(x) >= 0; the similarity of q and k is phi(q) . phi(k).

    Features can leave the range of floats, so they are given as exponents. Of keys, each feature is taken as
    phi(k) e^-r, r the largest exponent it has among them; of a query as phi(q) e^(r - c), c the largest of its own:
    what no result depends on, for dividing by the sum of weights cancels it.
    """

    of_product = False  # whether phi(q) . phi(k) is a function of q . k, which rotary positions act on

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @abstractmethod
    def powers(self, x: Tensor) -> Tensor:
        """log phi(x): (B, H, L, D) -> (B, H, L, M)."""


class Elu(FeatureMap):
    """phi(x) = elu(x) + 1 (Katharopoulos 2020, equation 7): e^x below 0, x + 1 above; M = D."""

    def powers(self, x: Tensor) -> Tensor:
        """x below 0, log(1 + x) above."""
        return _LogEluPlusOne.apply(x)


class _LogEluPlusOne(torch.autograd.Function):
    """y with y' = 1 / (1 + [x]_+). As ``F.elu(x) + 1`` it would be log 0 from x = -17 on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu().log1p_().add_(x.clamp(max=0.0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad / x.relu().add_(1.0)


class Favor(FeatureMap):
    """phi(x) = exp(w x' - |x'|^2 / 2) / sqrt(M), x' = x / D^(1/4): E[phi(q) . phi(k)] = exp(q . k / sqrt(D)).

    (Performer's positive random features, Choromanski 2021, lemma 1.) The M rows of w, drawn once and kept in the state
    dict, are normal, and orthogonal within each D of them (section 2.4).
    """

    of_product = True
    directions: Tensor

    def __init__(self, width: int, *, features: int = 64) -> None:
        super().__init__(width)
        at_least_1(features=features)
        self.register_buffer("directions", orthogonal(features, width))

    def powers(self, x: Tensor) -> Tensor:
        """w x' - |x'|^2 / 2 - log(M) / 2."""
        offset = 0.5 * (x.square().sum(-1, keepdim=True) * self.width**-0.5 + math.log(len(self.directions)))
        return x @ (self.directions.to(x.dtype) * self.width**-0.25).T - offset


def orthogonal(count: int, width: int) -> Tensor:
    """(count, width) standard normal rows, those of each ``width`` neighbours orthogonal to each other."""
    q, r = torch.linalg.qr(torch.randn(-(-count // width), width, width))
    # the signs make q uniform over all rotations, as the estimate's mean needs; LAPACK's own are not
    rows = (q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)).flatten(0, 1)[:count]
    return rows * torch.linalg.vector_norm(torch.randn(count, width), dim=1, keepdim=True)
