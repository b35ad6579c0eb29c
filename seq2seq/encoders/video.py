"""Frames in time, each told by one vector.

Shapes: B captions, F frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.batch import Batch
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.encoders.image import GridEncoder, for_captions, shown

GridFactory = Callable[[int | None], GridEncoder]


class VideoEncoder(Encoder):
    """A vector a frame, the mean of its grid, in their order: what temporal attention reads (Yao 2015,
    section 3.1).
    """

    reads = "video"

    def __init__(self, vocabulary: int | None, *, frames: GridFactory) -> None:
        super().__init__()
        self.frames = frames(vocabulary)
        dim = self.frames.source.width
        self.source = SourceSpec(dim, states=self.frames.source.states)
        self.final_dim, self.final_layers = dim, 1

    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Memory (B, F, D) along time; hidden (B, 1, D), the mean of the frames."""
        images = shown(batch)
        alone = torch.arange(len(images.pixels), device=images.rows.device)
        stills = (replace(images, pixels=frame, rows=alone) for frame in images.pixels.split(1, 1))
        each = [self.frames(replace(batch, images=still)) for still in stills]
        values = torch.cat([frame.hidden for frame in each], 1)
        real = torch.arange(values.shape[1], device=values.device) < images.sizes[:, :1]
        values = values * real.unsqueeze(-1)
        mean = values.sum(1, keepdim=True) / real.sum(1).clamp(min=1)[:, None, None]
        found = reduce(EncoderOutput.reporting, each, EncoderOutput(Memory.of(values, real), mean))
        return for_captions(found, images.rows)

    def pixels_at(self, pixels: Tensor, row: int, column: int) -> Tensor:
        """Return the frame ``column``."""
        return pixels[column]

    @property
    def trains_later(self) -> bool:
        """Whether the encoder of frames does."""
        return self.frames.trains_later

    def set_progress(self, progress: float, updates: int) -> None:
        """Tell the encoder of frames how far training has come."""
        self.frames.set_progress(progress, updates)

    @property
    def awaited_share(self) -> str | None:
        """That of the encoder of frames."""
        return self.frames.awaited_share

    def describe(self, node: dict[str, Any]) -> None:
        """Add what the encoder of frames does not say itself."""
        self.frames.describe(node["frames"])

    @property
    def cache(self) -> Path | None:
        """Folder where the encoder of frames keeps features."""
        return self.frames.cache

    @cache.setter
    def cache(self, folder: Path | None) -> None:
        self.frames.cache = folder
