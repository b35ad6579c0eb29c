"""Cross-entropy of a linear projection: the plain formula, and a kernel that never holds all logits.

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
from seq2seq.layers.tensors import wide_dtype

MIN_LOG_PROB = -69.0  # of a target that may be copied; below, nothing is learnt, and the loss stays finite


def token_losses(
    log_p: Tensor, targets: Tensor, smoothing: float, generated: Tensor | None = None, copied: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p(y), whether y is the likeliest word, and the smoothed loss of each token, (N,) each.

    Args:
        log_p: (N, V) log-probabilities P of the vocabulary.
        targets: (N,) y; one of V or more can only be copied.
        smoothing: e in (1 - e) (-log p(y)) + e mean_v (-log P(v)).
        generated: (N,) g, where words are copied: p(y) = g P(y) + c; else p is P.
        copied: (N,) c.
    """
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
    """Compute what ``fused_cross_entropy`` does, with N x V logits in memory."""
    logits = F.linear(features, weight, bias)
    log_p = F.log_softmax(logits, -1, dtype=wide_dtype(logits.dtype))
    picked, correct, smoothed = token_losses(log_p, targets, smoothing, generated, copied)
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

    Also whether each target is the likeliest word (N,), in evaluation alone, and each token's smoothed loss (N,). Only
    the first carries a gradient.

    Args:
        features: (N, D).
        weight: (V, D).
        bias: (V,).
        targets: (N,), padding included.
        generated: (N,) as in ``token_losses``.
        copied: (N,) as there.
        smoothing: as there.
    """
    train = torch.is_grad_enabled()  # inside a Function it is always off, and parameters always need gradients
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]  # torch leaves it without types
        features, weight, bias, targets, generated, copied, smoothing, train
    )
    return result


class _LinearCrossEntropy(torch.autograd.Function):
    """Projection and cross-entropy, a block of rows at a time.

    The gradient is made while a block's logits are still in cache, so N x V numbers are never stored
    and no logit is computed twice. The gradients of a *sum* only need scaling in backward.
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
        device = features.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else features.dtype
        wide = wide_dtype(dtype)  # softmax and sums
        train = train and any(ctx.needs_input_grad)
        with torch.autocast(device, enabled=False):
            x, w = features.to(dtype), weight.to(dtype)
            b = None if bias is None else bias.to(dtype)
            rows = max(1, (2**22 if device == "cpu" else 2**26) // len(weight))
            nll = features.new_zeros(len(features), dtype=wide)
            spread = torch.zeros_like(nll)
            correct = torch.zeros_like(nll, dtype=torch.bool)
            d_x = torch.empty_like(x) if train else None
            d_w = torch.zeros_like(weight, dtype=wide) if train else None
            d_b = torch.zeros_like(bias, dtype=wide) if train and bias is not None else None
            least = math.exp(MIN_LOG_PROB)
            d_g, d_c = (torch.zeros_like(nll), torch.zeros_like(nll)) if copied is not None else (None, None)
            for start in range(0, len(x), rows):
                block = slice(start, start + rows)
                target = targets[block, None]
                real = target != PAD
                known = target < len(weight)
                target = target.masked_fill(~known, UNK)
                log_p = F.log_softmax(F.linear(x[block], w, b), -1, dtype=wide)
                picked = log_p.gather(1, target)
                counts = real.to(wide)
                share = counts  # of the loss of a token that what was generated answers for
                if generated is not None and copied is not None and d_g is not None and d_c is not None:
                    g, c = generated[block, None].to(wide), copied[block, None].to(wide)
                    p = picked.exp() * known
                    both = g * p + c
                    per = (real & (both > least)) / both.clamp(min=least)
                    d_g[block], d_c[block] = -(per * p).squeeze(1), -per.squeeze(1)
                    share, picked = per * g * p, both.clamp(min=least).log()
                nll[block] = -(picked * real).squeeze(1)
                if not train:
                    correct[block] = ((picked >= log_p.amax(1, keepdim=True)) & real).squeeze(1)
                if smoothing:
                    spread[block] = -(log_p.mean(1, keepdim=True) * real).squeeze(1)
                if d_x is not None and d_w is not None:
                    # d smoothed / d logits = r (1 - e) (p - onehot) + e (p - 1 / V), r = share
                    kept = share * (1.0 - smoothing)
                    grad = log_p.exp_()
                    grad *= kept + smoothing * counts
                    if smoothing:
                        grad -= counts * (smoothing / len(weight))
                    grad.scatter_add_(1, target, -kept)
                    if d_b is not None:
                        d_b += grad.sum(0)
                    grad = grad.to(dtype)
                    torch.mm(grad, w, out=d_x[block])
                    if dtype == wide:
                        d_w.addmm_(grad.t(), x[block])
                    else:
                        d_w += grad.t() @ x[block]
        if d_x is not None and d_w is not None:
            ctx.save_for_backward(
                d_x.to(features.dtype),
                d_w.to(weight.dtype),
                None if d_b is None or bias is None else d_b.to(bias.dtype),
                *(None if d is None else d * (1.0 - smoothing) for d in (d_g, d_c)),
            )
        per_token = (1 - smoothing) * nll + smoothing * spread
        total = nll.sum()
        ctx.mark_non_differentiable(total, correct, per_token)
        return per_token.sum(), total, correct, per_token

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        d_x, d_w, d_b, d_g, d_c = (None if d is None else d * scale.to(d.dtype) for d in ctx.saved_tensors)
        return d_x, d_w, d_b, None, d_g, d_c, None, None
