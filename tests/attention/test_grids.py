"""Tests of all mechanisms over the grid of an image: they obey the laws of attention, or are refused with a reason.

Shapes: B captions, T target tokens, S cells.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq
from tests.attention.test_laws_in_models import read
from tests.attention.walk import close
from tests.catalogue import choices, model
from tests.encoders.test_image import shown
from tests.sampling import mostly_slow

ORDERED = {
    *(
        "adaptive_span",
        "first_order",
        "gmm",
        "hierarchical",
        "local_m",
        "location",
        "location_only",
        "location_aware",
        "memory",
        "memory_network",
        "mocha",
        "monotone_marginal",
        "monotonic",
    ),
    "none",  # reads the last position
}
"""Mechanisms that need an order in time or sentences. (Filters of location-aware attention run along time.)"""
SIZES = ((16, 16), (16, 10), (9, 16))  # in pixels; a cell has 4 x 4 pixels
every_decoder = pytest.mark.parametrize("family", ["rnn", "transformer"])


def captioner(attention: str, family: str) -> Seq2Seq:
    """Return a model that describes images with this attention and decoder."""
    layers = ["model.layers=2"] if family == "transformer" else []
    return model(f"model={family}", "encoder=cnn8", "encoder.channels=[8,8]", *layers, attention=attention)


def image_batch(*sizes: tuple[int, int]) -> Batch:
    """Return a batch of images of these sizes with captions."""
    target = torch.tensor([[BOS, 5, 6, 7, 8, EOS], [BOS, 9, 5, EOS, PAD, PAD], [BOS, 4, 4, 10, EOS, PAD]])
    batch = shown(*sizes, side=16)
    return replace(batch, target=target[: len(sizes)], target_tokens=int((target[: len(sizes), 1:] != PAD).sum()))


@every_decoder
@pytest.mark.parametrize("name", mostly_slow(choices("attention"), every=4))
def test_mechanism_obeys_laws_over_a_grid_or_is_refused(name: str, family: str) -> None:
    try:
        ours = captioner(name, family)
    except UserError as error:
        assert name in ORDERED and any(word in str(error) for word in ("time", "order", "regions", "sections")), error
        return
    assert name not in ORDERED
    batch = image_batch(*SIZES)
    whole, _ = read(ours, batch, 5)
    stepwise, weights = read(ours, batch, 1, 1, 1, 1, 1, need_weights=True)
    real = batch.target_mask.unsqueeze(2)
    close(whole.masked_fill(~real, 0), stepwise.masked_fill(~real, 0))
    alone, _ = read(ours, replace(image_batch(SIZES[0]), index=torch.tensor([0])), 5)
    close(whole[:1], alone)  # independent of other images and padding
    mask = ours.encode(batch).memory.mask
    for slot, shown_weights in weights.items():
        if slot.startswith("cross."):
            assert (
                shown_weights.shape[-1] == mask.shape[1]
                and (shown_weights.masked_select(~mask[:, None, None].expand_as(shown_weights)) == 0).all()
            )
    ours.train()
    decoded = ours(batch)
    total = ours.decoder.log_probs(decoded).masked_fill(~real, 0).sum()
    total.backward()
    learnt = [p.grad for p in ours.encoder.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in learnt)
    assert any(grad.abs().sum() > 0 for grad in learnt)
