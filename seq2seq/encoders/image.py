"""Encoders of pictures: a grid of vectors from a residual network or from patches, and a vector a frame.

Shapes: B captions, N pictures of F frames, h rows and w columns of pixels, S cells of the grid, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attended, AttentionFactory, Memory, SourceSpec
from seq2seq.batch import Batch, Pictures
from seq2seq.encoders.base import Encoded, Encoder
from seq2seq.encoders.transformer import EncoderLayer
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.positions import Sinusoidal
from seq2seq.layers.stack import Stack

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of photographs (ImageNet), by which RGB is made to have mean 0 and deviation 1."""


class GridEncoder(Encoder):
    """Base of encoders that turn a picture into a grid with a cell for each ``stride`` x ``stride`` pixels.

    The memory holds the cells row by row, those that show nothing but padding last; their positions are (row, column),
    the extent is (rows, columns). ``hidden`` (B, 1, D) is their mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.source = SourceSpec(dim, axes=2)
        self.final_dim, self.final_layers = dim, 1
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, batch: Batch, *, need_weights: bool = False) -> Encoded:
        """Encodes ``batch.pictures``, each once."""
        pictures = shown(batch)
        if pictures.pixels.shape[1] > 1:
            raise UserError("these pictures have several frames: choose encoder=clip, or data.images.frames=null")
        grid, memory, slots = self.look(pictures, need_weights)
        values = grid * memory.mask.unsqueeze(-1)
        mean = values.sum(1, keepdim=True) / memory.mask.sum(1).clamp(min=1)[:, None, None]
        return _for_captions(Encoded.of(replace(memory, values=values), mean, slots), pictures.rows)

    def look(self, pictures: Pictures, need_weights: bool) -> tuple[Tensor, Memory, Sequence[Attended]]:
        """``encode`` of the pictures' first frames."""
        return self.encode(self.normalised(pictures), pictures.sizes[:, 1:], need_weights)

    def normalised(self, pictures: Pictures) -> Tensor:
        """The first frame of each picture: (N, 3, h, w), 0 where it is padded, h and w multiples of the stride."""
        x = (pictures.pixels[:, 0].float() / 255.0 - self.mean) / self.std
        height, width = x.shape[2:]
        x = x * inside(pictures.sizes[:, 1:], height, width).unsqueeze(1)
        return F.pad(x, (0, -width % self.stride, 0, -height % self.stride))

    @abstractmethod
    def encode(self, x: Tensor, sizes: Tensor, need_weights: bool = False) -> tuple[Tensor, Memory, Sequence[Attended]]:
        """x (N, 3, h, w), sizes (N, 2) real rows and columns of pixels -> cells (N, S, D), and where they stand."""


def shown(batch: Batch) -> Pictures:
    """The pictures of a batch, which has to have some."""
    if batch.pictures is None:
        raise UserError("this encoder looks at pictures, and the data are text: choose encoder=rnn or transformer")
    return batch.pictures


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


