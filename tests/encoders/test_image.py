"""Tests of encoders of images: the positions and contents of cells, and that neighbours and padding change nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from seq2seq.batch import Batch, ImageBatch
from seq2seq.cli.hydra_app import compose
from seq2seq.config.instantiate import build_node
from seq2seq.data.collate import filler
from seq2seq.encoders.cnn import CNNEncoder, Padding
from seq2seq.encoders.image import cells, inside
from seq2seq.errors import UserError
from seq2seq.model import build
from tests.attention.walk import close

SIZES = ((32, 32), (32, 20), (9, 32))
STRIDE = 8


def shown(*sizes: tuple[int, int], frames: int = 1, side: int = 32, rows: list[int] | None = None) -> Batch:
    """Return random images padded to a square; ``rows`` is the image of each caption (default: one caption each)."""
    pixels = torch.zeros(len(sizes), frames, 3, side, side, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(1)
    for place, (height, width) in enumerate(sizes):
        new = torch.randint(0, 256, (frames, 3, height, width), generator=generator, dtype=torch.uint8)
        pixels[place, :, :, :height, :width] = new
    rows = list(range(len(sizes))) if rows is None else rows
    real = torch.tensor([(frames, *size) for size in sizes])
    return Batch(None, torch.arange(len(rows)), images=ImageBatch(pixels, real, torch.tensor(rows)))


def encoder(name: str, *overrides: str) -> Any:
    """Return a small encoder in evaluation mode."""
    return copy.deepcopy(built(name, *overrides))


@cache
def built(name: str, *overrides: str) -> Any:
    """Build a small encoder once; copy it before changing it."""
    model = "transformer" if name == "patches" else "rnn"
    sizes = ["model.dim=16", "model.dropout=0", f"model={model}", "data=toy_captioning"]
    more = ["encoder.patch=8", "model.ff_dim=16", "model.layers=2"] if name == "patches" else []
    more += ["encoder.channels=[16,16,16]"] if name in ("cnn", "cnn8") else []
    more += ["encoder.frames.channels=[16,16,16]"] if name == "video" else []
    (config,) = compose("train", [f"encoder={name}", *sizes, *more, *overrides])
    torch.manual_seed(0)
    return build_node(config.encoder, 0).double().eval()


grids = pytest.mark.parametrize("name", ["cnn", "cnn8", "patches"])  # batch norm and layer norm


@grids
def test_cells_are_ordered_by_row_and_followed_by_padding(name: str) -> None:
    memory = encoder(name)(shown(*SIZES)).memory
    assert memory.extent.tolist() == [[4, 4], [4, 3], [2, 4]]
    assert memory.mask.sum(1).tolist() == [16, 12, 8]
    assert memory.positions[1, :12].tolist() == [[row, column] for row in range(4) for column in range(3)]
    assert memory.positions[2, :8].tolist() == [[row, column] for row in range(2) for column in range(4)]
    assert not memory.values[~memory.mask].any()


@grids
def test_neighbours_do_not_matter(name: str) -> None:
    """An image alone gets the states that it gets in the batch."""
    ours, data = encoder(name), shown(*SIZES)
    together = ours(data)
    for place, size in enumerate(SIZES):
        images = data.images
        alone = ImageBatch(images.pixels[[place]], images.sizes[[place]], torch.tensor([0]))
        found = ours(replace(data, index=torch.tensor([0]), images=alone))
        count = int(found.memory.mask.sum())
        close(found.memory.values[0, :count], together.memory.values[place, :count])
        close(found.hidden[0], together.hidden[place])
        assert size == tuple(images.sizes[place, 1:].tolist())


@grids
def test_pixels_in_the_padding_are_not_read(name: str) -> None:
    ours, data = encoder(name), shown(*SIZES)
    pixels = data.images.pixels.clone()
    pixels[1, ..., 20:], pixels[2, :, :, 9:] = 255, 255
    found = ours(replace(data, images=replace(data.images, pixels=pixels)))
    close(found.memory.values, ours(data).memory.values)


@grids
def test_captions_of_one_image_get_the_same_states(name: str) -> None:
    ours = encoder(name)
    once, shared = ours(shown(*SIZES)), ours(shown(*SIZES, rows=[2, 0, 0, 2, 1]))
    for row, image in enumerate([2, 0, 0, 2, 1]):
        close(shared.memory.values[row], once.memory.values[image])
        close(shared.hidden[row], once.hidden[image])


def test_images_without_padding_need_no_mask() -> None:
    """The cells without a mask equal those with a mask in which every pixel is real."""
    ours, data = encoder("cnn"), shown((32, 32), (32, 32))
    x, sizes = ours.normalised(data.images), data.images.sizes[:, 1:]
    assert Padding.of(sizes, 32, 32).real is None and Padding.of(sizes - 1, 32, 32).real is not None
    assert Padding.of(sizes, 40, 40).halved().real.sum() == 2 * 16 * 16
    plain = ours.encode(x, sizes)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Padding, "of", lambda sizes, h, w: Padding(sizes, inside(sizes, h, w).unsqueeze(1)))
        close(ours.encode(x, sizes)[0], plain)


def test_batch_norm_gives_finite_values_for_a_filler() -> None:
    """A batch norm in training accepts a filler batch of one image. An unknown norm is refused."""
    ours = encoder("cnn").train()
    assert ours(filler(has_images=True)).memory.values.isfinite().all()
    with pytest.raises(UserError, match="norm=group is unknown; choose one of batch, layer"):
        CNNEncoder(None, dim=8, norm="group")


def test_a_cell_reads_only_pixels_near_it() -> None:
    """With stride 8 and one block in each stage, a change in one corner doesn't reach the far half of the image."""
    ours, data = encoder("cnn8", "encoder.blocks=1"), shown((64, 64), side=64)
    pixels = data.images.pixels.clone()
    pixels[0, :, :, :4, :4] = 255 - pixels[0, :, :, :4, :4]
    changed = ours(replace(data, images=replace(data.images, pixels=pixels))).memory.values - ours(data).memory.values
    moved = changed[0].abs().sum(1).view(8, 8) > 0
    assert moved[0, 0] and not moved[4:].any() and not moved[:, 4:].any()


