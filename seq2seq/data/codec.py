"""From texts to rows of ids with their specials, and back.

Shapes: S source tokens with ``</s>``, T target tokens with ``</s>``, V words of the target vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK, Batch
from seq2seq.config.instantiate import build_node
from seq2seq.data.example import Example, Sample
from seq2seq.data.images import ImageFile, Images
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError


class Codec(ABC):
    """What turns a record into an ``Example``, and the ids of a target into text."""

    target: Tokenizer
    policy: Policy
    documents: bool = False
    copy: bool = False

    @abstractmethod
    def __call__(
        self, record: Record, sample: Sample | None = None, place: str = "", report: Report | None = None
    ) -> Example:
        """Encode a record; ``sample`` draws what is random, and ``report`` counts a cut of the source at ``place``."""

    @abstractmethod
    def input(self, text: str, sample: Sample | None = None, place: str = "", report: Report | None = None) -> Example:
        """Encode a source alone, cut as the policy has it."""

    @property
    @abstractmethod
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        """Return the tokenizer of each side that has one: what a checkpoint keeps."""

    @abstractmethod
    def read(self, batch: Batch, row: int, size: int) -> tuple[list[str], list[int]]:
        """Return the first ``size`` pieces of a source, copied words spelt out, and each one's word, -1 for none."""

    @property
    def reads(self) -> str:
        """Return what the sources are, as encoders and tasks name it."""
        return "text"

    def opening_as(self, data: Mapping[str, Any]) -> Codec:
        """Return the codec that opens sources as the ``data`` node of another config does.

        Raises:
            UserError: Its sources are of another kind.
        """
        if data.get("images") is not None:
            raise UserError(f"data={data.get('name')} is images, but the model reads text")
        return self

    @property
    def source_options(self) -> dict[str, Any]:
        """Return the options by which sources are opened; text has none."""
        return {}

    def changes(self, other: Codec) -> list[str]:
        """Return the options by which sources are opened otherwise than by ``other``, a line each."""
        theirs = other.source_options
        return [
            f"{name}={own}, then {theirs[name]}" for name, own in self.source_options.items() if own != theirs[name]
        ]

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the vocabularies of source and target; a source of no tokens has none."""
        there = self.tokenizers
        return len(there["source"]) if "source" in there else 0, len(self.target)

    def text(self, ids: Iterable[int], oov: Sequence[str] = ()) -> str:
        """Return the text of target ids."""
        return self.target.decode(ids, oov)


@dataclass(frozen=True)
class TextCodec(Codec):
    """A record's ids by the two tokenizers, and the text of ids.

    ``documents``: a line of the source is a sentence. ``copy``: source words can be said though the target vocabulary
    lacks them; the two vocabularies are joined by how their pieces are spelt. Sources are cut as ``policy`` has it.
    """

    source: Tokenizer
    target: Tokenizer
    documents: bool = False
    copy: bool = False
    policy: Policy = field(default_factory=Policy)

    def __call__(
        self, record: Record, sample: Sample | None = None, place: str = "", report: Report | None = None
    ) -> Example:
        """Encode both sides; ``sample`` segments at random, each side by draws of its own."""
        example = self.input(record["source"], sample, place, report)
        seeds = None if sample is None else (*sample[:2], 2 * sample[2] + 1)
        ids = self.target.encode(record["target"], seeds)
        if self.copy and example.oov:
            spelt = self.target.spell(record["target"]) if sample is None else self.target.pieces(ids)
            known = {word: len(self.target) + k for k, word in enumerate(example.oov)}
            ids = [known.get(word, i) if i == UNK else i for i, word in zip(ids, spelt, strict=True)]
        return replace(example, target=[BOS, *ids, EOS])

    def input(self, text: str, sample: Sample | None = None, place: str = "", report: Report | None = None) -> Example:
        """Encode a source alone."""
        lines = [line for line in text.split("\n") if line.strip()] or [""] if self.documents else [text]
        seeds = None if sample is None else (*sample[:2], 2 * sample[2])
        rows = [self.source.encode(line, None if seeds is None else (*seeds, n)) for n, line in enumerate(lines)]
        ids = [*(i for row in rows for i in row), EOS]
        example = Example(ids)
        if self.documents:
            sizes = [len(row) for row in rows]
            example = replace(example, sizes=[*sizes[:-1], sizes[-1] + 1])
        if self.copy:
            spelt = self.source.pieces(ids)
            if sample is None:
                spelt = [piece for line in lines for piece in self.source.spell(line)]
            copies, oov = self._copies(spelt[: len(ids) - 1])
            example = replace(example, copies=copies, oov=oov)
        return self.policy.cut_source(example, place, report)

    def _copies(self, words: Iterable[str]) -> tuple[list[int], list[str]]:
        """Return what each source word is to the target, and out-of-vocabulary words; specials are PAD."""
        oov: dict[str, int] = {}
        ids = []
        for word in words:
            i = self.target.id(word)
            if i == UNK and word != SPECIALS[UNK]:
                i = oov.setdefault(word, len(self.target) + len(oov))
            ids.append(i if i > EOS else PAD)
        return [*ids, PAD], list(oov)

    @property
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        """Return the tokenizers of both sides."""
        return {"source": self.source, "target": self.target}

    def read(self, batch: Batch, row: int, size: int) -> tuple[list[str], list[int]]:
        """Return pieces as they were tokenised."""
        ids = batch.tokens[row, :size].tolist()
        pieces = self.source.pieces(ids)
        if batch.copies is not None:
            meant = self.target.pieces(batch.copies.ids[row, :size].tolist(), batch.words(row))
            pieces = [there if i == UNK else piece for i, piece, there in zip(ids, pieces, meant, strict=True)]
        return pieces, self.source.words(ids)


@dataclass(frozen=True)
class ImageCodec(Codec):
    """A record's image, which is opened when its batch is made, and its caption's ids."""

    images: Images
    target: Tokenizer
    policy: Policy = field(default_factory=Policy)

    def __call__(
        self, record: Record, sample: Sample | None = None, place: str = "", report: Report | None = None
    ) -> Example:
        """Encode image and caption; ``sample`` changes the image at random."""
        example = self.input(record["source"], sample, place, report)
        return replace(example, target=[BOS, *self.target.encode(record["target"]), EOS])

    def input(self, text: str, sample: Sample | None = None, place: str = "", report: Report | None = None) -> Example:
        """Return the image in the file that ``text`` names."""
        return Example((), image=ImageFile(Path(text), self.images, sample))

    @property
    def reads(self) -> str:
        """Return ``image``, or ``video`` where sources have frames."""
        return self.images.reads

    def opening_as(self, data: Mapping[str, Any]) -> Codec:
        """Return the codec that opens images by ``data.images``."""
        if data.get("images") is None:
            raise UserError(f"data={data.get('name')} is text, but the model reads images")
        return replace(self, images=build_node(data["images"]))

    @property
    def source_options(self) -> dict[str, Any]:
        """Return the options by which images are opened."""
        return self.images.options

    @property
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        """Return the tokenizer of the target."""
        return {"target": self.target}

    def read(self, batch: Batch, row: int, size: int) -> tuple[list[str], list[int]]:
        """Return empty pieces of no word: cells have no spelling."""
        return [""] * size, [-1] * size


def build_codec(data: Mapping[str, Any], tokenizers: Mapping[str, Tokenizer], policy: Policy) -> Codec:
    """Build the codec of a stored model, by the ``data`` node of its config: of images where that has ``images``.

    Args:
        data: The node.
        tokenizers: One for each side that is text.
        policy: How long sources may be.
    """
    if data.get("images") is not None:
        return ImageCodec(build_node(data["images"]), tokenizers["target"], policy)
    documents, copy = bool(data.get("documents")), bool(data.get("copy"))
    return TextCodec(tokenizers["source"], tokenizers["target"], documents, copy, policy)
