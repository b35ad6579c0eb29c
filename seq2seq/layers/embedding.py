"""Token embedding with scale, absolute positions and dropout.

Shapes: B batch, T tokens, D width.
"""

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
    """Return the relative position encoding that attention scores must apply, because embeddings cannot.

    Args:
        positions: Position encoding, one of ``POSITIONS``.
    """
    return "rotary" if positions == "rotary" else "alibi" if positions == "alibi" else "none"


class TokenEmbedding(nn.Module):
    """Token embedding x_t = dropout(s E[token_t] + PE(t)), s = sqrt(D) with ``scale``, else 1.

    Args:
        vocabulary: Number of tokens.
        dim: Width D.
        dropout: Dropout probability.
        scale: Whether to multiply embeddings by sqrt(D).
        positions: Position encoding PE: "sinusoidal" or "learned". It is 0 for "none", and for "rotary" and "alibi",
            which act inside the attention scores.
        max_length: Number of learned positions; the other encodings ignore it.

    Raises:
        UserError: ``positions`` is unknown.
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
        # Initialise the table; the row of padding is 0.
        self.table = nn.Embedding(vocabulary, dim, padding_idx=PAD)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        with torch.no_grad():
            self.table.weight[PAD].zero_()
        # Set up scale and positions.
        self.scale = dim**0.5 if scale else 1.0
        self.max_length = max_length if positions == "learned" else None
        self.positions: Sinusoidal | Learned | None = None
        if positions == "sinusoidal":
            self.positions = Sinusoidal(dim)
        elif positions == "learned":
            self.positions = Learned(dim, max_length)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Embed tokens at the positions start..start+T-1.

        Args:
            tokens: Tokens (B, T) long.
            start: Position of the first token.

        Returns:
            Embeddings (B, T, D).

        Raises:
            UserError: The sequence is longer than ``max_length`` learned positions.
        """
        x = self.table(tokens)
        if self.scale != 1.0:
            x = x * self.scale
        if self.positions is not None:
            # Refuse positions that have no vector.
            end = start + tokens.shape[1]
            if self.max_length is not None and end > self.max_length:
                raise UserError(
                    f"a sequence of {end} tokens is longer than the {self.max_length} learned positions; "
                    "raise max_length or use sinusoidal positions"
                )
            x = x + self.positions(torch.arange(start, end, device=tokens.device), x.dtype)
        dropped: Tensor = self.dropout(x)
        return dropped
