"""Bridge from the last states of an encoder to the first states of a recurrent decoder.

Shapes: B batch, L' layers of the encoder, L layers of the decoder, F width of the encoder, D width of the decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.encoders.base import Encoder
from seq2seq.errors import UserError
from seq2seq.layers.stack import Stack

BRIDGES = ("dense", "backward", "copy", "zero")


class Bridge(nn.Module):
    """First states of a recurrent decoder from the summary f of an encoder: h = tanh(W f), of an LSTM c = tanh(W' f).

    - ``dense`` reads all of f = [forward; backward].
    - ``backward`` reads only the backward half of f (Bahdanau 2015, appendix A.2.2).
    - ``copy`` takes f as h, and c = 0.
    - ``zero`` starts from h = 0 and c = 0.

    Layers are matched from the top: the last layer of the decoder reads the last layer of the encoder. Where the
    encoder has fewer layers, the lower layers of the decoder read its first layer.

    Args:
        kind: Kind of bridge: "dense", "backward", "copy" or "zero".
        encoder: Encoder, which gives the width and the layers of the summary.
        dim: Width D of a state of the decoder.
        layers: Number L of layers of the decoder.
        states: Number of states of a layer: 2 for an LSTM (h, c), 1 for a GRU (h).

    Raises:
        UserError: ``kind`` is unknown, or does not fit the encoder.
    """

    def __init__(self, kind: str, encoder: Encoder, dim: int, layers: int, states: int) -> None:
        super().__init__()
        # Check the kind of bridge.
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
        # Match the layers, and make a matrix for each layer that needs one.
        self.kind, self.dim, self.states = kind, dim, states
        self.sources = [max(0, encoder.final_layers - layers + layer) for layer in range(layers)]
        self.backward_from = encoder.final_dim // 2
        width = self.backward_from if kind == "backward" else encoder.final_dim
        learned = kind in ("dense", "backward")
        self.maps = Stack(nn.Linear(width, dim * states) for _ in range(layers)) if learned else None

    def forward(self, final: Tensor) -> Tensor:
        """Return the first states of all layers of the decoder.

        Args:
            final: Summary of each layer of the encoder (B, L', F).

        Returns:
            States (B, L, states, D).
        """
        # Project the summary of each layer.
        layers = final[:, self.sources]
        if self.maps is not None:
            inputs = layers if self.kind == "dense" else layers[..., self.backward_from :]
            projected = [torch.tanh(m(x)) for m, x in zip(self.maps, inputs.unbind(1), strict=True)]
            return torch.unflatten(torch.stack(projected, 1), -1, (self.states, self.dim))
        # Without a projection, start from 0 or from a copy of the summary.
        start = final.new_zeros(len(final), len(self.sources), self.states, self.dim)
        if self.kind == "copy":
            start[:, :, 0] = layers
        return start
