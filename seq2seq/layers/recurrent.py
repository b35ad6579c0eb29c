"""One recurrent layer, initialised for depth in time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.errors import UserError

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Weights(NamedTuple):
    """An ``nn.LSTM`` or ``nn.GRU`` layer's own tensors, gates stacked: (G D, E), (G D, D), (G D,), (G D,)."""

    input: Tensor
    hidden: Tensor
    input_bias: Tensor
    hidden_bias: Tensor

    @staticmethod
    def of(layer: nn.RNNBase) -> Weights:
        """The parameters of a one-layer, one-direction module."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return Weights(*(layer.get_parameter(name) for name in names))


def recurrent(cell: str, input_dim: int, dim: int) -> nn.RNNBase:
    """Orthogonal recurrent matrices, Xavier input matrices, zero biases but an LSTM's forget bias of 1.

    (Saxe 2014; Jozefowicz 2015, section 2.2 for the forget bias.)
    """
    if cell not in CELLS:
        raise UserError(f"cell={cell} is unknown; choose one of {', '.join(CELLS)}")
    layer = CELLS[cell](input_dim, dim, batch_first=True)
    weights = Weights.of(layer)
    with torch.no_grad():
        for gate in weights.input.split(dim):
            nn.init.xavier_uniform_(gate)
        for gate in weights.hidden.split(dim):
            nn.init.orthogonal_(gate)
        weights.input_bias.zero_()
        weights.hidden_bias.zero_()
        if cell == "lstm":
            weights.input_bias[dim : 2 * dim] = 1.0
    return layer
