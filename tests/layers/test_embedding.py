"""Tests of token embeddings and of the positions that are added to them."""

from __future__ import annotations

import pytest
import torch

from seq2seq.batch import PAD
from seq2seq.errors import UserError
from seq2seq.layers.embedding import POSITIONS, TokenEmbedding, relative
from seq2seq.layers.positions import Sinusoidal

TOKENS = torch.tensor([[5, 2, PAD], [7, 7, 1]])


def test_scaled_with_sinusoids() -> None:
    """The layer returns sqrt(16) table[token] + sinusoidal(t)."""
    layer = TokenEmbedding(9, 16, scale=True, positions="sinusoidal").double()
    expected = 4 * layer.table.weight[TOKENS] + Sinusoidal(16)(torch.arange(3), torch.float64)
    torch.testing.assert_close(layer(TOKENS), expected)


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_relative_positions_are_not_added(positions: str) -> None:
    """Embeddings equal the rows of the table; scores add rotary positions and ALiBi."""
    layer = TokenEmbedding(9, 6, positions=positions)
    assert torch.equal(layer(TOKENS), layer.table.weight[TOKENS])
    assert relative(positions) == positions


@pytest.mark.parametrize("positions", POSITIONS)
def test_positions_begin_at_start(positions: str) -> None:
    """With ``start``, a part of the sequence gets the embeddings that it has in the whole sequence."""
    layer = TokenEmbedding(9, 6, positions=positions, max_length=3)
    torch.testing.assert_close(layer(TOKENS[:, 1:], start=1), layer(TOKENS)[:, 1:])


def test_padding_is_zero_and_gets_no_gradient() -> None:
    layer = TokenEmbedding(9, 6)
    layer(TOKENS).sum().backward()
    assert not layer.table.weight[PAD].any()
    assert not layer.table.weight.grad[PAD].any()


def test_dropout_in_training_only() -> None:
    """Training has more zeros than evaluation."""
    layer = TokenEmbedding(9, 6, dropout=0.5)
    assert (layer(TOKENS) == 0).float().mean() > (layer.eval()(TOKENS) == 0).float().mean()


def test_refusals() -> None:
    with pytest.raises(UserError, match="positions=absolute is unknown; choose one of none, sinusoidal"):
        TokenEmbedding(9, 6, positions="absolute")
    with pytest.raises(UserError, match="4 tokens is longer than the 3 learned positions"):
        TokenEmbedding(9, 6, positions="learned", max_length=3)(TOKENS, start=1)
