"""What encoders of images have in common: a grid of cells, row by row, and where they stand.

Shapes: B captions, N images of F frames, h rows and w columns of pixels, S cells of the grid, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.types import AttentionOutput, Memory, SourceSpec
from seq2seq.batch import Batch, ImageBatch
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.errors import UserError
from seq2seq.layers.positions import Sinusoidal

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of photographs (ImageNet), by which RGB is made to have mean 0 and deviation 1."""


class GridEncoder(Encoder):
    """Base of encoders that turn an image into a grid with a cell for each ``stride`` x ``stride`` pixels.

    The memory holds the cells row by row, those that show nothing but padding last; their positions are (row, column),
    the extent is (rows, columns). ``hidden`` (B, 1, D) is their mean.
    """

    reads = "image"
    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.source = SourceSpec(dim, axes=2, states="normalised")
        self.final_dim, self.final_layers = dim, 1
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Encode ``batch.images``, each once."""
        images = shown(batch)
        if images.pixels.shape[1] > 1:
            raise UserError(
                "these images have several frames: choose the encoder for videos, or frames=null of the images"
            )
        grid, memory, slots = self.look(images, need_weights)
        values = grid * memory.mask.unsqueeze(-1)
        mean = values.sum(1, keepdim=True) / memory.mask.sum(1).clamp(min=1)[:, None, None]
        return for_captions(EncoderOutput.of(replace(memory, values=values), mean, slots), images.rows)

    def pixels_at(self, pixels: Tensor, row: int, column: int) -> Tensor:
        """Return the square of a cell, in all frames."""
        side = self.stride
        return pixels[..., row * side : (row + 1) * side, column * side : (column + 1) * side]

    def grid_extent(self, height: int, width: int) -> tuple[float, float]:
        """Return the rows and columns of the grid that an image of ``height`` x ``width`` pixels takes."""
        return height / self.stride, width / self.stride

    def look(self, images: ImageBatch, need_weights: bool) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """``encode`` of the images' first frames."""
        return self.encode(self.normalised(images), images.sizes[:, 1:], need_weights)

    def normalised(self, images: ImageBatch) -> Tensor:
        """The first frame of each image: (N, 3, h, w), 0 where it is padded, h and w multiples of the stride."""
        x = (images.pixels[:, 0].float() / 255.0 - self.mean) / self.std
        height, width = x.shape[2:]
        x = x * inside(images.sizes[:, 1:], height, width).unsqueeze(1)
        return F.pad(x, (0, -width % self.stride, 0, -height % self.stride))

    @abstractmethod
    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """x (N, 3, h, w), sizes (N, 2) real rows and columns of pixels -> cells (N, S, D), and where they stand."""


def shown(batch: Batch) -> ImageBatch:
    """The images of a batch, which has to have some."""
    if batch.images is None:
        raise UserError(
            "this encoder looks at images, and the data are text: choose an encoder of text (rnn, transformer)"
        )
    return batch.images


def inside(sizes: Tensor, height: int, width: int) -> Tensor:
    """(N, height, width) bool: what is no padding; sizes (N, 2)."""
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows.unsqueeze(2) & columns.unsqueeze(1)


def cells(grid: Tensor, extent: Tensor) -> Memory:
    """grid (N, D, rows, columns), extent (N, 2) -> a memory of its cells, the real ones first, row by row."""
    real = inside(extent, *grid.shape[2:]).flatten(1)
    order = torch.sort((~real).to(torch.uint8), dim=1, stable=True).indices[:, : int(real.sum(1).max())]  # (N, S)
    places = torch.stack((order // grid.shape[3], order % grid.shape[3]), -1)
    values = grid.flatten(2).mT.gather(1, order.unsqueeze(-1).expand(-1, -1, grid.shape[1]))
    return Memory(values, real.gather(1, order), places, extent)


class PositionCodes(nn.Module):
    """Where each cell stands: half of the width tells the row and half the column, by sinusoids (Vaswani 2017,
    section 3.5).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 4:
            raise UserError(f"dim={dim} must be a multiple of 4: sines and cosines of a row and a column")
        self.axis = Sinusoidal(dim // 2)

    def forward(self, memory: Memory) -> Tensor:
        """(N, S, D) of a memory with positions (N, S, 2)."""
        row, column = (self.axis(memory.positions[..., axis], memory.values.dtype) for axis in (0, 1))
        return torch.cat((row, column), -1)


def for_captions(encoded: EncoderOutput, rows: Tensor) -> EncoderOutput:
    """What is of N images for B captions, ``rows`` (B,) the image of each."""
    weights = {name: each.index_select(0, rows) for name, each in encoded.weights.items()}
    penalties = {name: _first_of(each, rows) for name, each in encoded.penalties.items()}
    log_prob = None if encoded.log_prob is None else encoded.log_prob.index_select(0, rows)
    return replace(encoded.select(rows), weights=weights, penalties=penalties, log_prob=log_prob)


def _first_of(x: Tensor, rows: Tensor) -> Tensor:
    """(N,) -> (B,): what is reported of an image counts once, for the first of its captions."""
    first = torch.cat((rows.new_ones(1, dtype=torch.bool), rows[1:] != rows[:-1]))
    return x.index_select(0, rows) * first
