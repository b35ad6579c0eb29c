"""Token embeddings with what the model family adds to them: scale, absolute positions, dropout."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from seq2seq.batch import PAD
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.positions import Learned, Sinusoidal

POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi")


def relative(positions: str) -> Literal["none", "rotary", "alibi"]:
    """What of ``positions`` the attention scores must do, since embeddings can't."""
    return "rotary" if positions == "rotary" else "alibi" if positions == "alibi" else "none"


class TokenEmbedding(nn.Module):
    """x_t = dropout(s E[token_t] + PE(t)), s = sqrt(D) if ``scale``.

    ``positions``: ``sinusoidal`` and ``learned`` are added here; ``none``, and ``rotary`` and ``alibi``,
    which act inside the attention scores, add nothing.
    """

    def __init__(
        self,
        vocabulary: int,
        dim: int,
        *,
        dropout: float = 0.0,
        scale: bool = False,
        positions: str = "none",
        max_length: int = 1024,
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise UserError(f"positions={positions} is unknown; choose one of {', '.join(POSITIONS)}")
        self.table = nn.Embedding(vocabulary, dim, padding_idx=PAD)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        with torch.no_grad():
            self.table.weight[PAD].zero_()
        self.scale = dim**0.5 if scale else 1.0
        self.max_length = max_length if positions == "learned" else None
        self.positions: Sinusoidal | Learned | None = None
        if positions == "sinusoidal":
            self.positions = Sinusoidal(dim)
        elif positions == "learned":
            self.positions = Learned(dim, max_length)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """(B, T) ids at positions start..start+T-1 -> (B, T, D)."""
        x = self.table(tokens)
        if self.scale != 1.0:
            x = x * self.scale
        if self.positions is not None:
            end = start + tokens.shape[1]
            if self.max_length is not None and end > self.max_length:
                raise UserError(
                    f"a sequence of {end} tokens is longer than the {self.max_length} learned positions; "
                    "raise max_length or use sinusoidal positions"
                )
            x = x + self.positions(torch.arange(start, end, device=tokens.device), x.dtype)
        dropped: Tensor = self.dropout(x)
        return dropped
