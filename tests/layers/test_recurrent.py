"""Tests of the initial weights of recurrent layers."""

from __future__ import annotations

import pytest
import torch

from seq2seq.errors import UserError
from seq2seq.layers.recurrent import Weights, recurrent


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
def test_initial_weights(cell: str, gates: int) -> None:
    """Recurrent matrices are orthogonal, input matrices have Glorot's bound, and the bias of the forget gate is 1."""
    weights = Weights.of(recurrent(cell, 5, 8))
    for gate in weights.hidden.split(8):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(8))
    bound = (6 / (5 + 8)) ** 0.5
    assert 0.9 * bound < weights.input.abs().max() <= bound
    forget = [0.0] * 8 + [1.0] * 8 + [0.0] * 16 if cell == "lstm" else [0.0] * 24
    assert weights.input_bias.tolist() == forget
    assert weights.hidden_bias.tolist() == [0.0] * 8 * gates


def test_refusal() -> None:
    with pytest.raises(UserError, match="cell=rnn is unknown; choose one of lstm, gru"):
        recurrent("rnn", 5, 8)
