"""An encoded split of images and captions: how much each counts in a batch, and which captions an epoch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from seq2seq.data import arrow
from seq2seq.data.batching import Lengths
from seq2seq.data.codec import Codec
from seq2seq.data.encoding import Draw, Examples, StoredSplit
from seq2seq.data.example import Example
from seq2seq.files import sealed

CHOICES = ("all", "one", "first")


class CaptionSplit(StoredSplit):
    """An encoded split of images with captions, of which ``choice`` says which are trained on.

    ``all`` are in one batch, where the image is encoded once; ``one`` is drawn anew in each epoch; or the ``first``.
    In evaluation it is the first. An image counts as ``image_tokens`` tokens.
    """

    def __init__(self, file: Path, codec: Codec, image_tokens: int, choice: str) -> None:
        self.file, self.codec, self.image_tokens, self.choice = file, codec, image_tokens, choice

    def lengths(self, *, training: bool = False) -> tuple[Lengths, Lengths]:
        """Return what an image counts as, and the tokens of its captions: of all together, or of the longest."""
        sizes = self._caption_lengths()
        if not training or self.choice == "first":
            target = np.array([row[0] for row in sizes], np.int64)
        else:
            target = np.array([max(row) * (len(row) if self.choice == "all" else 1) for row in sizes], np.int64)
        return np.full(len(target), self.image_tokens, np.int64), target

    def target_tokens(self) -> int:
        """Return the target tokens of an epoch; of one caption drawn of several, as many as are expected."""
        of: dict[str, Callable[[list[int]], float]] = {"all": sum, "one": fmean, "first": lambda row: row[0]}
        return round(sum(map(of[self.choice], self._caption_lengths())))

    def examples(self, draw: Draw | None = None) -> Examples:
        """Return each image with its captions of this choice; in evaluation, with the first."""
        return CaptionExamples(self.file, self.codec, "first" if draw is None else self.choice, draw)

    def _caption_lengths(self) -> list[list[int]]:
        captions = arrow.read(self.file).column("captions").to_pylist()
        return [[len(ids) - 1 for ids in row] for row in captions]


class CaptionExamples(Examples):
    """Each image with as many of its captions as ``choice`` says.

    ``draw`` = (seed, epoch) draws the caption, and what of images is changed at random; without, nothing is.
    """

    has_images = True

    def __init__(self, file: Path, codec: Codec, choice: str, draw: Draw | None) -> None:
        self.file, self.codec, self.choice, self.draw = file, codec, choice, draw
        self._open()

    def _open(self) -> None:
        table = arrow.read(self.file)
        self._files, self._captions = table.column("source"), table.column("captions")

    def of(self, index: int) -> Sequence[Example]:
        """Return an example for each caption, all of the same image."""
        captions: list[list[int]] = self._captions[index].as_py()
        sample = None if self.draw is None else (*self.draw, index)
        if self.choice == "first":
            captions = captions[:1]
        elif self.choice == "one":
            assert sample is not None
            captions = [captions[np.random.default_rng((*sample, len(captions))).integers(len(captions))]]
        image = self.codec.input(self._files[index].as_py(), sample)
        return [replace(image, target=ids) for ids in captions]

    def __getstate__(self) -> dict[str, Any]:  # a loader worker maps the file itself
        state = {name: value for name, value in vars(self).items() if name not in ("_files", "_captions")}
        return {**state, "stamp": sealed.stamp(self.file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sealed.trust(state["file"], state.pop("stamp"))
        vars(self).update(state)
        self._open()