class Places(nn.Module):
    """Where each cell stands: half of the width tells the row and half the column, by sinusoids (Vaswani 2017,
    section 3.5).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 4:
            raise UserError(f"encoder.dim={dim} must be a multiple of 4: sines and cosines of a row and a column")
        self.axis = Sinusoidal(dim // 2)

    def forward(self, memory: Memory) -> Tensor:
        """(N, S, D) of a memory with positions (N, S, 2)."""
        row, column = (self.axis(memory.positions[..., axis], memory.values.dtype) for axis in (0, 1))
        return torch.cat((row, column), -1)


def _for_captions(encoded: Encoded, rows: Tensor) -> Encoded:
    """What is of N pictures for B captions, ``rows`` (B,) the picture of each."""
    weights = {name: each.index_select(0, rows) for name, each in encoded.weights.items()}
    penalties = {name: _first_of(each, rows) for name, each in encoded.penalties.items()}
    log_prob = None if encoded.log_prob is None else encoded.log_prob.index_select(0, rows)
    return replace(encoded.select(rows), weights=weights, penalties=penalties, log_prob=log_prob)


def _first_of(x: Tensor, rows: Tensor) -> Tensor:
    """(N,) -> (B,): what is reported of a picture counts once, for the first of its captions."""
    first = torch.cat((rows.new_ones(1, dtype=torch.bool), rows[1:] != rows[:-1]))
    return x.index_select(0, rows) * first


class Residual(nn.Module):
    """x + f(x), f two convolutions, each after a norm and ReLU (He 2016, arXiv:1603.05027, figure 1b).

    Where sides are halved, the first one is 4 x 4 and the shortcut takes means of 2 x 2 (He 2019, arXiv:1812.01187,
    section 4), so that a cell stays in the middle of the pixels that it stands for.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norm(width) for width in (inputs, outputs))
        self.convolutions = nn.ModuleList((_convolution(inputs, outputs, stride), _convolution(outputs, outputs, 1)))
        plain = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity()
        if not plain:
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor, before: Padding, after: Padding) -> Tensor:
        """(N, C, h, w) -> (N, C', h', w'); ``before`` and ``after`` keep the padding of both sizes at 0."""
        y = before(torch.relu(self.norms[0](x)))
        short = self.shortcut(x if isinstance(self.shortcut, nn.Identity) else y)
        y = after(torch.relu(self.norms[1](after(self.convolutions[0](y)))))
        return after(short + self.convolutions[1](y))


