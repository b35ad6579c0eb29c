"""The corpus of captioning: images, and what is said of them.

Shapes: T target tokens with ``</s>``, S cells of an image's grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    """A dataset of images, each with one caption or several; a record is an image.

    ``captions`` says which of them train: ``all`` of an image together, ``one`` an epoch, the ``first`` alone. An
    image counts as its squares of 16 x 16 in ``max_tokens``, and every file is opened once while its split is
    encoded: what can't be read is a bad record. A cell may hold several captions, as a list or a line each; the target
    of a record is the first.
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
                f"tokenizer.sampling={options.sampling} is for text on both sides; captions=one draws captions"
            )


class CaptionEncoding(Encoding):
    """Records as the file of an image and the ids of its captions."""

    sides: tuple[Side, ...] = ("target",)

    def __init__(self, policy: Policy, images: Images, captions: str, image_records: ImageRecords) -> None:
        if captions not in CHOICES:
            raise UserError(f"captions={captions} is none of: {', '.join(CHOICES)}")
        self.policy, self.captions, self.image_records = policy, captions, image_records
        self.images: Images = images

    @property
    def form(self) -> tuple[object, ...]:
        """Return how images are opened, and where they lie."""
        cropped = self.images.fit == "crop"  # which regions forbid
        files = str(self.image_records.root), str(self.image_records.folder)
        return "captions", cropped, self.images.frames, self.images.max_pixels, *files

    def codec(self, tokenizers: Mapping[str, Tokenizer]) -> ImageCodec:
        """Make the codec of images and captions."""
        return ImageCodec(self.images, tokenizers["target"], self.policy)

    def texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        """Return all captions of an image."""
        return record.get("references") or [record["target"]]

    def records(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        """Yield (place, record), a record an image."""
        return self.image_records.joined(rows, report)

    def is_stale(self, report: Report, file: Path) -> bool:
        """Whether an image that could not be read is another file now, or one in the cache is not what it was."""
        if any(state_of(Path(unread)) != state for unread, state in report.unread.items()):
            return True
        return bool(self.image_records.damaged(map(Path, arrow.read(file).column("source").to_pylist())))

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
        """Return the ids of all captions; an image that can't be read, or wrong regions, make a bad record."""
        # Open the image once, so that an unreadable one is a bad record
        try:
            ImageFile(Path(record["source"]), self.images).pixels()
        except BadImage as error:
            report.add("unreadable image", f"{place} {record['source']} ({error})", self.policy)
            report.unread[record["source"]] = state_of(Path(record["source"]))
            return None
        # Compare its regions with the words of its captions
        if any(record.get("regions", [])) and self.images.fit == "crop":
            raise UserError(f"{place}: regions are shares of the whole image: set data.images.fit=pad or stretch")
        words = [len(text.split()) for text in record["references"]]
        boxes = [len(of) for of in record.get("regions", [])] or words
        if len(boxes) != len(words) or any(b not in (0, w) for b, w in zip(boxes, words, strict=True)):
            report.add("malformed", f"{place} (regions of {boxes} words, references of {words})", self.policy)
            return None
        # Encode the captions, each of which may be too long
        examples = [Example((), [BOS, *codec.target.encode(text), EOS]) for text in record["references"]]
        if training:
            fit = (self.policy.fit(example, place, report) for example in examples)
            examples = [example for example in fit if example is not None]
        captions = [list(example.target) for example in examples if example.target is not None]
        if not captions:
            return None
        for text, ids in zip(record["references"], captions, strict=False):
            unknown["target"].add(codec.target, text, ids)
        return {"target_ids": captions[0], "captions": captions}

    def open(self, file: Path, codec: Codec) -> StoredSplit:
        """Open an encoded split with the captions of this choice."""
        return CaptionSplit(file, codec, self.images.tokens, self.captions)

    def keep_first_targets(self) -> None:
        """Train on the first caption of each image."""
        self.captions = "first"
