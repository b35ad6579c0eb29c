"""Cross-entropy of a linear projection: the plain formula, and a kernel that never stores all logits.

Shapes: N target tokens, D features, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seq2seq.batch import PAD, UNK
from seq2seq.layers.blockwise import BlockwiseLinear
from seq2seq.layers.tensors import wide_dtype

MIN_LOG_PROB = -69.0
"""Lowest log p of a target that may be copied: the loss stays finite, and the gradient is 0 there.

A search counts an end that it forces where p = 0 like this, too (``search/base.py:Search``).
"""


def token_losses(
    log_p: Tensor, targets: Tensor, smoothing: float, generated: Tensor | None = None, copied: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p(y), whether y is the most probable word, and the smoothed loss of each token, (N,) each.

    The smoothed loss is (1 - e) (-log p(y)) + e mean_v (-log P(v)).

    Args:
        log_p: Log-probabilities log P of the vocabulary (N, V).
        targets: Targets y (N,) long; a target of V or more can only be copied.
        smoothing: Label smoothing e, from 0 to 1.
        generated: Weight g of generation (N,), if words can be copied: p(y) = g P(y) + c. Otherwise p is P.
        copied: Copied probability c of each target (N,).
    """
    # Look up log P(y); P(y) = 0 outside the vocabulary.
    known = targets < log_p.shape[-1]
    picked = log_p.gather(1, targets.masked_fill(~known, UNK)[:, None]).squeeze(1)
    if generated is not None and copied is not None:
        picked = (generated * picked.exp() * known + copied).clamp(min=math.exp(MIN_LOG_PROB)).log()
    return picked, picked >= log_p.amax(1), (smoothing - 1.0) * picked - smoothing * log_p.mean(-1)


def plain_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    generated: Tensor | None = None,
    copied: Tensor | None = None,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the same as ``fused_cross_entropy`` by the plain formula, with N x V logits in memory.

    Args:
        features: Features (N, D).
        weight: Output matrix (V, D).
        bias: Output bias (V,).
        targets: Targets (N,) long, padding included.
        generated: Weight of generation (N,), as in ``token_losses``.
        copied: Copied probability of each target (N,), as in ``token_losses``.
        smoothing: Label smoothing e, as in ``token_losses``.

    Returns:
        The same four tensors as ``fused_cross_entropy``; the third one is also filled in training.
    """
    logits = F.linear(features, weight, bias)
    log_p = F.log_softmax(logits, -1, dtype=wide_dtype(logits.dtype))
    picked, correct, smoothed = token_losses(log_p, targets, smoothing, generated, copied)
    # Sum over the tokens that are not padding.
    real = targets != PAD
    return (smoothed * real).sum(), -(picked * real).sum().detach(), correct & real, (smoothed * real).detach()


def fused_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    generated: Tensor | None = None,
    copied: Tensor | None = None,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the smoothed loss and the negative log-likelihood, summed over the N tokens that are not padding.

    Args:
        features: Features (N, D).
        weight: Output matrix (V, D).
        bias: Output bias (V,).
        targets: Targets (N,) long, padding included.
        generated: Weight of generation (N,), as in ``token_losses``.
        copied: Copied probability of each target (N,), as in ``token_losses``.
        smoothing: Label smoothing e, as in ``token_losses``.

    Returns:
        The summed smoothed loss, the only one with a gradient; the summed negative log-likelihood; whether each target
        is the most probable word (N,), in evaluation only; and the smoothed loss of each token (N,).
    """
    # Ask here: inside a Function gradients are always off, and parameters always need gradients.
    train = torch.is_grad_enabled()
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]  # torch leaves it without types
        features, weight, bias, targets, generated, copied, smoothing, train
    )
    return result


class _LinearCrossEntropy(torch.autograd.Function):
    """Projection and cross-entropy of one block of rows at a time.

    ``backward`` only scales the gradients that ``forward`` computed, because the loss is a sum.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        generated: Tensor | None,
        copied: Tensor | None,
        smoothing: float,
        train: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the outputs of ``fused_cross_entropy``, and in training also the gradients.

        Args:
            ctx: Context of autograd, which stores the gradients.
            features: Features (N, D).
            weight: Output matrix (V, D).
            bias: Output bias (V,).
            targets: Targets (N,) long, padding included.
            generated: Weight of generation (N,).
            copied: Copied probability of each target (N,).
            smoothing: Label smoothing e.
            train: Whether gradients are enabled.
        """
        train = train and any(ctx.needs_input_grad)
        projection = BlockwiseLinear(features, weight, bias, train=train)
        with torch.autocast(features.device.type, enabled=False):
            # Prepare outputs and gradients.
            nll = features.new_zeros(len(features), dtype=projection.wide)
            spread = torch.zeros_like(nll)
            correct = torch.zeros_like(nll, dtype=torch.bool)
            least = math.exp(MIN_LOG_PROB)
            d_g, d_c = (torch.zeros_like(nll), torch.zeros_like(nll)) if copied is not None else (None, None)
            for block, logits in projection.blocks():
                # Compute log P of the block, and look up the targets.
                target = targets[block, None]
                real = target != PAD
                known = target < len(weight)
                target = target.masked_fill(~known, UNK)
                log_p = F.log_softmax(logits, -1, dtype=projection.wide)
                picked = log_p.gather(1, target)
                counts = real.to(projection.wide)
                share = counts  # part of the gradient of a token that goes to the generated distribution
                # Mix in copied words: p(y) = g P(y) + c.
                if generated is not None and copied is not None and d_g is not None and d_c is not None:
                    g, c = (part[block, None].to(projection.wide) for part in (generated, copied))
                    p = picked.exp() * known
                    mixed = g * p + c
                    inverse = (real & (mixed > least)) / mixed.clamp(min=least)
                    d_g[block], d_c[block] = -(inverse * p).squeeze(1), -inverse.squeeze(1)
                    share, picked = inverse * g * p, mixed.clamp(min=least).log()
                # Store the outputs of the block.
                nll[block] = -(picked * real).squeeze(1)
                if not train:
                    correct[block] = ((picked >= log_p.amax(1, keepdim=True)) & real).squeeze(1)
                if smoothing:
                    spread[block] = -(log_p.mean(1, keepdim=True) * real).squeeze(1)
                # Compute the gradient while log P is in the cache.
                if train:
                    # d smoothed / d logits = r (1 - e) (p - onehot) + e (p - 1 / V), r = share
                    kept = share * (1.0 - smoothing)
                    grad = log_p.exp_()
                    grad *= kept + smoothing * counts
                    if smoothing:
                        grad -= counts * (smoothing / len(weight))
                    grad.scatter_add_(1, target, -kept)
                    projection.add(block, grad)
        if train:
            ctx.save_for_backward(
                *projection.gradients(), *(None if d is None else d * (1.0 - smoothing) for d in (d_g, d_c))
            )
        # Sum over tokens.
        per_token = (1 - smoothing) * nll + smoothing * spread
        total = nll.sum()
        ctx.mark_non_differentiable(total, correct, per_token)
        return per_token.sum(), total, correct, per_token

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Scale the gradients that ``forward`` computed.

        Args:
            ctx: Context of autograd, which holds the gradients.
            scale: Gradient of the first output, a scalar.
            *_: Gradients of the other outputs, which are not used.
        """
        d_x, d_w, d_b, d_g, d_c = (None if d is None else d * scale.to(d.dtype) for d in ctx.saved_tensors)
        return d_x, d_w, d_b, None, d_g, d_c, None, None