@dataclass(frozen=True)
class Padding:
    """Puts 0 where pictures of ``sizes`` (N, 2) are padded."""

    sizes: Tensor
    real: Tensor | None  # (N, 1, h, w) bool; None where nothing is padded

    @staticmethod
    def of(sizes: Tensor, height: int, width: int) -> Padding:
        """Of (N, C, height, width); a GPU is not asked whether there is any, since it had to be waited for."""
        whole = sizes.device.type == "cpu" and bool((sizes == sizes.new_tensor((height, width))).all())
        return Padding(sizes, None if whole else inside(sizes, height, width).unsqueeze(1))

    def halved(self) -> Padding:
        """Where sides are halved."""
        sizes = (self.sizes + 1) // 2
        if self.real is None:
            return Padding(sizes, None)
        return Padding(sizes, inside(sizes, *(-(-side // 2) for side in self.real.shape[2:])).unsqueeze(1))

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, h, w)."""
        return x if self.real is None else x * self.real


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    """Of 3 x 3, or of 4 x 4 where it halves the sides."""
    return nn.Conv2d(inputs, outputs, 2 + stride, stride, 1, bias=False)


class LayerNorm2d(nn.LayerNorm):
    """Normalises the channels of each place by themselves (Ba 2016, arXiv:1607.06450; for pictures Liu 2022,
    arXiv:2201.03545, section 2.6): (N, C, h, w) -> the same shape.

    Statistics of a whole picture would tell each cell what else is in it; so a cell knows its surroundings alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """On channels last, which is how convolutions leave them."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "layer": LayerNorm2d}


class CNNEncoder(GridEncoder):
    """A residual network (He 2016), from scratch: a stage for each of ``channels``, each halving the grid's sides.

    ``blocks`` is the number of residual blocks of a stage after the first, which is one convolution. ``norm: batch``
    (Ioffe & Szegedy 2015, arXiv:1502.03167) learns photographs several times faster than ``layer``
    (``LayerNorm2d``); padding counts in its statistics. ``positions`` adds to each cell where it stands, which
    convolutions tell near the edges only: half of the width the row, half the column, by sinusoids.
    """

    def __init__(
        self,
        vocabulary: int | None,
        *,
        dim: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 2,
        norm: str = "batch",
        positions: bool = True,
        dropout: float = 0.0,
    ) -> None:
        if norm not in NORMS:
            raise UserError(f"encoder.norm={norm} is none of: {', '.join(NORMS)}")
        if len(channels) < 2 or blocks < 1 or any(width < 1 for width in channels):
            raise UserError("encoder.channels needs two widths or more, and encoder.blocks at least 1")
        super().__init__(dim, 2 ** len(channels))
        self.stem = _convolution(3, channels[0], 2)
        self.stages = Stack(
            Stack(
                Residual(width if block else before, width, 1 if block else 2, NORMS[norm]) for block in range(blocks)
            )
            for before, width in pairwise(channels)
        )
        self.norm = NORMS[norm](channels[-1])
        self.project = nn.Conv2d(channels[-1], dim, 1)
        self.places = Places(dim) if positions else None
        self.dropout = Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def encode(self, x: Tensor, sizes: Tensor, need_weights: bool = False) -> tuple[Tensor, Memory, Sequence[Attended]]:
        """A cell sees its surroundings, and no padding."""
        padding = Padding.of(sizes, *x.shape[2:]).halved()
        x = padding(self.stem(x.contiguous(memory_format=torch.channels_last)))
        for stage in self.stages:
            for place, block in enumerate(stage):
                before, padding = padding, padding if place else padding.halved()
                x = block(x, before, padding)
        memory = cells(self.project(torch.relu(self.norm(x))), padding.sizes)
        values = memory.values if self.places is None else memory.values + self.places(memory)
        return self.dropout(values), memory, ()


class PatchEncoder(GridEncoder):
    """Patches of ``patch`` x ``patch`` pixels, projected, with their places, through a Transformer
    (Dosovitskiy 2021, arXiv:2010.11929, section 3.1; without its class token, since cells are what is attended to).

    ``Places`` tell where they are, which any size of picture has.
    """

    def __init__(
        self,
        vocabulary: int | None,
        *,
        dim: int,
        self_attention: AttentionFactory,
        patch: int = 16,
        layers: int = 3,
        ff_dim: int = 1024,
        dropout: float = 0.1,
        norm: str = "pre",
        activation: str = "relu",
    ) -> None:
        if patch < 1:
            raise UserError(f"encoder.patch={patch} must be at least 1")
        super().__init__(dim, patch)
        self.patches = nn.Conv2d(3, dim, patch, patch)
        self.places = Places(dim)
        self.dropout = Dropout(dropout)
        inner = SourceSpec(dim, axes=2, is_self=True)
        self.layers = Stack(
            EncoderLayer(inner, self_attention, ff_dim, dropout, norm, activation) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()

    def encode(self, x: Tensor, sizes: Tensor, need_weights: bool = False) -> tuple[Tensor, Memory, Sequence[Attended]]:
        """Patches that attend to each other."""
        memory = cells(self.patches(x), -(-sizes // self.stride))
        values = self.dropout(memory.values + self.places(memory))
        slots = []
        for layer in self.layers:
            values, attended = layer(values, memory, need_weights)
            slots.append(attended)
        return self.norm(values), memory, slots


GridFactory = Callable[[int | None], GridEncoder]


class ClipEncoder(Encoder):
    """A vector a frame, the mean of its grid, in their order: what temporal attention reads (Yao 2015,
    section 3.1).
    """

    def __init__(self, vocabulary: int | None, *, frames: GridFactory) -> None:
        super().__init__()
        self.frames = frames(vocabulary)
        dim = self.frames.source.width
        self.source = SourceSpec(dim)
        self.final_dim, self.final_layers = dim, 1

    def forward(self, batch: Batch, *, need_weights: bool = False) -> Encoded:
        """Memory (B, F, D) along time; hidden (B, 1, D), the mean of the frames."""
        pictures = shown(batch)
        alone = torch.arange(len(pictures.pixels), device=pictures.rows.device)
        stills = (replace(pictures, pixels=frame, rows=alone) for frame in pictures.pixels.split(1, 1))
        each = [self.frames(replace(batch, pictures=still)) for still in stills]
        values = torch.cat([frame.hidden for frame in each], 1)
        real = torch.arange(values.shape[1], device=values.device) < pictures.sizes[:, :1]
        values = values * real.unsqueeze(-1)
        mean = values.sum(1, keepdim=True) / real.sum(1).clamp(min=1)[:, None, None]
        found = reduce(Encoded.reporting, each, Encoded(Memory.of(values, real), mean))
        return _for_captions(found, pictures.rows)
