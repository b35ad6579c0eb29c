"""Transformer encoder of the patches of an image.

Shapes: N images, h rows and w columns of pixels, S cells of the grid, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.base import AttentionFactory
from seq2seq.attention.types import AttentionOutput, Memory, SourceSpec
from seq2seq.config.ranges import Count, Layers, Share, Width
from seq2seq.encoders.image import GridEncoder, PositionCodes, cells
from seq2seq.encoders.transformer import EncoderLayer
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.stack import Stack


class PatchEncoder(GridEncoder):
    """Transformer over patches of ``patch`` x ``patch`` pixels (Dosovitskiy 2021, arXiv:2010.11929, section 3.1).

    Patches are projected to the width D, and ``PositionCodes`` are added, which exist for images of any size. There is
    no class token, because attention reads the cells themselves.

    Args:
        vocabulary: Not used, since the sources are images.
        dim: Width D of a cell; a multiple of 4.
        self_attention: Factory of the self-attention mechanism of each layer.
        patch: Number of pixels along one side of a patch.
        layers: Number of layers.
        ff_dim: Width of the hidden layer of the feed-forward networks.
        dropout: Dropout probability.
        norm: Order of norm and residual connection: "pre" or "post".
        activation: Activation of the feed-forward networks: "relu", "gelu" or "silu".

    Raises:
        UserError: ``patch`` is less than 1, or ``dim`` is not a multiple of 4.
    """

    def __init__(
        self,
        vocabulary: int | None,
        *,
        dim: Width,
        self_attention: AttentionFactory,
        patch: Count = 16,
        layers: Layers = 3,
        ff_dim: Width = 1024,
        dropout: Share = 0.1,
        norm: str = "pre",
        activation: str = "relu",
    ) -> None:
        if patch < 1:
            raise UserError(f"patch={patch} must be at least 1")
        super().__init__(dim, patch)
        self.patches = nn.Conv2d(3, dim, patch, patch)
        self.places = PositionCodes(dim)
        self.dropout = Dropout(dropout)
        inner = SourceSpec(dim, axes=2, is_self=True, states="normalised")
        self.layers = Stack(
            EncoderLayer(inner, self_attention, ff_dim, dropout, norm, activation) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()

    @override
    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """Encode patches that attend to each other."""
        # Project patches to cells, and add positions.
        memory = cells(self.patches(x), -(-sizes // self.stride))
        values = self.dropout(memory.values + self.places(memory))
        # Let cells attend to each other.
        slots = []
        for layer in self.layers:
            values, attended = layer(values, memory, need_weights)
            slots.append(attended)
        return self.norm(values), memory, slots
