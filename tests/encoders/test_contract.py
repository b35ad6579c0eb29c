"""Tests of the contract of encoders, for every encoder of text in ``conf/encoder`` (images: ``test_image.py``)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hydra.utils import get_class

from seq2seq.batch import Batch
from seq2seq.encoders.base import Encoder, SequenceEncoder
from tests.attention.test_laws_in_models import holdings
from tests.attention.walk import close
from tests.catalogue import batch, choices, config, model, noise

LENGTHS = (7, 5, 0, 2)
CLASSES = {name: get_class(config(f"encoder={name}").encoder["_target_"]) for name in choices("encoder")}
every_encoder = pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if kind.reads == "text"])


def build(name: str) -> Encoder:
    """Build the encoder of one file."""
    return model(f"encoder={name}").encoder


def sources(*lengths: int) -> Batch:
    """Return a batch whose sources consist of sentences of three words."""
    data = batch(lengths, (2,) * len(lengths))
    sentence = torch.arange(data.tokens.shape[1]).div(3, rounding_mode="floor")
    return replace(data, segments=sentence.expand_as(data.tokens).masked_fill(~data.source_mask, -1))


@every_encoder
def test_shapes_are_as_announced(name: str) -> None:
    ours, data = build(name), sources(*LENGTHS)
    encoded = ours(data)
    assert encoded.memory.values.shape == (4, 7, ours.source.width)
    assert encoded.hidden.shape == (4, ours.final_layers, ours.final_dim)
    assert torch.equal(encoded.memory.mask, data.source_mask)
    assert encoded.memory.extent.flatten().tolist() == list(LENGTHS)


@every_encoder
def test_padding_and_neighbours(name: str) -> None:
    """A source alone and without padding gets the states that it gets in the batch."""
    ours, data = build(name), sources(*LENGTHS)
    together = ours(data)
    assert not together.memory.values[~data.source_mask].any()
    for row, length in enumerate(LENGTHS):
        if length:
            assert data.segments is not None
            tokens, segments = (x[row : row + 1, :length] for x in (data.tokens, data.segments))
            alone = ours(Batch(tokens, data.index[:1], segments=segments))
            close(alone.memory.values[0], together.memory.values[row, :length])
            close(alone.hidden[0], together.hidden[row])


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if issubclass(kind, SequenceEncoder)])
def test_vectors_in_the_padding_are_not_read(name: str) -> None:
    ours, data = build(name), sources(*LENGTHS)
    assert isinstance(ours, SequenceEncoder)
    x = ours.embedding(data.tokens)
    changed = torch.where(data.source_mask.unsqueeze(-1), x, 100.0)
    plain, other = (ours.encode(vectors, data.source_mask) for vectors in (x, changed))
    close(other.memory.values, plain.memory.values)
    close(other.hidden, plain.hidden)


@every_encoder
def test_a_source_without_tokens_gives_zeros(name: str) -> None:
    encoded = build(name)(sources(*LENGTHS))
    assert not encoded.memory.values[2].any()
    assert not encoded.hidden[2].any()


@every_encoder
def test_every_parameter_learns(name: str) -> None:
    ours = build(name).train()
    encoded = ours(sources(*LENGTHS))
    outputs = [encoded.memory.values, encoded.hidden]
    total = torch.stack([(output * noise(*output.shape, seed=3)).sum() for output in outputs]).sum()
    names, parameters = zip(*ours.named_parameters(), strict=True)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    assert [name for name, grad in zip(names, gradients, strict=True) if grad is None or not grad.any()] == []


@every_encoder
def test_calls_store_nothing_on_the_encoder(name: str) -> None:
    probe = model(f"encoder={name}")
    held, first = holdings(probe), probe.encoder(sources(*LENGTHS)).memory.values
    probe.encoder(sources(3, 9))
    assert holdings(probe) == held
    assert torch.equal(probe.encoder(sources(*LENGTHS)).memory.values, first)