@pytest.mark.parametrize("channels", [[8, 8], [8, 8, 8], [8, 8, 8, 8]])
def test_a_cell_is_in_the_middle_of_its_pixels(channels: list[int]) -> None:
    """The centre of mass of a cell's squared gradient, averaged over random weights, is the centre of its square."""
    stride, side, centres = 2 ** len(channels), 16 * 2 ** len(channels), []
    for seed in range(12):
        torch.manual_seed(seed)
        ours = CNNEncoder(None, dim=8, channels=channels, blocks=1).double().eval()
        x = torch.randn(1, 3, side, side).double().requires_grad_()
        cells = ours.encode(x, torch.tensor([[side, side]]))[0]
        (grad,) = torch.autograd.grad(cells[0, 16 * 8 + 8].square().sum(), x)
        weight = grad[0].square().sum(0)
        place = torch.arange(side) + 0.5
        centres.append((weight.sum(1) @ place.double() / weight.sum()).item())
    assert abs(sum(centres) / len(centres) - 8.5 * stride) < 0.12 * stride


def test_patches_at_different_places_get_different_values() -> None:
    """All patches of a uniform image differ."""
    ours, data = encoder("patches"), shown((32, 32))
    flat = replace(data, images=replace(data.images, pixels=torch.full_like(data.images.pixels, 128)))
    values = ours(flat).memory.values[0]
    assert torch.cdist(values, values).fill_diagonal_(1.0).min() > 1e-3


def test_self_attention_weights_of_patches_are_returned() -> None:
    found = encoder("patches")(shown(*SIZES, rows=[1, 1, 0]), need_weights=True)
    assert set(found.weights) == {"encoder_self.0", "encoder_self.1"}
    weights = found.weights["encoder_self.0"]
    close(weights.sum(-1)[:, :, :12], torch.ones(3, 4, 12).double())
    assert weights[0].equal(weights[1]) and not weights[0, :, :, 12:].any()


def test_frames_are_positions_in_time() -> None:
    """A frame of a video gets the value that it gets as a single frame."""
    ours = encoder("video")
    data = shown(*SIZES, frames=3)
    sizes = data.images.sizes.clone()
    sizes[1, 0] = 2  # frames
    found = ours(replace(data, images=replace(data.images, sizes=sizes)))
    assert found.memory.positions.squeeze(-1)[0].tolist() == [0, 1, 2]
    assert found.memory.mask.tolist() == [[True] * 3, [True, True, False], [True] * 3]
    sizes = data.images.sizes.clamp(max=torch.tensor([1, 99, 99]))
    still = ours(replace(data, images=ImageBatch(data.images.pixels[:, 1:2], sizes, data.images.rows)))
    close(found.memory.values[:, 1], still.memory.values[:, 0])


def test_masks_of_cells() -> None:
    assert inside(torch.tensor([[2, 1]]), 3, 2).tolist() == [[[True, False], [True, False], [False, False]]]
    grid = torch.arange(6.0).view(1, 1, 3, 2)
    memory = cells(grid, torch.tensor([[2, 1]]))
    assert memory.values.flatten().tolist() == [0.0, 2.0]
    assert memory.positions.tolist() == [[[0, 0], [1, 0]]]


def test_all_parameters_learn() -> None:
    for name in ("cnn8", "patches", "video"):
        ours = encoder(name).train()
        ours(shown(*SIZES)).memory.values.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())


def test_the_wrong_kind_of_data_is_reported_in_one_line() -> None:
    text = Batch(torch.tensor([[5, 3]]), torch.tensor([0]))
    with pytest.raises(UserError, match="data are text; choose an encoder of text"):
        encoder("cnn8")(text)
    with pytest.raises(UserError, match="data are images; choose an encoder of images"):
        (config,) = compose("train", ["model.dim=16"])
        build(config, 9, 9).encoder(shown((32, 32)))
    with pytest.raises(UserError, match="several frames; choose the encoder for videos"):
        encoder("cnn8")(shown((32, 32), frames=2))
