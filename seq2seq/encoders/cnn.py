"""A residual network from scratch.

Shapes: N images, C channels, h rows and w columns, S cells of the grid, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from seq2seq.attention.types import AttentionOutput, Memory
from seq2seq.config.ranges import Layers, Share, Width
from seq2seq.encoders.image import GridEncoder, PositionCodes, cells, inside
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.stack import Stack


class ResidualBlock(nn.Module):
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
    """Puts 0 where images of ``sizes`` (N, 2) are padded."""

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
    """Normalises the channels of each place by themselves (Ba 2016, arXiv:1607.06450; for images Liu 2022,
    arXiv:2201.03545, section 2.6): (N, C, h, w) -> the same shape.

    Statistics of a whole image would tell each cell what else is in it; so a cell knows its surroundings alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """On channels last, which is how convolutions leave them."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "layer": LayerNorm2d}


class CNNEncoder(GridEncoder):
    """A residual network (He 2016), from scratch: a stage for each of ``channels``, each halving the grid's sides.

    ``blocks`` is the number of residual blocks of a stage after the first, which is one convolution. ``norm`` is
    ``batch`` (Ioffe & Szegedy 2015, arXiv:1502.03167; padding counts in its statistics) or ``layer`` (``LayerNorm2d``).
    ``positions`` adds to each cell where it stands, which convolutions tell near the edges only: half of the width the
    row, half the column, by sinusoids.
    """

    def __init__(
        self,
        vocabulary: int | None,
        *,
        dim: Width,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: Layers = 2,
        norm: str = "batch",
        positions: bool = True,
        dropout: Share = 0.0,
    ) -> None:
        if norm not in NORMS:
            raise UserError(f"norm={norm} is none of: {', '.join(NORMS)}")
        if len(channels) < 2 or blocks < 1 or any(width < 1 for width in channels):
            raise UserError(f"channels={list(channels)} must be two widths or more, and blocks={blocks} at least 1")
        super().__init__(dim, 2 ** len(channels))
        self.stem = _convolution(3, channels[0], 2)
        self.stages = Stack(
            Stack(
                ResidualBlock(width if block else before, width, 1 if block else 2, NORMS[norm])
                for block in range(blocks)
            )
            for before, width in pairwise(channels)
        )
        self.norm = NORMS[norm](channels[-1])
        self.project = nn.Conv2d(channels[-1], dim, 1)
        self.places = PositionCodes(dim) if positions else None
        self.dropout = Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
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
