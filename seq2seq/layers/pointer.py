"""Copying of source words, next to the generation of words of the vocabulary.

Shapes: B batch, T target tokens, S source tokens, C context width, D features, E embedding, V vocabulary, W = V + the
largest number of out-of-vocabulary words in a source (``seq2seq.batch.Copies``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.batch import PAD, Copies


@dataclass(frozen=True)
class Copying:
    """Copy distribution of T target tokens: p(w) = (1 - sum_j c_j) P(w) + sum_{j: x_j = w} c_j.

    P is the distribution of the output layer.
    """

    weights: Tensor  # (B, T, S) c_j, 0 for source tokens that cannot be copied
    copies: Copies  # ids of the source tokens

    @property
    def generated(self) -> Tensor:
        """Weight of generation 1 - sum_j c_j (B, T)."""
        return (1.0 - self.weights.sum(-1)).clamp(min=0.0)

    def of(self, targets: Tensor) -> Tensor:
        """Return the copied part of p(y_t).

        Args:
            targets: Targets y (B, T) long.

        Returns:
            Probabilities (B, T).
        """
        return self.of_each(targets).sum(-1)

    def of_each(self, targets: Tensor) -> Tensor:
        """Return the part of p(y_t) that is copied from each source token.

        Args:
            targets: Targets y (B, T) long.

        Returns:
            Probabilities (B, T, S).
        """
        return self.weights * (self.copies.ids.unsqueeze(1) == targets.unsqueeze(2))

    def mix(self, log_p: Tensor) -> Tensor:
        """Return log p of all words, generated and copied.

        Args:
            log_p: Log-probabilities log P of the vocabulary (B, T, V).

        Returns:
            Log-probabilities (B, T, W).
        """
        return mix(log_p, self.weights, self.copies.ids.unsqueeze(1).expand(self.weights.shape), self.copies.num_oov)

    def row(self, index: int) -> Copying:
        """Return the copy distribution of one sentence, with B = 1.

        Args:
            index: Row number of the sentence.
        """
        one = slice(index, index + 1)
        return Copying(self.weights[one], Copies(self.copies.ids[one], self.copies.num_oov))


def mix(log_p: Tensor, weights: Tensor, ids: Tensor, oov: int) -> Tensor:
    """Return log p of all words from log P and copy weights.

    Args:
        log_p: Log-probabilities log P of the vocabulary (..., V).
        weights: Copy weights c (..., S).
        ids: Ids of the source tokens (..., S) long.
        oov: Number of out-of-vocabulary words to add to the vocabulary.

    Returns:
        Log-probabilities (..., V + oov).
    """
    generated = (1.0 - weights.sum(-1, keepdim=True)).clamp(min=0.0)
    # Add the out-of-vocabulary words, which are never generated.
    log_generated = F.pad(log_p, (0, oov), value=-torch.inf)
    copied = torch.zeros_like(log_generated).scatter_add(-1, ids, weights.to(log_generated.dtype))
    # Add the copied part where there is one; stay in logarithms elsewhere, so that small P do not become 0.
    both = log_generated.exp() * generated + copied
    log_share = torch.where(generated > 0, generated, 1.0).log().masked_fill(generated <= 0, -torch.inf)
    return torch.where(copied > 0, torch.where(copied > 0, both, 1.0).log(), log_generated + log_share)


class Pointer(nn.Module):
    """Pointer-generator: copy weights c = (1 - g) a, a the attention over source tokens (See 2017, section 2.2).

        g = sigmoid(w_c . c_t + w_s . s_t + w_x . x_t + b)   (equations 8 and 9)

    g is the probability of generation. Attention to tokens that cannot be copied (special tokens) counts as generation.
    So does attention that a mechanism leaves out. Where the weights of a mechanism may have any sum (Graves' window),
    they are divided by their sum if it is more than 1.

    Args:
        context_dim: Width C of a context c_t.
        feature_dim: Width D of a feature s_t.
        input_dim: Width E of an embedded token x_t.
    """

    def __init__(self, context_dim: int, feature_dim: int, input_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(context_dim + feature_dim + input_dim, 1)

    def forward(self, context: Tensor, features: Tensor, inputs: Tensor, alignment: Tensor, copies: Copies) -> Copying:
        """Return the copy distribution of T target tokens.

        Args:
            context: Contexts (B, T, C).
            features: Features (B, T, D).
            inputs: Embedded tokens (B, T, E).
            alignment: Attention over source tokens (B, T, S).
            copies: Source tokens that can be copied.
        """
        # Compute 1 - g directly, which is exact where g is close to 1.
        copied = torch.sigmoid(-self.gate(torch.cat((context, features, inputs), -1)))
        # Divide attention by its sum if that is more than 1.
        alignment = alignment.to(torch.promote_types(alignment.dtype, torch.float32))
        shares = alignment / alignment.sum(-1, keepdim=True).clamp(min=1.0)
        weights = copied.to(shares.dtype) * shares
        # Tokens that cannot be copied have the id PAD.
        return Copying(weights.masked_fill((copies.ids == PAD).unsqueeze(1), 0.0), copies)
