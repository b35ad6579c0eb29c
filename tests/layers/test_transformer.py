"""Tests of the parts of a Transformer layer. Tests in encoders/ and decoders/ compare whole layers with PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seq2seq.errors import UserError
from seq2seq.layers.transformer import ACTIVATIONS, FeedForward, Residual, initialise
from tests.catalogue import noise, randomise


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_residual(norm: str) -> None:
    """x + f(norm(x)) with pre-norm, norm(x + f(x)) with post-norm; f is tanh."""
    residual, x = randomise(Residual(6, 0.0, norm).double()), noise(2, 3, 6)

    def normed(x: torch.Tensor) -> torch.Tensor:
        """Return the layer norm of x."""
        return F.layer_norm(x, (6,), residual.norm.weight, residual.norm.bias)

    expected = x + torch.tanh(normed(x)) if norm == "pre" else normed(x + torch.tanh(x))
    torch.testing.assert_close(residual.leave(x, torch.tanh(residual.enter(x))), expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward(activation: str) -> None:
    """The layer equals down(activation(up(x)))."""
    layer, x = randomise(FeedForward(4, 7, 0.0, activation).double()), noise(2, 3, 4)
    act = {"relu": nn.ReLU(), "gelu": nn.GELU(), "silu": nn.SiLU()}[activation]
    torch.testing.assert_close(layer(x), nn.Sequential(layer.up, act, layer.down)(x))


def test_initial_weights() -> None:
    """Biases are 0, and weights have Glorot's bound sqrt(6 / (in + out))."""
    layer = FeedForward(64, 256, 0.0, "relu")
    initialise(layer)
    bound = (6 / (64 + 256)) ** 0.5
    for part in (layer.up, layer.down):
        assert not part.bias.any()
        assert 0.99 * bound < part.weight.abs().max() <= bound


def test_refusals() -> None:
    with pytest.raises(UserError, match="norm=middle is unknown; choose pre or post"):
        Residual(4, 0.0, "middle")
    with pytest.raises(UserError, match="activation=swish is unknown; choose one of relu"):
        FeedForward(4, 7, 0.0, "swish")
