"""The vocabulary projection, and its cross-entropy without ever holding all logits.

Shapes: N target tokens, D features, V vocabulary, J alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seq2seq.batch import UNK
from seq2seq.layers.cross_entropy import MIN_LOG_PROB, fused_cross_entropy, plain_cross_entropy, token_losses
from seq2seq.layers.plain_kernels import is_plain
from seq2seq.layers.tensors import wide_dtype


class TokenLoss(NamedTuple):
    """Sums over tokens, and what each of them is. Only ``smoothed`` carries a gradient."""

    smoothed: Tensor
    nll: Tensor
    correct: Tensor  # (N,) bool, whether the argmax is the target; looked at in evaluation alone
    per_token: Tensor  # (N,) of what ``smoothed`` is the sum, which no gradient reaches; (N, J) of sampled alternatives


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

    min_log_prob = MIN_LOG_PROB

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
        return F.log_softmax(logits, -1, dtype=wide_dtype(logits.dtype))

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
        cross_entropy = plain_cross_entropy if is_plain() else fused_cross_entropy
        return TokenLoss(*cross_entropy(features, self.weight, self.bias, targets, generated, copied, smoothing))

    def mixed_log_probs(self, mixture: Mixture) -> Tensor:
        """Alternatives (..., J, D) -> (..., V) log-probabilities, a block of tokens at a time."""
        shape = mixture.log_weights.shape
        blocks = [rows.mix(self.log_probs(rows.features)) for rows in self._blocks(mixture.flatten())]
        return torch.unflatten(torch.cat(blocks), 0, shape[:-1])

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
        losses, start = [], 0
        for rows in self._blocks(mixture):
            block = slice(start, start + len(rows.features))
            start = block.stop
            parts = () if generated is None or copied is None else (generated[block], copied[block])
            losses.append(checkpoint(self._mixed_block, rows, targets[block], smoothing, *parts, use_reentrant=False))
        smoothed, nll, correct, per_token = zip(*losses, strict=True)
        return TokenLoss(torch.stack(smoothed).sum(), torch.stack(nll).sum(), torch.cat(correct), torch.cat(per_token))

    def _mixed_block(self, rows: Mixture, targets: Tensor, smoothing: float, *parts: Tensor) -> tuple[Tensor, ...]:
        log_p = self.log_probs(rows.features)  # (n, J, V)
        picked, correct, per_token = token_losses(rows.mix(log_p), targets, smoothing, *parts)
        smoothed = per_token.sum()
        if rows.kind == "sampled":
            index = targets.masked_fill(targets >= log_p.shape[-1], UNK)[:, None, None]
            of_each = log_p.gather(2, index.expand(-1, log_p.shape[1], 1)).squeeze(2)
            per_token = (smoothing - 1.0) * of_each - smoothing * log_p.mean(-1)
        return smoothed, -picked.sum().detach(), correct, per_token.detach()

    def _blocks(self, mixture: Mixture) -> Iterator[Mixture]:
        count, alternatives = mixture.log_weights.shape
        rows = max(1, (2**22 if mixture.features.device.type == "cpu" else 2**26) // (len(self.weight) * alternatives))
        for start in range(0, max(count, 1), rows):
            yield mixture.rows(slice(start, start + rows))
