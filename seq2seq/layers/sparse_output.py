"""Output layer whose probabilities are alpha-entmax of the logits: most words have exactly probability 0.

Shapes: N target tokens, D features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from seq2seq.batch import UNK
from seq2seq.errors import UserError
from seq2seq.layers.entmax import MIN_ALPHA, entmax
from seq2seq.layers.fenchel_young import fenchel_young, fused_fenchel_young, plain_fenchel_young
from seq2seq.layers.output import OutputLayer, TokenLoss
from seq2seq.layers.plain_kernels import is_plain
from seq2seq.layers.tensors import widen


class EntmaxOutput(OutputLayer):
    """Output layer p = alpha-entmax(W f + b), trained with its Fenchel-Young loss (Peters 2019, arXiv:1905.05702).

    The words with p > 0 are the support. -log p(y) is infinite for a target outside it, so the loss of training and
    evaluation is L(z, y) of ``layers/fenchel_young.py``, whose gradient p - e_y is that of softmax's cross-entropy.

    Args:
        dim: Width D of the features.
        vocabulary: Number V of words.
        tied: Embedding whose matrix is W; None for a matrix of its own.
        bias: Whether there is a bias b.
        alpha: 1.5 is Peters' choice, 2 is sparsemax; near 1 it is almost softmax.

    Raises:
        UserError: ``alpha`` is out of range.
    """

    sparse: ClassVar[bool] = True
    figures: ClassVar[Sequence[str]] = ("support_size", "zero_probability")

    def __init__(
        self,
        dim: int,
        vocabulary: int,
        *,
        tied: nn.Embedding | None = None,
        bias: bool = True,
        alpha: float = 1.5,
    ) -> None:
        super().__init__(dim, vocabulary, tied=tied, bias=bias)
        if not MIN_ALPHA <= alpha <= 2.0:
            raise UserError(f"alpha={alpha} must lie in [{MIN_ALPHA}, 2]; 1 is decoder/output=softmax, 2 is sparsemax")
        self.alpha = float(alpha)

    @property
    @override
    def loss_name(self) -> str:
        """Name of the metric: ``loss_entmax`` and the digits of alpha, 15 for 1.5."""
        return f"loss_entmax{self.alpha:g}".replace(".", "")

    @override
    def log_probs(self, features: Tensor) -> Tensor:
        """Return the log-probabilities of the vocabulary, in at least fp32; -inf outside the support."""
        return entmax(widen(self(features)), self.alpha).log()

    @override
    def loss(
        self,
        features: Tensor,
        targets: Tensor,
        smoothing: float = 0.0,
        generated: Tensor | None = None,
        copied: Tensor | None = None,
    ) -> TokenLoss:
        """Return the Fenchel-Young loss of targets, summed over the tokens that are not padding.

        The figures are the size of the support and whether the target has probability 0.

        Args:
            features: Features (N, D).
            targets: Targets y (N,) long.
            smoothing: Label smoothing e, from 0 to 1 (``fused_fenchel_young``).
            generated: Must be None; decoders refuse copying.
            copied: Must be None.
        """
        assert generated is None and copied is None
        compute = plain_fenchel_young if is_plain() else fused_fenchel_young
        found = compute(features, self.weight, self.bias, targets, self.alpha, smoothing)
        figures = dict(zip(self.figures, (found.support, found.missed), strict=True))
        return TokenLoss(found.total, found.unsmoothed.sum(), found.correct, found.smoothed, figures)

    @override
    def token_losses(self, features: Tensor, targets: Tensor) -> Tensor:
        known = targets.masked_fill(targets >= len(self.weight), UNK)
        return fenchel_young(widen(self(features)), known, self.alpha)[0]
