"""Tests of the Transformer decoder: it equals PyTorch's decoder with copied weights."""

from __future__ import annotations

import pytest
import torch

from tests import oracles
from tests.attention.walk import close
from tests.catalogue import batch, model


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_equals_pytorch(norm: str) -> None:
    probe, data = model("model=transformer", "model.layers=2", f"model.norm={norm}"), batch()
    tokens, memory = data.target_in, probe.encoder(data).memory
    expected = oracles.decoder(probe.decoder, norm)(
        probe.decoder.embedding(tokens),
        memory.values,
        tgt_mask=torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1),
        tgt_key_padding_mask=tokens == 0,
        memory_key_padding_mask=~data.source_mask,
    )
    close(probe(data).features, expected)


def test_weights_of_every_slot() -> None:
    probe = model("model=transformer", "model.layers=2")
    weights = probe.decoder(batch().target_in, probe.decoder.start(probe.encoder(batch())), need_weights=True)[
        0
    ].weights
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    cross, own = (3, 4, 6, 7), (3, 4, 6, 6)
    assert shapes == {"cross.0": cross, "cross.1": cross, "decoder_self.0": own, "decoder_self.1": own}
    assert not weights["decoder_self.1"].triu(1).any()


def test_context_of_another_width_is_adapted() -> None:
    """The context of a mechanism without projections has the width of the memory."""
    probe = model("model=transformer", "encoder=rnn", "encoder.dim=6", "attention=additive")
    assert probe.decoder.layers[0].adapt.weight.shape == (8, 6)
    assert probe.log_probs(batch()).isfinite().all()


def test_only_the_last_layer_is_built_as_last() -> None:
    """A mechanism whose loss sums over alignments needs this: only the last layer can have that loss."""
    probe = model("model=transformer", "model.layers=3", attention="hard_marginal")
    assert [layer.attention.source.last for layer in probe.decoder.layers] == [False, False, True]
