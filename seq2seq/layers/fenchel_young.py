"""Fenchel-Young losses of alpha-entmax: the plain formula, and a kernel that never stores all logits.

    L(z, y) = (p - e_y)^T z + H(p),  p = alpha-entmax(z),  H(p) = sum_v (p_v - p_v^alpha) / (alpha (alpha - 1))

L is not negative, and 0 only where p is e_y, the one-hot vector of the target. Its gradient is p - e_y. In the limit
alpha = 1 it is the cross-entropy of softmax (Peters 2019, arXiv:1905.05702, section 3; Blondel 2020, arXiv:1901.02324).

Shapes: N target tokens, D features, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seq2seq.batch import PAD, UNK
from seq2seq.layers.blockwise import BlockwiseLinear
from seq2seq.layers.entmax import entmax
from seq2seq.layers.tensors import widen


class FenchelYoung(NamedTuple):
    """Losses of N tokens, without padding; only ``total`` has a gradient."""

    total: Tensor  # sum of the smoothed losses
    unsmoothed: Tensor  # (N,) losses L
    smoothed: Tensor  # (N,) losses with smoothing
    correct: Tensor  # (N,) bool, whether the target has the highest score
    support: Tensor  # (N,) number of words with p > 0
    missed: Tensor  # (N,) bool, whether the target has p = 0


def fenchel_young(z: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return the loss of each token (N,), with its gradient p - e_y, and the probabilities p (N, V) without one.

    Args:
        z: Scores (N, V), in at least fp32.
        targets: Targets y (N,) long, in the vocabulary.
        alpha: Alpha of entmax.
    """
    # L = max_p (p^T z + H(p)) - z_y, so that p is a constant in the gradient.
    p = entmax(z.detach(), alpha)
    entropy = (p - p.pow(alpha)).sum(-1) / (alpha * (alpha - 1.0))
    # A constant that is added to all scores changes nothing; without it the sums are small, and so is their rounding.
    z = z - z.detach().amax(-1, keepdim=True)
    picked = z.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (p * z).sum(-1) - picked + entropy, p


def plain_fenchel_young(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, alpha: float, smoothing: float = 0.0
) -> FenchelYoung:
    """Compute the same as ``fused_fenchel_young`` by the plain formula, with N x V logits in memory.

    Args:
        features: Features (N, D).
        weight: Output matrix (V, D).
        bias: Output bias (V,).
        targets: Targets (N,) long, padding included.
        alpha: Alpha of entmax.
        smoothing: Label smoothing e, as in ``fused_fenchel_young``.
    """
    z = widen(F.linear(features, weight, bias))
    return _losses(z, targets, alpha, smoothing)[0]


def fused_fenchel_young(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, alpha: float, smoothing: float = 0.0
) -> FenchelYoung:
    """Return the loss of a linear projection, summed over the N tokens that are not padding.

        smoothed = L(z, y) + e (z_y - mean_v z_v)   (Peters & Martins 2021, arXiv:2103.10291)

    It is the loss of the target (1 - e) e_y + e / V up to a constant, so its gradient is p - (1 - e) e_y - e / V. For
    softmax this is the usual label smoothing.

    Args:
        features: Features (N, D).
        weight: Output matrix (V, D).
        bias: Output bias (V,).
        targets: Targets (N,) long, padding included.
        alpha: Alpha of entmax.
        smoothing: Label smoothing e, from 0 to 1.
    """
    # Ask here: inside a Function gradients are always off, and parameters always need gradients.
    train = torch.is_grad_enabled()
    result = _LinearFenchelYoung.apply(features, weight, bias, targets, alpha, smoothing, train)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return FenchelYoung(*result)


def _losses(z: Tensor, targets: Tensor, alpha: float, smoothing: float) -> tuple[FenchelYoung, Tensor]:
    """Return the losses of scores z (N, V), and p (N, V); rows of padding count 0."""
    # Words outside the vocabulary count as <unk>.
    real = targets != PAD
    known = targets.masked_fill(targets >= z.shape[-1], UNK)
    loss, p = fenchel_young(z, known, alpha)
    picked = z.gather(1, known[:, None]).squeeze(1)
    smoothed = loss + smoothing * (picked - z.mean(1)) if smoothing else loss
    found = FenchelYoung(
        (smoothed * real).sum(),
        (loss * real).detach(),
        (smoothed * real).detach(),
        (picked >= z.amax(1)) & real,
        (p > 0).sum(1) * real,
        (p.gather(1, known[:, None]).squeeze(1) == 0) & real,
    )
    return found, p


class _LinearFenchelYoung(torch.autograd.Function):
    """Projection and Fenchel-Young loss of one block of rows at a time.

    ``backward`` only scales the gradients that ``forward`` computed, because the loss is a sum.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        alpha: float,
        smoothing: float,
        train: bool,
    ) -> tuple[Tensor, ...]:
        """Compute the outputs of ``fused_fenchel_young``, and in training also the gradients."""
        train = train and any(ctx.needs_input_grad)
        projection = BlockwiseLinear(features, weight, bias, train=train)
        found: list[FenchelYoung] = []
        with torch.autocast(features.device.type, enabled=False):
            for block, logits in projection.blocks():
                losses, p = _losses(widen(logits), targets[block], alpha, smoothing)
                found.append(losses)
                # Turn p into the gradient p - (1 - e) e_y - e / V, which is 0 at padding.
                if train:
                    target = targets[block, None]
                    target = target.masked_fill(target >= len(weight), UNK)
                    if smoothing:
                        p -= smoothing / len(weight)
                    p.scatter_add_(1, target, p.new_full(target.shape, smoothing - 1.0))
                    projection.add(block, p.mul_(targets[block, None] != PAD))
        if train:
            ctx.save_for_backward(*projection.gradients())
        total, *others = zip(*found, strict=True)
        columns = [torch.cat(column) for column in others]
        ctx.mark_non_differentiable(*columns)
        return torch.stack(total).sum(), *columns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Scale the gradients that ``forward`` computed.

        Args:
            ctx: Context of autograd, which holds the gradients.
            scale: Gradient of the first output, a scalar.
            *_: Gradients of the other outputs, which are not used.
        """
        gradients = (None if d is None else d * scale.to(d.dtype) for d in ctx.saved_tensors)
        return *gradients, None, None, None, None
