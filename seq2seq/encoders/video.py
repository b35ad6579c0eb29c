"""Encoder of videos with one vector for each frame.

Shapes: B captions, N videos of F frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.batch import Batch
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.encoders.image import GridEncoder, for_captions, shown

GridFactory = Callable[[int | None], GridEncoder]


class VideoEncoder(Encoder):
    """Encoder of a video to one vector for each frame, in their order: the mean of the grid of the frame.

    Temporal attention reads this memory (Yao 2015, section 3.1).

    Args:
        vocabulary: Number of tokens, which is given to ``frames``.
        frames: Factory of the encoder of one frame.
    """

    reads = "video"

    def __init__(self, vocabulary: int | None, *, frames: GridFactory) -> None:
        super().__init__()
        self.frames = frames(vocabulary)
        dim = self.frames.source.width
        self.source = SourceSpec(dim, states=self.frames.source.states)
        self.final_dim, self.final_layers = dim, 1

    @override
    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Return the frames as memory (B, F, D) along time, and their mean (B, 1, D)."""
        # Encode frame after frame, as images.
        images = shown(batch)
        numbers = torch.arange(len(images.pixels), device=images.rows.device)
        stills = (replace(images, pixels=frame, rows=numbers) for frame in images.pixels.split(1, 1))
        encoded_frames = [self.frames(replace(batch, images=still)) for still in stills]
        # Set padded frames to 0, and take the mean over real ones.
        values = torch.cat([frame.hidden for frame in encoded_frames], 1)
        real = torch.arange(values.shape[1], device=values.device) < images.sizes[:, :1]
        values = values * real.unsqueeze(-1)
        mean = values.sum(1, keepdim=True) / real.sum(1).clamp(min=1)[:, None, None]
        # Add up what self-attention reports in all frames.
        encoded = reduce(EncoderOutput.reporting, encoded_frames, EncoderOutput(Memory.of(values, real), mean))
        return for_captions(encoded, images.rows)

    @override
    def pixels_at(self, pixels: Tensor, row: int, column: int) -> Tensor:
        """Return the frame with the number ``column``."""
        return pixels[column]

    @property
    @override
    def trains_later(self) -> bool:
        return self.frames.trains_later

    @override
    def set_progress(self, progress: float, updates: int) -> None:
        self.frames.set_progress(progress, updates)

    @property
    @override
    def awaited_share(self) -> str | None:
        return self.frames.awaited_share

    @override
    def describe(self, node: dict[str, Any]) -> None:
        self.frames.describe(node["frames"])

    @property
    def cache(self) -> Path | None:
        """Folder in which the encoder of frames stores features, or None."""
        return self.frames.cache

    @cache.setter
    def cache(self, folder: Path | None) -> None:
        self.frames.cache = folder
