"""Base of encoders of images: a grid of cells, row by row, with the position of each cell.

Shapes: B captions, N images of F frames, h rows and w columns of pixels, S cells of the grid, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.types import AttentionOutput, Memory, SourceSpec
from seq2seq.batch import Batch, ImageBatch
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.errors import UserError
from seq2seq.layers.positions import Sinusoidal

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the RGB values of photographs (ImageNet), which normalise pixels."""


class GridEncoder(Encoder):
    """Base class of encoders of an image to a grid with one cell for each ``stride`` x ``stride`` pixels.

    The memory holds the cells row by row; cells of padding alone come last. Positions are (row, column), and the extent
    is (rows, columns). The summary (B, 1, D) is the mean of the cells.

    Args:
        dim: Width D of a cell.
        stride: Number of pixels along one side of a cell.

    Attributes:
        mean: Mean of each colour (3, 1, 1), subtracted from pixels in 0..1.
        std: Standard deviation of each colour (3, 1, 1), by which pixels are divided.
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

    @override
    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Encode each image of the batch once.

        Raises:
            UserError: The sources are text, or have several frames.
        """
        images = shown(batch)
        if images.pixels.shape[1] > 1:
            raise UserError(
                "the images have several frames; choose the encoder for videos, or set frames=null of the images"
            )
        grid, memory, slots = self.look(images, need_weights)
        # Set padding to 0, and take the mean over real cells.
        values = grid * memory.mask.unsqueeze(-1)
        mean = values.sum(1, keepdim=True) / memory.mask.sum(1).clamp(min=1)[:, None, None]
        return for_captions(EncoderOutput.of(replace(memory, values=values), mean, slots), images.rows)

    @override
    def pixels_at(self, pixels: Tensor, row: int, column: int) -> Tensor:
        """Return the square of pixels of a cell, in all frames."""
        side = self.stride
        return pixels[..., row * side : (row + 1) * side, column * side : (column + 1) * side]

    @override
    def grid_extent(self, height: int, width: int) -> tuple[float, float]:
        return height / self.stride, width / self.stride

    def look(self, images: ImageBatch, need_weights: bool) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """Encode the first frame of each image; subclasses override it to read stored features instead.

        Args:
            images: N images.
            need_weights: Whether to return the weights of self-attention.

        Returns:
            Cells (N, S, D), a memory that gives their mask and positions, and the output of self-attention in each
            layer.
        """
        return self.encode(self.normalised(images), images.sizes[:, 1:], need_weights)

    def normalised(self, images: ImageBatch) -> Tensor:
        """Return the normalised pixels of the first frame of each image.

        Args:
            images: N images.

        Returns:
            Pixels (N, 3, h, w), 0 at padding; h and w are multiples of the stride.
        """
        # Normalise colours, and set padding to 0.
        x = (images.pixels[:, 0].float() / 255.0 - self.mean) / self.std
        height, width = x.shape[2:]
        x = x * inside(images.sizes[:, 1:], height, width).unsqueeze(1)
        # Pad to multiples of the stride.
        return F.pad(x, (0, -width % self.stride, 0, -height % self.stride))

    @abstractmethod
    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """Encode normalised pixels to the cells of a grid.

        Args:
            x: Pixels (N, 3, h, w), 0 at padding; h and w are multiples of the stride.
            sizes: Rows and columns of pixels of each image without padding (N, 2) long.
            need_weights: Whether to return the weights of self-attention.

        Returns:
            Cells (N, S, D), a memory that gives their mask and positions, and the output of self-attention in each
            layer.
        """


def shown(batch: Batch) -> ImageBatch:
    """Return the images of a batch.

    Args:
        batch: Batch whose sources must be images.

    Raises:
        UserError: The sources are text.
    """
    if batch.images is None:
        raise UserError("the encoder reads images, but the data are text; choose an encoder of text (rnn, transformer)")
    return batch.images


def inside(sizes: Tensor, height: int, width: int) -> Tensor:
    """Return a mask of the elements of grids that are not padding.

    Args:
        sizes: Rows and columns of each grid without padding (N, 2).
        height: Rows of the padded grids.
        width: Columns of the padded grids.

    Returns:
        Mask (N, height, width) bool, True = real.
    """
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows.unsqueeze(2) & columns.unsqueeze(1)


def cells(grid: Tensor, extent: Tensor) -> Memory:
    """Return a memory of the cells of grids: real cells first, row by row.

    Args:
        grid: Grids (N, D, rows, columns).
        extent: Rows and columns of each grid without padding (N, 2).

    Returns:
        Memory (N, S, D) with positions (row, column).
    """
    real = inside(extent, *grid.shape[2:]).flatten(1)
    # Put real cells first, in their order, and keep as many cells as the largest image has.
    order = torch.sort((~real).to(torch.uint8), dim=1, stable=True).indices[:, : int(real.sum(1).max())]  # (N, S)
    places = torch.stack((order // grid.shape[3], order % grid.shape[3]), -1)
    values = grid.flatten(2).mT.gather(1, order.unsqueeze(-1).expand(-1, -1, grid.shape[1]))
    return Memory(values, real.gather(1, order), places, extent)


class PositionCodes(nn.Module):
    """Sinusoidal codes of the row and the column of each cell (Vaswani 2017, section 3.5).

    The first half of the width gives the row, the second half the column.

    Args:
        dim: Width D of a cell; a multiple of 4.

    Raises:
        UserError: ``dim`` is not a multiple of 4.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 4:
            raise UserError(f"dim={dim} must be a multiple of 4, for sines and cosines of the row and the column")
        self.axis = Sinusoidal(dim // 2)

    def forward(self, memory: Memory) -> Tensor:
        """Return the codes of the positions of a memory.

        Args:
            memory: Memory (N, S, D) with positions (N, S, 2).

        Returns:
            Codes (N, S, D).
        """
        row, column = (self.axis(memory.positions[..., axis], memory.values.dtype) for axis in (0, 1))
        return torch.cat((row, column), -1)


def for_captions(encoded: EncoderOutput, rows: Tensor) -> EncoderOutput:
    """Return the output of N images as the output of B captions.

    Penalties and log-probabilities of an image count once, for the first of its captions.

    Args:
        encoded: Output of an encoder for N images.
        rows: Number of the image of each caption (B,) long; captions of one image follow each other.
    """
    weights = {name: each.index_select(0, rows) for name, each in encoded.weights.items()}
    penalties = {name: _first_of(each, rows) for name, each in encoded.penalties.items()}
    log_prob = None if encoded.log_prob is None else encoded.log_prob.index_select(0, rows)
    return replace(encoded.select(rows), weights=weights, penalties=penalties, log_prob=log_prob)


def _first_of(x: Tensor, rows: Tensor) -> Tensor:
    """Return values (N,) of images as values (B,) of captions; captions after the first of an image get 0."""
    first = torch.cat((rows.new_ones(1, dtype=torch.bool), rows[1:] != rows[:-1]))
    return x.index_select(0, rows) * first
