"""Codecs: from texts to ids with special tokens, and back.

Shapes: S source tokens with ``</s>``, T target tokens with ``</s>``, V words of the target vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK, Batch
from seq2seq.config.instantiate import build_node
from seq2seq.data.example import Example, Sample
from seq2seq.data.images import ImageFile, Images
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError


class Codec(ABC):
    """Converter of a record into an ``Example``, and of target ids into text."""

    target: Tokenizer
    policy: Policy
    documents: bool = False
    copy: bool = False

    @abstractmethod
    def __call__(
        self, record: Record, sample: Sample | None = None, place: str = "", report: Report | None = None
    ) -> Example:
        """Return the ids of a record as an example.

        Args:
            record: Record to encode.
            sample: Seeds of random choices; None makes no random choice.
            place: Origin of the record for ``report``, such as ``FILE:LINE``.
            report: Report that counts the record if its source is cut.
        """

    @abstractmethod
    def input(self, text: str, sample: Sample | None = None, place: str = "", report: Report | None = None) -> Example:
        """Encode a source alone; the policy may cut it.

        Args:
            text: Text of the source, or path of its image.
            sample: Seeds of random choices; None makes no random choice.
            place: Origin of the source for ``report``.
            report: Report that counts the source if it is cut.
        """

    def split(self, record: Record) -> tuple[list[str], list[str]]:
        """Return the words of source and target of a record, as the tokenizers count them.

        Args:
            record: Record to split.
        """
        return record["source"].split(), self.target.split(record["target"])

    @property
    @abstractmethod
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        """Tokenizer of each side that has one; a checkpoint keeps them."""

    @abstractmethod
    def read(self, batch: Batch, row: int, size: int) -> tuple[list[str], list[int]]:
        """Return the first pieces of a source, with the number of the word of each piece.

        Args:
            batch: Batch of the source.
            row: Row of the source in the batch.
            size: Number of pieces, S.

        Returns:
            Pieces (S), with the spelling of words that can be copied, and word numbers (S); -1 = no word.
        """

    @property
    def reads(self) -> str:
        """Kind of the sources as encoders and tasks name it: ``text``, ``image`` or ``video``."""
        return "text"

    def opening_as(self, data: Mapping[str, Any]) -> Codec:
        """Return a codec that opens sources by the options of another config.

        Args:
            data: The ``data`` node of that config.

        Raises:
            UserError: The sources of that config are of another kind.
        """
        if data.get("images") is not None:
            raise UserError(f"data={data.get('name')} has images, but the model reads text")
        return self

    @property
    def source_options(self) -> dict[str, Any]:
        """Options by which sources are opened; text has none."""
        return {}

    def changes(self, other: Codec) -> list[str]:
        """Return the options by which this codec opens sources differently from another one, one line each.

        Args:
            other: Codec to compare with, of the same kind.
        """
        theirs = other.source_options
        # Both codecs have the same option names, because they are of the same kind.
        return [
            f"{name}={own}, then {theirs[name]}" for name, own in self.source_options.items() if own != theirs[name]
        ]

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the source and target vocabularies; a source without tokens has size 0."""
        tokenizers = self.tokenizers
        return len(tokenizers["source"]) if "source" in tokenizers else 0, len(self.target)

    def text(self, ids: Iterable[int], oov: Sequence[str] = ()) -> str:
        """Return the text of target ids.

        Args:
            ids: Token ids.
            oov: Out-of-vocabulary words; id V + k stands for ``oov[k]``.
        """
        return self.target.decode(ids, oov)


