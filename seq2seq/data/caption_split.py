"""Encoded split of images with captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from typing_extensions import override

from seq2seq.data import arrow
from seq2seq.data.batching import Lengths
from seq2seq.data.codec import Codec
from seq2seq.data.encoding import Draw, Examples, StoredSplit
from seq2seq.data.example import Example
from seq2seq.files import sealed

CHOICES = ("all", "one", "first")
"""Captions of an image that are trained on: all in one batch, one drawn in each epoch, or only the first."""


class CaptionSplit(StoredSplit):
    """Encoded split of images with captions.

    Evaluation uses the first caption of each image. With ``all``, the image of a batch is encoded once for all its
    captions.

    Args:
        file: File of the split.
        codec: Codec that encoded the split.
        image_tokens: Number of tokens that an image counts as in a batch.
        choice: Captions that are trained on: ``all``, ``one`` or ``first``.
    """

    def __init__(self, file: Path, codec: Codec, image_tokens: int, choice: str) -> None:
        self.file, self.codec, self.image_tokens, self.choice = file, codec, image_tokens, choice

    @override
    def lengths(self, *, training: bool = False) -> tuple[Lengths, Lengths]:
        sizes = self._caption_lengths()
        # Each caption is a row of the batch, and the longest one sets the padding.
        if not training or self.choice == "first":
            target = np.array([row[0] for row in sizes], np.int64)
        else:
            target = np.array([max(row) * (len(row) if self.choice == "all" else 1) for row in sizes], np.int64)
        return np.full(len(target), self.image_tokens, np.int64), target

    @override
    def target_tokens(self) -> int:
        # A caption that is drawn counts by its expected length.
        count: dict[str, Callable[[list[int]], float]] = {"all": sum, "one": fmean, "first": lambda row: row[0]}
        return round(sum(map(count[self.choice], self._caption_lengths())))

    @override
    def examples(self, draw: Draw | None = None) -> Examples:
        return CaptionExamples(self.file, self.codec, "first" if draw is None else self.choice, draw)

    def _caption_lengths(self) -> list[list[int]]:
        """Return the tokens of each caption of each image, with ``</s>``."""
        captions = arrow.read(self.file).column("captions").to_pylist()
        return [[len(ids) - 1 for ids in row] for row in captions]


class CaptionExamples(Examples):
    """Examples of each image with the chosen captions.

    Args:
        file: File of the split.
        codec: Codec that encoded the split.
        choice: Captions of an image: ``all``, ``one`` or ``first``.
        draw: Seed and epoch that draw captions and random changes of images. None changes no image.
    """

    has_images = True

    def __init__(self, file: Path, codec: Codec, choice: str, draw: Draw | None) -> None:
        self.file, self.codec, self.choice, self.draw = file, codec, choice, draw
        self._open()

    def _open(self) -> None:
        """Map the columns of the file into memory."""
        table = arrow.read(self.file)
        self._files, self._captions = table.column("source"), table.column("captions")

    @override
    def of(self, index: int) -> Sequence[Example]:
        captions: list[list[int]] = self._captions[index].as_py()
        sample = None if self.draw is None else (*self.draw, index)
        # Choose the captions.
        if self.choice == "first":
            captions = captions[:1]
        elif self.choice == "one":
            assert sample is not None
            captions = [captions[np.random.default_rng((*sample, len(captions))).integers(len(captions))]]
        # All captions share one image, so that it is opened once.
        image = self.codec.input(self._files[index].as_py(), sample)
        return [replace(image, target=ids) for ids in captions]

    def __getstate__(self) -> dict[str, Any]:  # a loader worker maps the file itself
        state = {name: value for name, value in vars(self).items() if name not in ("_files", "_captions")}
        return {**state, "stamp": sealed.stamp(self.file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sealed.trust(state["file"], state.pop("stamp"))
        vars(self).update(state)
        self._open()
