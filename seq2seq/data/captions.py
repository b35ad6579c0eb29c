"""Pictures and what is said of them: the corpus of captioning.

Shapes: T target tokens with ``</s>``, S cells of a picture's grid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset

from seq2seq.batch import Batch
from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data import arrow
from seq2seq.data.batching import Indices, Lengths, random_batches, shard, sorted_batches
from seq2seq.data.cache import keep_picture, picture_is_whole
from seq2seq.data.codec import ImageCodec
from seq2seq.data.collate import collate, filler
from seq2seq.data.corpus import Corpus, Side
from seq2seq.data.example import Example
from seq2seq.data.images import SUFFIXES, BadImage, Images, Picture
from seq2seq.data.policy import Report
from seq2seq.data.readers.reader import Reader
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.errors import UserError
from seq2seq.files import sealed

log = logging.getLogger(__name__)

CHOICES = ("all", "one", "first")


class Captions(Dataset[Batch]):
    """Item i is the i-th of the given batches of pictures, each with as many of its captions as ``choice`` says.

    ``all`` are in one batch, where the picture is encoded once; ``one`` is drawn anew in each epoch; or the ``first``.
    ``draw`` = (seed, epoch) draws it, and what of pictures is changed at random; without, nothing is.
    """

    def __init__(
        self, file: Path, codec: ImageCodec, batches: Sequence[Indices], choice: str, draw: tuple[int, int] | None
    ) -> None:
        self.file, self.codec, self.batches, self.choice, self.draw = file, codec, batches, choice, draw
        self._open()

    def _open(self) -> None:
        table = arrow.read(self.file)
        self._files, self._captions = table.column("source"), table.column("captions")

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> Batch:
        pairs = [(example, i) for i in self.batches[place].tolist() for example in self.examples(i)]
        if not pairs:
            return filler(pictured=True)
        return collate([example for example, _ in pairs], [i for _, i in pairs])

    def examples(self, index: int) -> list[Example]:
        """What a record gives a batch."""
        captions: list[list[int]] = self._captions[index].as_py()
        sample = None if self.draw is None else (*self.draw, index)
        if self.choice == "first":
            captions = captions[:1]
        elif self.choice == "one":
            assert sample is not None
            captions = [captions[np.random.default_rng((*sample, len(captions))).integers(len(captions))]]
        picture = Picture(Path(self._files[index].as_py()), self.codec.images, sample)
        return [Example((), ids, picture=picture) for ids in captions]

    def __getstate__(self) -> dict[str, Any]:  # a loader worker maps the file itself
        state = {name: value for name, value in vars(self).items() if name not in ("_files", "_captions")}
        return {**state, "stamp": sealed.stamp(self.file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sealed.trust(state["file"], state.pop("stamp"))
        vars(self).update(state)
        self._open()


class CaptionCorpus(Corpus):
    """A dataset of pictures, each with one caption or several; records are pictures.

    ``captions`` says which of them train: ``all`` of a picture together, ``one`` an epoch, the ``first`` alone. A
    picture counts as its squares of 16 x 16 in ``max_tokens``, and every file is opened once while its split is
    encoded: what can't be read is a bad record. A cell may hold several captions, as a list or a line each; the target
    of a record is the first.
    """

    sides: tuple[Side, ...] = ("target",)

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
        max_tokens: Count = 4096,
        max_sentences: Count | None = None,
        max_length: Count = 64,
        max_target_tokens: Count | None = None,
        on_bad: str = "drop",
        on_long: str = "drop",
        workers: CountOrZero = 0,
        pin_memory: bool = False,
        cache: str = "data/cache",
    ) -> None:
        if captions not in CHOICES:
            raise UserError(f"data.captions={captions} is none of: {', '.join(CHOICES)}")
        super().__init__(
            name,
            source,
            target,
            reader,
            path,
            tokenizer,
            max_tokens=max_tokens,
            max_sentences=max_sentences,
            max_length=max_length,
            max_target_tokens=max_target_tokens,
            on_bad=on_bad,
            on_long=on_long,
            workers=workers,
            pin_memory=pin_memory,
            cache=cache,
        )
        if self.options.sampling:
            raise UserError("data.tokenizer.sampling is for text on both sides; data.captions=one draws captions")
        self.images, self.captions = images, captions

    def loader(self, split: str, rank: int = 0, world_size: int = 1) -> DataLoader[Batch]:
        """All of a split, each picture with its first caption."""
        batches = sorted_batches(*self._lengths(split, "first"), self.max_tokens, self.max_sentences)
        return self._batches(split, shard(batches, rank, world_size), "first", None)

    def train_loader(
        self, seed: int, epoch: int, start_batch: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterable[Batch]:
        """The batches of an epoch, with captions as chosen."""
        lengths = self._lengths("train", self.captions)
        batches = random_batches(*lengths, self.max_tokens, self.max_sentences, seed=(seed, epoch))
        return self._batches("train", shard(batches, rank, world_size)[start_batch:], self.captions, (seed, epoch))

    def _batches(
        self, split: str, batches: Sequence[Indices], choice: str, draw: tuple[int, int] | None
    ) -> DataLoader[Batch]:
        codec = self.codec
        assert isinstance(codec, ImageCodec)
        return self._loader(Captions(self._file(split), codec, batches, choice, draw))

    def epoch(self) -> tuple[int, int]:
        """Batches and target tokens of an epoch; of one caption drawn of several, as many as are expected."""
        lists = arrow.read(self._file("train")).column("captions").to_pylist()
        of: dict[str, Callable[[list[int]], float]] = {"all": sum, "one": fmean, "first": lambda row: row[0]}
        tokens = sum(of[self.captions]([len(ids) - 1 for ids in captions]) for captions in lists)
        lengths = self._lengths("train", self.captions)
        batches = random_batches(*lengths, self.max_tokens, self.max_sentences, seed=(0, 0))
        return len(batches), round(tokens)

    def _lengths(self, split: str, choice: str) -> tuple[Lengths, Lengths]:
        """What a picture counts as, and the tokens of its captions: of all together, or of the longest."""
        lists = arrow.read(self._file(split)).column("captions").to_pylist()
        sizes = ([len(ids) - 1 for ids in captions] for captions in lists)
        if choice == "first":
            target = np.array([row[0] for row in sizes], np.int64)
        else:
            target = np.array([max(row) * (len(row) if choice == "all" else 1) for row in sizes], np.int64)
        return np.full(len(target), self.images.tokens, np.int64), target

    def _codec(self, tokenizers: Mapping[str, Tokenizer]) -> ImageCodec:
        return ImageCodec(self.images, tokenizers["target"], self.policy)

    def _texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        return record.get("references") or [record["target"]]

    @property
    def _form(self) -> tuple[object, ...]:
        cropped = self.images.fit == "crop"  # which regions forbid
        return "captions", cropped, self.images.frames, self.images.max_pixels, str(self._root), str(self._kept)

    @property
    def _root(self) -> Path | None:
        """Where paths of pictures start from."""
        return self.at.path and self.at.root.resolve()

    @property
    def _kept(self) -> Path:
        """Where pictures go that come without a file."""
        return (self.cache / "pictures").resolve()

    def _stale(self, report: Report, file: Path) -> bool:
        """Where a picture that could not be read is another file now, or one in the cache is not what it was."""
        if any(_state(Path(unread)) != state for unread, state in report.unread.items()):
            return True
        of_cache = (Path(name) for name in arrow.read(file).column("source").to_pylist())
        kept = [picture for picture in of_cache if picture.is_relative_to(self._kept)]
        with ThreadPoolExecutor(8) as pool:
            damaged = [
                picture for picture, whole in zip(kept, pool.map(picture_is_whole, kept), strict=True) if not whole
            ]
        if damaged:
            log.warning("%s is gone or damaged (one of %d such pictures): they are made anew", damaged[0], len(damaged))
        return bool(damaged)

    def _rows(self, split: str, report: Report) -> Iterator[tuple[str, Record]]:
        """A record a picture: rows of the same file are joined, wherever they stand, and neighbours that bring the same
        content.
        """
        of_file: dict[str, list[tuple[str, Record]]] = {}
        for content, rows in groupby(self._aligned(split, report), key=lambda row: row[1].get("image")):
            if content is not None:
                yield self._joined(list(rows))
                continue
            for place, record in rows:
                of_file.setdefault(record["source"], []).append((place, record))
        yield from map(self._joined, of_file.values())

    def _aligned(self, split: str, report: Report) -> Iterator[tuple[str, Record]]:
        """The rows whose regions, if they have some, are of as many captions as they have."""
        for place, record in super()._rows(split, report):
            told, there = len(record.get("regions", [])), len(_captions(record))
            if told in (0, there):
                yield place, record
            else:
                report.add(
                    "malformed", f"{place} (regions of {told} captions, of which there are {there})", self.policy
                )

    def _joined(self, rows: Sequence[tuple[str, Record]]) -> tuple[str, Record]:
        """The first, with the captions of all, and what is known of their words."""
        place, record = rows[0]
        known: dict[str, list[list[float]]] = {}
        for _, other in rows:
            texts = _captions(other)
            for text, boxes in zip(texts, other.get("regions") or [[]] * len(texts), strict=True):
                known[text] = known.get(text) or boxes
        joined = {**record, "source": self._file_of(record), "target": next(iter(known)), "references": list(known)}
        if any(known.values()):
            joined["regions"] = list(known.values())
        joined.pop("image", None)
        return place, cast(Record, joined)

    def _file_of(self, record: Record) -> str:
        """The file of a picture; one that is in none yet is written into the cache."""
        content = record.get("image")
        if content is None:
            return str((self._root or Path().resolve()) / record["source"])
        suffix = Path(record["source"]).suffix.lower()
        return str(keep_picture(self._kept, content, suffix if suffix in SUFFIXES else ""))

    def _encode(self, split: str, place: str, record: Record, report: Report) -> dict[str, Any] | None:
        codec = self.codec
        assert isinstance(codec, ImageCodec)
        try:
            Picture(Path(record["source"]), self.images).pixels()
        except BadImage as error:
            report.add("unreadable picture", f"{place} {record['source']} ({error})", self.policy)
            report.unread[record["source"]] = _state(Path(record["source"]))
            return None
        if any(record.get("regions", [])) and self.images.fit == "crop":
            raise UserError(f"{place}: regions are shares of the whole picture: set data.images.fit=pad or stretch")
        words = [len(text.split()) for text in record["references"]]
        boxes = [len(of) for of in record.get("regions", [])] or words
        if len(boxes) != len(words) or any(b not in (0, w) for b, w in zip(boxes, words, strict=True)):
            report.add("malformed", f"{place} (regions of {boxes} words, references of {words})", self.policy)
            return None
        examples = [Example((), codec.caption(text)) for text in record["references"]]
        if split == "train":  # each caption by itself is what may be too long
            fit = (self.policy.fit(example, place, report) for example in examples)
            examples = [example for example in fit if example is not None]
        captions = [list(example.target) for example in examples if example.target is not None]
        if not captions:
            return None
        for text, ids in zip(record["references"], captions, strict=False):
            self._unknown["target"].add(codec.target, text, ids)
        return {"target_ids": captions[0], "captions": captions}


def _captions(record: Record) -> list[str]:
    """Every line of a cell is one."""
    cells = record.get("references") or [record["target"]]
    return list(dict.fromkeys(line for cell in cells for line in cell.split("\n") if line.strip()))


def _state(file: Path) -> list[int] | None:
    """What changes where a file is written anew; None where there is none."""
    try:
        about = file.stat()
    except OSError:
        return None
    return [about.st_size, about.st_mtime_ns]