@dataclass(frozen=True)
class TextCodec(Codec):
    """Codec of text by two tokenizers.

    Args:
        source: Tokenizer of the source.
        target: Tokenizer of the target.
        documents: Whether each line of the source is a sentence.
        copy: Whether the decoder can copy source words that are not in the target vocabulary. A source piece and a
            target piece are the same if they are spelled the same.
        policy: Limits on the length of sources.
    """

    source: Tokenizer
    target: Tokenizer
    documents: bool = False
    copy: bool = False
    policy: Policy = field(default_factory=Policy)

    @override
    def __call__(
        self, record: Record, sample: Sample | None = None, place: str = "", report: Report | None = None
    ) -> Example:
        """Encode both sides; ``sample`` draws the segmentations of the two sides independently."""
        example = self.input(record["source"], sample, place, report)
        # Give source and target different seeds: even numbers for sources, odd ones for targets.
        seeds = None if sample is None else (*sample[:2], 2 * sample[2] + 1)
        ids = self.target.encode(record["target"], seeds)
        # Replace <unk> by the id of the same out-of-vocabulary word of the source.
        if self.copy and example.oov:
            spelling = self.target.spell(record["target"]) if sample is None else self.target.pieces(ids)
            known = {word: len(self.target) + k for k, word in enumerate(example.oov)}
            ids = [known.get(word, i) if i == UNK else i for i, word in zip(ids, spelling, strict=True)]
        return replace(example, target=[BOS, *ids, EOS])

    @override
    def input(self, text: str, sample: Sample | None = None, place: str = "", report: Report | None = None) -> Example:
        # Encode the lines; a text that is not a document is one line.
        lines = [line for line in text.split("\n") if line.strip()] or [""] if self.documents else [text]
        seeds = None if sample is None else (*sample[:2], 2 * sample[2])
        rows = [self.source.encode(line, None if seeds is None else (*seeds, n)) for n, line in enumerate(lines)]
        ids = [*(i for row in rows for i in row), EOS]
        example = Example(ids)
        # Count </s> in the last sentence.
        if self.documents:
            sizes = [len(row) for row in rows]
            example = replace(example, sizes=[*sizes[:-1], sizes[-1] + 1])
        # Find the words that can be copied.
        if self.copy:
            spelling = self.source.pieces(ids)
            if sample is None:
                spelling = [piece for line in lines for piece in self.source.spell(line)]
            copies, oov = self._copies(spelling[: len(ids) - 1])
            example = replace(example, copies=copies, oov=oov)
        return self.policy.cut_source(example, place, report)

    @override
    def split(self, record: Record) -> tuple[list[str], list[str]]:
        return self.source.split(record["source"]), self.target.split(record["target"])

    def _copies(self, words: Iterable[str]) -> tuple[list[int], list[str]]:
        """Return the copy id of each source word (PAD for special tokens), and the out-of-vocabulary words."""
        oov: dict[str, int] = {}
        ids = []
        for word in words:
            i = self.target.id(word)
            if i == UNK and word != SPECIALS[UNK]:
                i = oov.setdefault(word, len(self.target) + len(oov))
            # Special tokens are not copied.
            ids.append(i if i > EOS else PAD)
        return [*ids, PAD], list(oov)

    @property
    @override
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        return {"source": self.source, "target": self.target}

    @override
    def read(self, batch: Batch, row: int, size: int) -> tuple[list[str], list[int]]:
        ids = batch.tokens[row, :size].tolist()
        pieces = self.source.pieces(ids)
        # Show the spelling of unknown words that can be copied.
        if batch.copies is not None:
            copied = self.target.pieces(batch.copies.ids[row, :size].tolist(), batch.words(row))
            pieces = [word if i == UNK else piece for i, piece, word in zip(ids, pieces, copied, strict=True)]
        return pieces, self.source.words(ids)


@dataclass(frozen=True)
class ImageCodec(Codec):
    """Codec of images with captions; an image is opened when its batch is made.

    Args:
        images: Options by which images are opened.
        target: Tokenizer of captions.
        policy: Limits on the length of captions.
    """

    images: Images
    target: Tokenizer
    policy: Policy = field(default_factory=Policy)

    @override
    def __call__(
        self, record: Record, sample: Sample | None = None, place: str = "", report: Report | None = None
    ) -> Example:
        """Encode image and caption; ``sample`` changes the image at random."""
        example = self.input(record["source"], sample, place, report)
        return replace(example, target=[BOS, *self.target.encode(record["target"]), EOS])

    @override
    def input(self, text: str, sample: Sample | None = None, place: str = "", report: Report | None = None) -> Example:
        return Example((), image=ImageFile(Path(text), self.images, sample))

    @property
    @override
    def reads(self) -> str:
        return self.images.reads

    @override
    def opening_as(self, data: Mapping[str, Any]) -> Codec:
        if data.get("images") is None:
            raise UserError(f"data={data.get('name')} has text, but the model reads images")
        return replace(self, images=build_node(data["images"]))

    @property
    @override
    def source_options(self) -> dict[str, Any]:
        return self.images.options

    @property
    @override
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        return {"target": self.target}

    @override
    def read(self, batch: Batch, row: int, size: int) -> tuple[list[str], list[int]]:
        """Return empty pieces that belong to no word, because cells of an image have no spelling."""
        return [""] * size, [-1] * size


def build_codec(data: Mapping[str, Any], tokenizers: Mapping[str, Tokenizer], policy: Policy) -> Codec:
    """Build the codec of a stored model from the ``data`` node of its config.

    Args:
        data: The ``data`` node; with ``images``, the codec is one of images.
        tokenizers: Tokenizer of each side that is text.
        policy: Limits on the length of sources.
    """
    if data.get("images") is not None:
        return ImageCodec(build_node(data["images"]), tokenizers["target"], policy)
    documents, copy = bool(data.get("documents")), bool(data.get("copy"))
    return TextCodec(tokenizers["source"], tokenizers["target"], documents, copy, policy)
