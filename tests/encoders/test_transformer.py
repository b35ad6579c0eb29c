"""Tests of the Transformer encoder: it equals PyTorch's encoder with copied weights."""

from __future__ import annotations

import pytest

from tests import oracles
from tests.attention.walk import close
from tests.catalogue import batch, model


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_equals_pytorch(norm: str, activation: str) -> None:
    overrides = ["model=transformer", "model.layers=2", f"model.norm={norm}", f"model.activation={activation}"]
    ours, data = model(*overrides).encoder, batch()
    theirs = oracles.encoder(ours, norm, activation)
    outputs = theirs(ours.embedding(data.source), src_key_padding_mask=~data.source_mask)
    close(ours(data).memory.values, outputs * data.source_mask.unsqueeze(-1))


def test_summary_is_the_mean_of_the_real_positions() -> None:
    encoded = model("model=transformer").encoder(batch(sources=(5, 0, 2)))
    assert not encoded.hidden[1].any()
    close(encoded.hidden[2, 0], encoded.memory.values[2, :2].mean(0))


def test_weights_of_every_layer() -> None:
    encoded = model("model=transformer", "model.layers=2").encoder(batch(), need_weights=True)
    assert {name: weights.shape for name, weights in encoded.weights.items()} == {
        "encoder_self.0": (3, 4, 7, 7),
        "encoder_self.1": (3, 4, 7, 7),
    }
