"""From an encoder's last states to a recurrent decoder's first.

Shapes: B batch, L' and L layers of encoder and decoder, F width of the encoder's, D of the decoder's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.encoders.base import Encoder
from seq2seq.errors import UserError
from seq2seq.layers.stack import Stack

BRIDGES = ("dense", "backward", "copy", "zero")


class Bridge(nn.Module):
    """The decoder's first states from the encoder's last: h = tanh(W f), an LSTM's c = tanh(W' f).

    ``dense`` reads all of f = [forward; backward]; ``backward`` only the backward half (Bahdanau 2015,
    appendix A.2.2); ``copy`` takes f as h, c = 0; ``zero`` starts from nothing. Decoder layer l reads the
    encoder's layer l, counted from the top.
    """

    def __init__(self, kind: str, encoder: Encoder, dim: int, layers: int, states: int) -> None:
        super().__init__()
        if kind not in BRIDGES:
            raise UserError(f"bridge={kind} is unknown; choose one of {', '.join(BRIDGES)}")
        if kind == "copy" and encoder.final_dim != dim:
            raise UserError(
                f"bridge=copy needs equal widths, but the encoder ends in {encoder.final_dim} and the decoder "
                f"starts with {dim}; use bridge=dense"
            )
        if kind == "backward" and encoder.directions != 2:
            raise UserError(
                "bridge=backward reads the last backward state, but the encoder has one direction; use bridge=dense"
            )
        self.kind, self.dim, self.states = kind, dim, states
        self.sources = [max(0, encoder.final_layers - layers + layer) for layer in range(layers)]
        self.backward_from = encoder.final_dim // 2
        width = self.backward_from if kind == "backward" else encoder.final_dim
        learned = kind in ("dense", "backward")
        self.maps = Stack(nn.Linear(width, dim * states) for _ in range(layers)) if learned else None

    def forward(self, final: Tensor) -> Tensor:
        """(B, L', F) -> (B, L, states, D)."""
        layers = final[:, self.sources]
        if self.maps is not None:
            reads = layers if self.kind == "dense" else layers[..., self.backward_from :]
            made = [torch.tanh(m(x)) for m, x in zip(self.maps, reads.unbind(1), strict=True)]
            return torch.unflatten(torch.stack(made, 1), -1, (self.states, self.dim))
        start = final.new_zeros(len(final), len(self.sources), self.states, self.dim)
        if self.kind == "copy":
            start[:, :, 0] = layers
        return start
