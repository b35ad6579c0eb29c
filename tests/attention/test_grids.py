"""Every mechanism over the grid of an image, in both decoders: the laws hold, or it is refused with the reason.

Shapes: B captions, T target tokens, S cells.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seq2seq.batch import Batch
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq
from seq2seq.special_tokens import BOS, EOS, PAD
from tests.attention.test_laws_in_models import read
from tests.attention.walk import close
from tests.catalogue import choices, model
from tests.encoders.test_image import shown
from tests.sampling import mostly_slow

ORDERED = {
    *(
        "adaptive_span",
        "gmm",
        "hierarchical",
        "local_m",
        "location",
        "location_only",
        "location_aware",
        "memory",
        "memory_network",
        "mocha",
        "monotonic",
    ),
    "none",  # reads the last position
}
"""Those that read an order in time, or sentences; location-aware attention's filters run along time."""
SIZES = ((16, 16), (16, 10), (9, 16))  # of pixels; a cell has 4 x 4
every = pytest.mark.parametrize("family", ["rnn", "transformer"])


def captioner(attention: str, family: str) -> Seq2Seq:
    layers = ["model.layers=2"] if family == "transformer" else []
    return model(f"model={family}", "encoder=cnn8", "encoder.channels=[8,8]", *layers, attention=attention)


def asked(*sizes: tuple[int, int]) -> Batch:
    target = torch.tensor([[BOS, 5, 6, 7, 8, EOS], [BOS, 9, 5, EOS, PAD, PAD], [BOS, 4, 4, 10, EOS, PAD]])
    batch = shown(*sizes, side=16)
    return replace(batch, target=target[: len(sizes)], target_tokens=int((target[: len(sizes), 1:] != PAD).sum()))


@every
@pytest.mark.parametrize("name", mostly_slow(choices("attention"), every=4))
def test_laws_over_a_grid_or_a_reason(name: str, family: str) -> None:
    try:
        ours = captioner(name, family)
    except UserError as error:
        assert name in ORDERED and any(word in str(error) for word in ("time", "order", "regions", "sections")), error
        return
    assert name not in ORDERED
    batch = asked(*SIZES)
    whole, _ = read(ours, batch, 5)
    stepwise, weights = read(ours, batch, 1, 1, 1, 1, 1, need_weights=True)
    real = batch.target_mask.unsqueeze(2)
    close(whole.masked_fill(~real, 0), stepwise.masked_fill(~real, 0))
    alone, _ = read(ours, replace(asked(SIZES[0]), index=torch.tensor([0])), 5)
    close(whole[:1], alone)  # neighbours and their padding do not matter
    mask = ours.encode(batch).memory.mask
    for slot, told in weights.items():
        if slot.startswith("cross."):
            assert (
                told.shape[-1] == mask.shape[1]
                and (told.masked_select(~mask[:, None, None].expand_as(told)) == 0).all()
            )
    ours.train()
    decoded = ours(batch)
    total = ours.decoder.log_probs(decoded).masked_fill(~real, 0).sum()
    total.backward()
    learnt = [p.grad for p in ours.encoder.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in learnt)
    assert any(grad.abs().sum() > 0 for grad in learnt)
