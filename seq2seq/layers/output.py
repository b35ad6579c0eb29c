"""Projection to the vocabulary, and its cross-entropy without all logits in memory.

Shapes: N target tokens, D features, V vocabulary, J alternatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seq2seq.batch import UNK
from seq2seq.layers.cross_entropy import MIN_LOG_PROB, fused_cross_entropy, plain_cross_entropy, token_losses
from seq2seq.layers.plain_kernels import is_plain
from seq2seq.layers.tensors import wide_dtype


class TokenLoss(NamedTuple):
    """Loss of N tokens; only ``smoothed`` has a gradient."""

    smoothed: Tensor  # sum of the smoothed losses
    nll: Tensor  # sum of the losses without smoothing: negative log-likelihoods, unless ``OutputLayer.sparse``
    correct: Tensor  # (N,) bool, whether the target is the most probable word; used in evaluation only
    per_token: Tensor  # (N,) terms of ``smoothed``, without gradient; (N, J) for sampled alternatives
    figures: Mapping[str, Tensor] = MappingProxyType({})  # other values (N,) by name of the metric, without gradient


@dataclass(frozen=True)
class Mixture:
    """Features of each alternative context (``seq2seq.attention.types.Alternatives``)."""

    features: Tensor  # (..., J, D)
    log_weights: Tensor  # (..., J) log-weight of each alternative
    kind: Literal["mixture", "bound", "sampled"]
    transitions: Tensor | None = None  # (B, T, J, J) of a chain of alternatives, as attention returned them

    def mix(self, log_p: Tensor) -> Tensor:
        """Combine the predictions p_j of the alternatives.

        The result is log sum_j w_j p_j for "mixture", its lower bound sum_j w_j log p_j for "bound", and the mean of
        log p_j for "sampled".

        Args:
            log_p: Log-probabilities (..., J, V).

        Returns:
            Log-probabilities (..., V).
        """
        if self.kind == "mixture":
            return torch.logsumexp(log_p + self.log_weights.unsqueeze(-1), -2)
        if self.kind == "bound":
            return (self.log_weights.exp().unsqueeze(-1) * log_p).sum(-2)
        return log_p.mean(-2)

    def flatten(self) -> Mixture:
        """Return the alternatives with batch and time as one dimension: (B, T, J, ...) becomes (N, J, ...)."""
        return Mixture(self.features.flatten(0, -3), self.log_weights.flatten(0, -2), self.kind)

    def rows(self, index: Tensor | slice) -> Mixture:
        """Return the alternatives of some tokens.

        Args:
            index: Numbers or slice of the N tokens.
        """
        return Mixture(self.features[index], self.log_weights[index], self.kind)


class OutputLayer(nn.Module):
    """Output layer log p = log_softmax(W f + b), where W may be the target embedding (Press & Wolf 2017).

    Args:
        dim: Width D of the features.
        vocabulary: Number V of words.
        tied: Embedding whose matrix is W; None for a matrix of its own.
        bias: Whether there is a bias b.

    Raises:
        ValueError: The tied embedding has another shape than (V, D).
    """

    min_log_prob = MIN_LOG_PROB
    sparse: ClassVar[bool] = False
    """True if words can have probability 0: then likelihoods are undefined, and copying and mixtures are too."""
    figures: ClassVar[Sequence[str]] = ()
    """Names of ``TokenLoss.figures``: metrics whose mean over target tokens is reported beside the loss."""

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

    @property
    def loss_name(self) -> str:
        """Name of the metric that is the mean loss of a target, without smoothing."""
        return "nll"

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of the vocabulary.

        Args:
            features: Features (..., D).

        Returns:
            Logits (..., V).
        """
        return F.linear(features, self.weight, self.bias)

    def log_probs(self, features: Tensor) -> Tensor:
        """Return the log-probabilities of the vocabulary, in at least fp32.

        Args:
            features: Features (..., D).

        Returns:
            Log-probabilities (..., V).
        """
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
        """Return the cross-entropy of targets, summed over the tokens that are not padding.

            smoothed = sum_n (1 - e) (-log p(y_n)) + e mean_v (-log P(v))   (Szegedy 2016, section 7)

        P is the softmax of the logits. p is P; where words are copied, p(y_n) = g_n P(y_n) + c_n, with P(y) = 0 for y
        >= V. A target with p(y_n) = 0 has no gradient.

        Args:
            features: Features (N, D).
            targets: Targets y (N,) long.
            smoothing: Label smoothing e, from 0 to 1.
            generated: Weight g of generation (N,), if words can be copied.
            copied: Copied probability c of each target (N,).
        """
        cross_entropy = plain_cross_entropy if is_plain() else fused_cross_entropy
        return TokenLoss(*cross_entropy(features, self.weight, self.bias, targets, generated, copied, smoothing))

    def token_losses(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each target (N,), without smoothing, with gradient and with N x V logits in memory.

        Args:
            features: Features (N, D).
            targets: Targets y (N,) long.
        """
        return -token_losses(self.log_probs(features), targets, 0.0)[0]

    def mixed_log_probs(self, mixture: Mixture) -> Tensor:
        """Return the log-probabilities of combined alternatives, a block of tokens at a time.

        Args:
            mixture: Alternatives with features (..., J, D).

        Returns:
            Log-probabilities (..., V).
        """
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
        """Return the loss of targets given combined alternatives; see ``loss``.

        N x J x V logits are never stored: the backward pass computes each block again.

        Args:
            mixture: Alternatives with features (N, J, D), without padding.
            targets: Targets (N,) long, without padding.
            smoothing: Label smoothing e, from 0 to 1.
            generated: Weight g of generation (N,), if words can be copied.
            copied: Copied probability c of each target (N,).
        """
        # Compute the loss of each block; ``checkpoint`` drops its logits.
        losses, start = [], 0
        for rows in self._blocks(mixture):
            block = slice(start, start + len(rows.features))
            start = block.stop
            parts = () if generated is None or copied is None else (generated[block], copied[block])
            losses.append(checkpoint(self._mixed_block, rows, targets[block], smoothing, *parts, use_reentrant=False))
        # Join the blocks.
        smoothed, nll, correct, per_token = zip(*losses, strict=True)
        return TokenLoss(torch.stack(smoothed).sum(), torch.stack(nll).sum(), torch.cat(correct), torch.cat(per_token))

    def log_likelihoods(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return the log-probability of one token under each of J alternatives, a block of steps at a time.

        Args:
            features: Features of the alternatives (B, T, J, D).
            tokens: Token of each step (B, T) long.

        Returns:
            Log-probabilities (B, T, J).
        """
        mixture = Mixture(features, features[..., 0], "mixture").flatten()
        chosen, start = [], 0
        for rows in self._blocks(mixture):
            block = tokens.flatten()[start : start + len(rows.features)]
            start += len(block)
            chosen.append(checkpoint(self._picked, rows.features, block, use_reentrant=False))
        return torch.cat(chosen).view(features.shape[:-1])

    def _picked(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return the log-probability of each token (n,) under its alternatives' features (n, J, D), as (n, J)."""
        log_p = self.log_probs(features)
        return log_p.gather(2, tokens[:, None, None].expand(-1, log_p.shape[1], 1)).squeeze(2)

    def _mixed_block(self, rows: Mixture, targets: Tensor, smoothing: float, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return the four tensors of ``TokenLoss`` for one block of tokens."""
        log_p = self.log_probs(rows.features)  # (n, J, V)
        picked, correct, per_token = token_losses(rows.mix(log_p), targets, smoothing, *parts)
        smoothed = per_token.sum()
        # Sampled alternatives report the loss of each of them.
        if rows.kind == "sampled":
            index = targets.masked_fill(targets >= log_p.shape[-1], UNK)[:, None, None]
            of_each = log_p.gather(2, index.expand(-1, log_p.shape[1], 1)).squeeze(2)
            per_token = (smoothing - 1.0) * of_each - smoothing * log_p.mean(-1)
        return smoothed, -picked.sum().detach(), correct, per_token.detach()

    def _blocks(self, mixture: Mixture) -> Iterator[Mixture]:
        """Yield blocks of tokens that are small enough for J x V logits each."""
        count, alternatives = mixture.log_weights.shape
        rows = max(1, (2**22 if mixture.features.device.type == "cpu" else 2**26) // (len(self.weight) * alternatives))
        for start in range(0, max(count, 1), rows):
            yield mixture.rows(slice(start, start + rows))


OutputFactory = Callable[..., OutputLayer]
"""Factory of an output layer: (dim, vocabulary, tied=) -> layer."""
