"""Residual network that encodes images, trained from scratch.

Shapes: N images, C channels, h rows and w columns, S cells of the grid, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.types import AttentionOutput, Memory
from seq2seq.config.ranges import Layers, Share, Width
from seq2seq.encoders.image import GridEncoder, PositionCodes, cells, inside
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.stack import Stack


class ResidualBlock(nn.Module):
    """Residual block x + f(x), where f is norm, ReLU, convolution, twice (He 2016, arXiv:1603.05027, figure 1b).

    Where the block halves the sides, the first convolution is 4 x 4 and the shortcut takes means of 2 x 2 (He 2019,
    arXiv:1812.01187, section 4). Thus a cell stays in the middle of the pixels that it represents.

    Args:
        inputs: Number C of input channels.
        outputs: Number C' of output channels.
        stride: 2 to halve the sides, else 1.
        norm: Factory of a norm, from the number of channels.
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
        """Apply the block to feature maps.

        Args:
            x: Feature maps (N, C, h, w).
            before: Padding at the size of the input, which is kept at 0.
            after: Padding at the size of the output, which is kept at 0.

        Returns:
            Feature maps (N, C', h', w').
        """
        y = before(torch.relu(self.norms[0](x)))
        short = self.shortcut(x if isinstance(self.shortcut, nn.Identity) else y)
        y = after(torch.relu(self.norms[1](after(self.convolutions[0](y)))))
        return after(short + self.convolutions[1](y))


@dataclass(frozen=True)
class Padding:
    """Mask that sets the padding of feature maps to 0.

    Call it with feature maps (N, C, h, w).
    """

    sizes: Tensor  # (N, 2) rows and columns of each map without padding
    real: Tensor | None  # (N, 1, h, w) bool; None where nothing is padded

    @staticmethod
    def of(sizes: Tensor, height: int, width: int) -> Padding:
        """Build the mask of feature maps.

        On the CPU, no mask is made if nothing is padded. On a GPU this is not checked, because the host would wait for
        it.

        Args:
            sizes: Rows and columns of each map without padding (N, 2).
            height: Rows of the padded maps.
            width: Columns of the padded maps.
        """
        whole = sizes.device.type == "cpu" and bool((sizes == sizes.new_tensor((height, width))).all())
        return Padding(sizes, None if whole else inside(sizes, height, width).unsqueeze(1))

    def halved(self) -> Padding:
        """Return the mask of maps with halved sides; odd sides are rounded up."""
        sizes = (self.sizes + 1) // 2
        if self.real is None:
            return Padding(sizes, None)
        return Padding(sizes, inside(sizes, *(-(-side // 2) for side in self.real.shape[2:])).unsqueeze(1))

    def __call__(self, x: Tensor) -> Tensor:
        """Return x (N, C, h, w) with its padding set to 0."""
        return x if self.real is None else x * self.real


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    """Return a convolution of 3 x 3, or of 4 x 4 if stride 2 halves the sides."""
    return nn.Conv2d(inputs, outputs, 2 + stride, stride, 1, bias=False)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each position (Ba 2016, arXiv:1607.06450).

    It is used for images by Liu 2022 (arXiv:2201.03545, section 2.6). Statistics of the whole image would give each
    cell information about all other cells; with this norm a cell depends on its surroundings only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise feature maps, in the channels-last order in which convolutions leave them.

        Args:
            x: Feature maps (N, C, h, w).

        Returns:
            Feature maps (N, C, h, w).
        """
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "layer": LayerNorm2d}


class CNNEncoder(GridEncoder):
    """Residual network (He 2016), trained from scratch; each stage halves the sides of the grid.

    The first stage is one convolution. Each later stage has ``blocks`` residual blocks.

    Args:
        vocabulary: Not used, since the sources are images.
        dim: Width D of a cell.
        channels: Number of channels of each stage; a cell stands for 2^len(channels) pixels along one side.
        blocks: Number of residual blocks of each stage after the first.
        norm: "batch" (Ioffe & Szegedy 2015, arXiv:1502.03167; padding counts in its statistics) or "layer"
            (``LayerNorm2d``).
        positions: Whether to add ``PositionCodes``; convolutions know positions only near the edges.
        dropout: Dropout probability of the cells.

    Raises:
        UserError: ``norm`` is unknown, ``channels`` has fewer than two widths, or a number is less than 1.
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
            raise UserError(f"norm={norm} is unknown; choose one of {', '.join(NORMS)}")
        if len(channels) < 2 or blocks < 1 or any(width < 1 for width in channels):
            raise UserError(
                f"channels={list(channels)} must be two or more widths, and blocks={blocks} must be at least 1"
            )
        super().__init__(dim, 2 ** len(channels))
        # Build the stages; the first block of each stage halves the sides.
        self.stem = _convolution(3, channels[0], 2)
        self.stages = Stack(
            Stack(
                ResidualBlock(width if block else before, width, 1 if block else 2, NORMS[norm])
                for block in range(blocks)
            )
            for before, width in pairwise(channels)
        )
        # Build the projection to the width of the memory.
        self.norm = NORMS[norm](channels[-1])
        self.project = nn.Conv2d(channels[-1], dim, 1)
        self.places = PositionCodes(dim) if positions else None
        self.dropout = Dropout(dropout)
        # Initialise convolutions for ReLU, and store them in the order that is fastest.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    @override
    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """Encode each cell from its surroundings, without padding."""
        # Halve the sides in the first convolution, and in the first block of each stage.
        padding = Padding.of(sizes, *x.shape[2:]).halved()
        x = padding(self.stem(x.contiguous(memory_format=torch.channels_last)))
        for stage in self.stages:
            for place, block in enumerate(stage):
                before, padding = padding, padding if place else padding.halved()
                x = block(x, before, padding)
        # Project to the width of the memory, and add positions.
        memory = cells(self.project(torch.relu(self.norm(x))), padding.sizes)
        values = memory.values if self.places is None else memory.values + self.places(memory)
        return self.dropout(values), memory, ()
