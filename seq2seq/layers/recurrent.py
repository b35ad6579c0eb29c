"""Single recurrent layer, initialised for long sequences.

Shapes: E input, D state, G gates (LSTM 4, GRU 3).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.errors import UserError

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Weights(NamedTuple):
    """Parameters of an ``nn.LSTM`` or ``nn.GRU`` layer, with the gates stacked."""

    input: Tensor  # (G D, E)
    hidden: Tensor  # (G D, D)
    input_bias: Tensor  # (G D,)
    hidden_bias: Tensor  # (G D,)

    @staticmethod
    def of(layer: nn.RNNBase) -> Weights:
        """Return the parameters of a module with one layer and one direction.

        Args:
            layer: ``nn.LSTM`` or ``nn.GRU``.
        """
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return Weights(*(layer.get_parameter(name) for name in names))


def recurrent(cell: str, input_dim: int, dim: int) -> nn.RNNBase:
    """Return an initialised recurrent layer with one direction.

    Recurrent matrices are orthogonal (Saxe 2014), input matrices are Xavier-uniform, and biases are 0. The forget bias
    of an LSTM is 1 (Jozefowicz 2015, section 2.2).

    Args:
        cell: Recurrent cell: "lstm" or "gru".
        input_dim: Width E of the input.
        dim: Width D of a state.

    Raises:
        UserError: ``cell`` is unknown.
    """
    if cell not in CELLS:
        raise UserError(f"cell={cell} is unknown; choose one of {', '.join(CELLS)}")
    layer = CELLS[cell](input_dim, dim, batch_first=True)
    # Initialise each gate separately.
    weights = Weights.of(layer)
    with torch.no_grad():
        for gate in weights.input.split(dim):
            nn.init.xavier_uniform_(gate)
        for gate in weights.hidden.split(dim):
            nn.init.orthogonal_(gate)
        weights.input_bias.zero_()
        weights.hidden_bias.zero_()
        # PyTorch orders the gates of an LSTM as input, forget, candidate, output.
        if cell == "lstm":
            weights.input_bias[dim : 2 * dim] = 1.0
    return layer
