"""Copying words of the source beside generating words of the vocabulary.

Shapes: B batch, T target tokens, S source tokens, C context width, D features, E embedding, V vocabulary,
W = V and the most out-of-vocabulary words of a row (``seq2seq.batch.Copies``), N rows of T targets of B.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.batch import PAD, Copies


@dataclass(frozen=True)
class Copying:
    """p(w) = (1 - sum_j c_j) P(w) + sum_{j: x_j = w} c_j, P what the output layer says."""

    weights: Tensor  # (B, T, S) c_j, 0 where nothing may be copied
    copies: Copies

    @property
    def generated(self) -> Tensor:
        """1 - sum_j c_j: (B, T)."""
        return (1.0 - self.weights.sum(-1)).clamp(min=0.0)

    def of(self, targets: Tensor) -> Tensor:
        """The copied part of p(y_t): targets (B, T) -> (B, T)."""
        return (self.weights * (self.copies.ids.unsqueeze(1) == targets.unsqueeze(2))).sum(-1)

    def mix(self, log_p: Tensor) -> Tensor:
        """log P (B, T, V) -> log p (B, T, W)."""
        return mix(log_p, self.weights, self.copies.ids.unsqueeze(1).expand(self.weights.shape), self.copies.num_oov)

    def row(self, index: int) -> Copying:
        """One sentence of the batch: B = 1."""
        one = slice(index, index + 1)
        return Copying(self.weights[one], Copies(self.copies.ids[one], self.copies.num_oov))


def mix(log_p: Tensor, weights: Tensor, ids: Tensor, oov: int) -> Tensor:
    """log P (..., V), c (..., S) and what is copied (..., S) -> log p (..., V + ``oov``)."""
    generated = (1.0 - weights.sum(-1, keepdim=True)).clamp(min=0.0)
    said = F.pad(log_p, (0, oov), value=-torch.inf)
    copied = torch.zeros_like(said).scatter_add(-1, ids, weights.to(said.dtype))
    both = said.exp() * generated + copied
    alone = said + torch.where(generated > 0, generated, 1.0).log().masked_fill(generated <= 0, -torch.inf)
    return torch.where(copied > 0, torch.where(copied > 0, both, 1.0).log(), alone)


class Pointer(nn.Module):
    """c = (1 - g) a, a the attention over words that may be copied, g = sigmoid(w_c . c_t + w_s . s_t + w_x . x_t + b)
    the generation probability (See 2017, section 2.2, equations 8 and 9).

    Attention to what can't be copied (specials) goes to generation, as does what a mechanism leaves out; one whose mass
    is free (Graves' window) is divided by its sum where that is more than 1.
    """

    def __init__(self, context_dim: int, feature_dim: int, input_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(context_dim + feature_dim + input_dim, 1)

    def forward(self, context: Tensor, features: Tensor, inputs: Tensor, alignment: Tensor, copies: Copies) -> Copying:
        """(B, T, C), (B, T, D), (B, T, E), attention (B, T, S)."""
        copied = torch.sigmoid(-self.gate(torch.cat((context, features, inputs), -1)))  # 1 - g
        alignment = alignment.to(torch.promote_types(alignment.dtype, torch.float32))
        shares = alignment / alignment.sum(-1, keepdim=True).clamp(min=1.0)
        weights = copied.to(shares.dtype) * shares
        return Copying(weights.masked_fill((copies.ids == PAD).unsqueeze(1), 0.0), copies)
