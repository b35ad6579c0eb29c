"""The vocabulary projection, and its cross-entropy without ever holding all logits.

Shapes: N target tokens, D features, V vocabulary, J alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seq2seq.batch import PAD, UNK

LEAST = -69.0  # log-probability: below, nothing is learnt, and a loss stays finite


class TokenLoss(NamedTuple):
    """Sums over tokens, and what each of them is. Only ``smoothed`` carries a gradient."""

    smoothed: Tensor
    nll: Tensor
    hits: Tensor  # (N,) bool, whether the argmax is the target; looked at in evaluation alone
    each: Tensor  # (N,) of what ``smoothed`` is the sum, which no gradient reaches; (N, J) of sampled alternatives


@dataclass(frozen=True)
class Mixture:
    """What the readout says to each alternative context (``seq2seq.attention.types.Alternatives``)."""

    features: Tensor  # (..., J, D)
    log_weights: Tensor  # (..., J)
    kind: Literal["mixture", "bound", "sampled"]

    def mix(self, log_p: Tensor) -> Tensor:
        """(..., J, V) log-probabilities -> (..., V): log sum_j w_j p_j, its bound sum_j w_j log p_j, or the mean."""
        if self.kind == "mixture":
            return torch.logsumexp(log_p + self.log_weights.unsqueeze(-1), -2)
        if self.kind == "bound":
            return (self.log_weights.exp().unsqueeze(-1) * log_p).sum(-2)
        return log_p.mean(-2)

    def flatten(self) -> Mixture:
        """(B, T, J, .) -> (N, J, .)."""
        return Mixture(self.features.flatten(0, -3), self.log_weights.flatten(0, -2), self.kind)

    def rows(self, index: Tensor | slice) -> Mixture:
        """Some of N tokens."""
        return Mixture(self.features[index], self.log_weights[index], self.kind)


class OutputLayer(nn.Module):
    """log p = log_softmax(W f + b), W optionally shared with the target embedding (Press & Wolf 2017)."""

    def __init__(self, dim: int, vocabulary: int, *, tied: nn.Embedding | None = None, bias: bool = True) -> None:
        super().__init__()
        if tied is not None and tied.weight.shape != (vocabulary, dim):
            raise ValueError(
                f"tied embeddings: the output layer needs a ({vocabulary}, {dim}) matrix, "
                f"the embedding has {tuple(tied.weight.shape)}"
            )
        self.weight = nn.Parameter(torch.empty(vocabulary, dim)) if tied is None else tied.weight
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if bias else None
        if tied is None:
            nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., V) logits."""
        return F.linear(features, self.weight, self.bias)

    def log_probs(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., V) log-probabilities, in at least fp32."""
        logits = self(features)
        return F.log_softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))

    def loss(
        self,
        features: Tensor,
        targets: Tensor,
        smoothing: float = 0.0,
        generated: Tensor | None = None,
        copied: Tensor | None = None,
    ) -> TokenLoss:
        """Summed cross-entropy of ``targets`` (N,) given ``features`` (N, D).

        smoothed = sum_n (1 - e) (-log p(y_n)) + e mean_v (-log P(v)), e = ``smoothing`` (Szegedy 2016, section 7),
        over the n whose target is not padding. p is P, the softmax of the logits, or where words are copied
        p(y_n) = g_n P(y_n) + c_n, with g_n ``generated`` and c_n ``copied`` (N,); P(y) = 0 for y >= V, and nothing is
        learnt from what has no probability at all.
        """
        train = torch.is_grad_enabled()  # inside a Function it is always off, and parameters always need gradients
        given = features, self.weight, self.bias, targets, generated, copied
        return TokenLoss(*_LinearCrossEntropy.apply(*given, smoothing, train))

    def mixed_log_probs(self, mixture: Mixture) -> Tensor:
        """Alternatives (..., J, D) -> (..., V) log-probabilities, a block of tokens at a time."""
        shape = mixture.log_weights.shape
        blocks = [rows.mix(self.log_probs(rows.features)) for rows in self._blocks(mixture.flatten())]
        return torch.cat(blocks).unflatten(0, shape[:-1])

    def mixed_loss(
        self,
        mixture: Mixture,
        targets: Tensor,
        smoothing: float = 0.0,
        generated: Tensor | None = None,
        copied: Tensor | None = None,
    ) -> TokenLoss:
        """``loss`` of ``targets`` (N,) given alternatives (N, J, D), padding left out beforehand.

        N x J x V logits are never held: each block is computed again in the backward pass.
        """
        found, start = [], 0
        for rows in self._blocks(mixture):
            block = slice(start, start + len(rows.features))
            start = block.stop
            parts = () if generated is None or copied is None else (generated[block], copied[block])
            one = checkpoint(self._mixed, rows, targets[block], smoothing, *parts, use_reentrant=False)
            found.append(TokenLoss(*one))
        smoothed, nll, hits, each = zip(*found, strict=True)
        return TokenLoss(torch.stack(smoothed).sum(), torch.stack(nll).sum(), torch.cat(hits), torch.cat(each))

    def _mixed(self, rows: Mixture, targets: Tensor, smoothing: float, *parts: Tensor) -> tuple[Tensor, ...]:
        log_p = self.log_probs(rows.features)  # (n, J, V)
        mixed = rows.mix(log_p)
        known = targets < len(self.weight)
        targets = targets.masked_fill(~known, UNK)
        picked = mixed.gather(1, targets[:, None]).squeeze(1)
        if parts:
            generated, copied = parts
            picked = (generated * picked.exp() * known + copied).clamp(min=math.exp(LEAST)).log()
        hits = picked >= mixed.amax(1)
        each = (smoothing - 1.0) * picked - smoothing * mixed.mean(-1)
        smoothed = each.sum()
        if rows.kind == "sampled":
            said = log_p.gather(2, targets[:, None, None].expand(-1, log_p.shape[1], 1)).squeeze(2)
            each = (smoothing - 1.0) * said - smoothing * log_p.mean(-1)
        return smoothed, -picked.sum().detach(), hits, each.detach()

    def _blocks(self, mixture: Mixture) -> Iterator[Mixture]:
        count, alternatives = mixture.log_weights.shape
        rows = max(1, (2**22 if mixture.features.device.type == "cpu" else 2**26) // (len(self.weight) * alternatives))
        for start in range(0, max(count, 1), rows):
            yield mixture.rows(slice(start, start + rows))


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
        wide = torch.promote_types(dtype, torch.float32)  # softmax and sums
        train = train and any(ctx.needs_input_grad)
        with torch.autocast(device, enabled=False):
            x, w = features.to(dtype), weight.to(dtype)
            b = None if bias is None else bias.to(dtype)
            rows = max(1, (2**22 if device == "cpu" else 2**26) // len(weight))
            nll = features.new_zeros(len(features), dtype=wide)
            spread = torch.zeros_like(nll)
            hits = torch.zeros_like(nll, dtype=torch.bool)
            d_x = torch.empty_like(x) if train else None
            d_w = torch.zeros_like(weight, dtype=wide) if train else None
            d_b = torch.zeros_like(bias, dtype=wide) if train and bias is not None else None
            least = math.exp(LEAST)
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
                    hits[block] = ((picked >= log_p.amax(1, keepdim=True)) & real).squeeze(1)
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
        each = (1 - smoothing) * nll + smoothing * spread
        total = nll.sum()
        ctx.mark_non_differentiable(total, hits, each)
        return each.sum(), total, hits, each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        d_x, d_w, d_b, d_g, d_c = (None if d is None else d * scale.to(d.dtype) for d in ctx.saved_tensors)
        return d_x, d_w, d_b, None, d_g, d_c, None, None
