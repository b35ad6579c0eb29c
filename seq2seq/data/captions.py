"""Corpus of images with captions.

Shapes: T target tokens with ``</s>``, S cells of an image's grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from seq2seq.batch import BOS, EOS
from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data import arrow
from seq2seq.data.batch_loading import Batcher
from seq2seq.data.caption_split import CHOICES, CaptionSplit
from seq2seq.data.codec import Codec, ImageCodec
from seq2seq.data.corpus import Corpus
from seq2seq.data.data_source import DataSource
from seq2seq.data.encoding import Encoding, Side, StoredSplit
from seq2seq.data.example import Example
from seq2seq.data.image_records import ImageRecords, state_of
from seq2seq.data.images import BadImage, ImageFile, Images
from seq2seq.data.readers.reader import DataLocation, Reader
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.data.vocabulary import UnknownTokens
from seq2seq.errors import UserError


class CaptionCorpus(Corpus):
    """Dataset of images with one or several captions each; each record is one image.

    A table cell may hold several captions, as a list or one on each line. The target of a record is its first caption.
    Every file is opened once while its split is encoded; an image that cannot be read is a bad record. An image counts
    in ``max_tokens`` as one token for each of its squares of 16 x 16 pixels.

    Args:
        name: Name of the dataset.
        source: Column of the image's path.
        target: Column of its caption or list of captions.
        reader: Reader of the files.
        images: Options by which images are opened.
        path: Folder or table of a local copy; None if the dataset needs none.
        tokenizer: Options of the tokenizer; None for the defaults.
        captions: Captions that are trained on: ``all`` of an image in one batch, ``one`` drawn in each epoch, or only
            the ``first``.
        max_tokens: Bound on the tokens of a batch, with padding; None follows the size of the training split.
        max_sentences: Largest number of images of a batch.
        max_length: Largest number of tokens of a training caption.
        max_target_tokens: Largest number of tokens that a training caption keeps; None keeps all.
        on_bad: Action for records that cannot be used: ``drop`` or ``error``.
        on_long: Action for training captions over ``max_length``: ``drop``, ``truncate`` or ``error``.
        workers: Number of processes that prepare batches.
        pin_memory: Whether batches are put into page-locked memory, if there is a GPU.
        cache: Directory of the tokenizer, the encoded splits and images without a file.

    Raises:
        UserError: The tokenizer samples, or an option has a value that does not exist.
    """

    def __init__(
        self,
        name: str,
        source: str,
        target: str,
        reader: Reader,
        images: Images,
        path: str | None = None,
        tokenizer: TokenizerOptions | None = None,
        captions: str = "all",
        max_tokens: Count | None = 4096,
        max_sentences: Count | None = None,
        max_length: Count = 64,
        max_target_tokens: Count | None = None,
        on_bad: str = "drop",
        on_long: str = "drop",
        workers: CountOrZero = 0,
        pin_memory: bool = False,
        cache: str = "data/cache",
    ) -> None:
        options = tokenizer or TokenizerOptions()
        at = DataLocation(Path(path) if path else None, source, target)
        policy = Policy(on_bad, on_long=on_long, max_length=max_length, max_target_tokens=max_target_tokens)
        records = ImageRecords(at, (Path(cache) / "images").resolve(), policy)
        super().__init__(
            name,
            DataSource(reader, at, policy),
            CaptionEncoding(policy, images, captions, records),
            options,
            Batcher(max_tokens, max_sentences, workers, pin_memory),
            Path(cache),
        )
        if options.sampling:
            raise UserError(
                f"tokenizer.sampling={options.sampling} needs text on both sides; captions=one draws captions at random"
            )


class CaptionEncoding(Encoding):
    """Encoding of records as the file of an image and the ids of its captions.

    Args:
        policy: Limits on the length of captions, and actions for bad records.
        images: Options by which images are opened.
        captions: Captions that are trained on: ``all``, ``one`` or ``first``.
        image_records: Joiner of the rows of an image.
    """

    sides: tuple[Side, ...] = ("target",)

    def __init__(self, policy: Policy, images: Images, captions: str, image_records: ImageRecords) -> None:
        if captions not in CHOICES:
            raise UserError(f"captions={captions} is none of: {', '.join(CHOICES)}")
        self.policy, self.captions, self.image_records = policy, captions, image_records
        self.images: Images = images

    @property
    @override
    def form(self) -> tuple[object, ...]:
        cropped = self.images.fit == "crop"  # not allowed with regions
        files = str(self.image_records.root), str(self.image_records.folder)
        return "captions", cropped, self.images.frames, self.images.max_pixels, *files

    @override
    def codec(self, tokenizers: Mapping[str, Tokenizer]) -> ImageCodec:
        return ImageCodec(self.images, tokenizers["target"], self.policy)

    @override
    def texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        return record.get("references") or [record["target"]]

    @override
    def records(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        return self.image_records.joined(rows, report)

    @override
    def is_stale(self, report: Report, file: Path) -> bool:
        # An image that could not be read may have been repaired.
        if any(state_of(Path(unread)) != state for unread, state in report.unread.items()):
            return True
        # An image in the cache may be gone or damaged.
        return bool(self.image_records.damaged(map(Path, arrow.read(file).column("source").to_pylist())))

    @override
    def columns(
        self,
        codec: Codec,
        record: Record,
        place: str,
        report: Report,
        unknown: Mapping[str, UnknownTokens],
        *,
        training: bool,
    ) -> dict[str, Any] | None:
        # Open the image once, so that an unreadable one is a bad record.
        try:
            ImageFile(Path(record["source"]), self.images).pixels()
        except BadImage as error:
            report.add("unreadable image", f"{place} {record['source']} ({error})", self.policy)
            report.unread[record["source"]] = state_of(Path(record["source"]))
            return None
        # Compare the regions with the words of the captions.
        if any(record.get("regions", [])) and self.images.fit == "crop":
            raise UserError(f"{place}: regions need the whole image; set data.images.fit=pad or stretch")
        words = [len(text.split()) for text in record["references"]]
        boxes = [len(of) for of in record.get("regions", [])] or words
        if len(boxes) != len(words) or any(b not in (0, w) for b, w in zip(boxes, words, strict=True)):
            report.add("malformed", f"{place} (words with regions: {boxes}, words of references: {words})", self.policy)
            return None
        # Encode the captions; each may be too long.
        kept = []
        for text in record["references"]:
            whole = Example((), [BOS, *codec.target.encode(text), EOS])
            example = self.policy.fit(whole, place, report) if training else whole
            if example is not None and example.target is not None:
                kept.append((text, list(example.target)))
        if not kept:
            return None
        # Count unknown tokens.
        for text, ids in kept:
            unknown["target"].add(codec.target, text, ids)
        captions = [ids for _, ids in kept]
        return {"target_ids": captions[0], "captions": captions}

    @override
    def open(self, file: Path, codec: Codec) -> StoredSplit:
        return CaptionSplit(file, codec, self.images.tokens, self.captions)

    @override
    def keep_first_targets(self) -> None:
        self.captions = "first"
