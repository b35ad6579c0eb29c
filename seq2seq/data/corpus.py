"""The splits of one dataset: read, tokenised, and handed out in batches."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from seq2seq.batch import Batch
from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data import arrow, cache, vocabulary
from seq2seq.data.batching import random_batches, shard, sorted_batches
from seq2seq.data.codec import Codec, TextCodec
from seq2seq.data.loading import (
    Batches,
    EncodedSplit,
    Examples,
    RecordStream,
    ResampledSplit,
    StreamedBatches,
    own_error,
)
from seq2seq.data.policy import Policy, Report, accepted
from seq2seq.data.readers.reader import DataLocation, Reader, canonical
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.errors import UserError
from seq2seq.files import sealed

log = logging.getLogger(__name__)

Side = Literal["source", "target"]

FORM = 5  # of the cached files: a new number makes old ones unused


class Corpus:
    """A dataset as records, and as batches of token ids; each part is made when first asked for.

    ``max_tokens`` bounds rows x max(S, T) of a batch, padding counted; ``max_length`` the tokens of a training
    sentence. What happens to bad records is said in ``seq2seq.data.policy``. ``streaming`` trains from the
    source directly, ``buffer_size`` records at a time, and stores nothing of the training split. ``documents`` and
    ``copy`` as for ``seq2seq.data.codec.Codec``.
    """

    sides: tuple[Side, ...] = ("source", "target")  # that are text

    def __init__(
        self,
        name: str,
        source: str,
        target: str,
        reader: Reader,
        path: str | None = None,
        tokenizer: TokenizerOptions | None = None,
        documents: bool = False,
        copy: bool = False,
        max_tokens: Count = 4096,
        max_sentences: Count | None = None,
        max_length: Count = 256,
        on_bad: str = "drop",
        on_mismatch: str = "error",
        on_long: str = "drop",
        max_source_tokens: Count | None = 1024,
        max_source_sentences: Count | None = None,
        max_target_tokens: Count | None = None,
        workers: CountOrZero = 0,
        pin_memory: bool = False,
        streaming: bool = False,
        buffer_size: Count = 100_000,
        cache: str = "data/cache",
    ) -> None:
        self.name, self.source, self.target, self.reader = name, source, target, reader
        self.at = DataLocation(Path(path) if path else None, source, target)
        self.options = tokenizer or TokenizerOptions()
        given = [getattr(self.options, f"{side}_model") is not None for side in self.sides]
        if any(given) and not all(given):
            raise UserError("data.tokenizer.source_model and target_model go together: give both or neither")
        self.documents, self.copy = documents, copy
        self.max_tokens, self.max_sentences = max_tokens, max_sentences
        limits = max_source_tokens, max_source_sentences, max_target_tokens
        self.policy = Policy(on_bad, on_mismatch, on_long, max_length, *limits)
        self.workers, self.pin_memory = workers, pin_memory
        self.streaming, self.buffer_size = streaming, buffer_size
        self.cache = Path(cache)
        self.report: dict[str, Report] = {}  # of each split used so far
        self._files: dict[str, Path] = {}
        self._unknown: defaultdict[str, vocabulary.UnknownTokens] = defaultdict(
            vocabulary.UnknownTokens
        )  # of the split being made

    def setup(self, splits: Sequence[str] = ("train", "valid", "test")) -> None:
        """Does the slow parts now: tokenizers, and the encoding of those of ``splits`` that there are."""
        pieces = (f"{len(tokenizer)} {side}" for side, tokenizer in self.codec.tokenizers.items())
        log.info("%s pieces", " and ".join(pieces))
        for split in splits:
            if not (split == "train" and self.streaming) and self.has(split):
                self._file(split)

    def has(self, split: str) -> bool:
        """Whether there is such a split."""
        return canonical(split) in map(canonical, self.reader.splits(self.at))

    @property
    def held_out(self) -> str:
        """The split that figures are of unless another is asked for: test, or valid where there is none."""
        return "test" if self.has("test") else "valid"

    def use(self, tokenizers: Mapping[str, Tokenizer]) -> None:
        """Takes these (a checkpoint's) instead of training any, so that no training split is needed."""
        rate = self.options.sampling  # of this corpus, not of the tokenizers' former life
        self.codec = self._codec({side: Tokenizer(t.model, t.type, rate) for side, t in tokenizers.items()})
        self._files.clear()

    @property
    def source_tokenizer(self) -> Tokenizer:
        """Of the source side, where it is text."""
        return self.codec.tokenizers["source"]

    @property
    def target_tokenizer(self) -> Tokenizer:
        """Of the target side; the same as the source's where ``tokenizer.joint``."""
        return self.codec.target

    @cached_property
    def codec(self) -> Codec:
        """The tokenizers of all sides, loaded from files, from the cache, or trained on the training split."""
        o = self.options
        models = {"source": o.source_model, "target": o.target_model}
        if chosen := {side: Path(model) for side, model in models.items() if model and side in self.sides}:
            return self._codec({side: Tokenizer.load(chosen[side], o.type, o.sampling) for side in self.sides})
        if o.joint:
            return self._codec(dict.fromkeys(self.sides, self._tokenizer(self.sides)))
        return self._codec({side: self._tokenizer((side,)) for side in self.sides})

    def _codec(self, tokenizers: Mapping[str, Tokenizer]) -> Codec:
        for tokenizer in tokenizers.values():
            tokenizer.check(sampling=bool(self.options.sampling), documents=self.documents)
        return TextCodec(tokenizers["source"], tokenizers["target"], self.documents, self.copy, self.policy)

    def records(self, split: str) -> arrow.Records:
        """The records of a split in their order, ``references`` always there; ``Batch.index`` counts in them."""
        return arrow.Records(self._file(split))

    def loader(self, split: str, rank: int = 0, world_size: int = 1) -> DataLoader[Batch]:
        """All of a split in batches, longest first.

        Ranks get equal numbers of batches: the last may be a filler, whose ``index`` is -1.
        """
        encoded = self._encoded(split)
        batches = sorted_batches(*encoded.lengths, self.max_tokens, self.max_sentences)
        return self._loader(Batches(encoded, shard(batches, rank, world_size)))

    def epoch(self) -> tuple[int, int]:
        """Batches and target tokens of an epoch."""
        if self.streaming:
            raise UserError("data.streaming=true knows no epochs: budget.tokens needs data.streaming=false")
        source, target = self._encoded("train").lengths
        batches = random_batches(source, target, self.max_tokens, self.max_sentences, seed=(0, 0))
        return len(batches), int(target.sum())

    def train_loader(
        self, seed: int, epoch: int, start_batch: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterable[Batch]:
        """The batches of an epoch from ``start_batch`` (of this rank) on; the same for the same arguments.

        The i-th batches of all ranks together are batches ``i * world_size`` and following of a single process.
        """
        if self.streaming:
            buffers = StreamedBatches(self._stream(), seed, epoch, rank, world_size)
            return _Flat(self._loader(buffers), start_batch)
        encoded = self._encoded("train")
        batches = random_batches(*encoded.lengths, self.max_tokens, self.max_sentences, seed=(seed, epoch))
        examples: Examples = encoded
        if self.options.sampling:
            examples = ResampledSplit(self.records("train"), self.codec, seed, epoch)
        return self._loader(Batches(examples, shard(batches, rank, world_size)[start_batch:]))

    def _loader(self, dataset: Any) -> DataLoader[Any]:
        # Its generator only seeds workers, which draw nothing: given, so that the global one is left alone.
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),
        )

    def _stream(self) -> RecordStream:
        split = self.reader.find("train", self.at)
        sampling = bool(self.options.sampling)
        limits = self.max_tokens, self.max_sentences, self.buffer_size
        return RecordStream(self.reader, self.at, split, self.codec, sampling, *limits)

    def _rows(self, split: str, report: Report) -> Iterator[tuple[str, Record]]:
        return accepted(self.reader.rows(split, self.at, streaming=self.streaming), self.policy, report)

    def _tokenizer(self, sides: tuple[Side, ...]) -> Tokenizer:
        o, split = self.options, self.reader.find("train", self.at)
        named = "type", "vocab_size", "normalization", "character_coverage", "byte_fallback", "split_digits"
        settings = {name: getattr(o, name) for name in named}
        settings["user_defined_symbols"] = list(o.user_defined_symbols)
        library = version("sentencepiece")
        name = cache.key(FORM, library, self._fingerprint(split), sides, settings, o.max_records)
        file = self.cache / f"{name}.model"
        if (whole := sealed.content(file)) is not None:
            return Tokenizer(whole[0], o.type, o.sampling)
        log.info("training a %s tokenizer for %s", o.type, " and ".join(getattr(self, s) for s in sides))
        report = Report("train")
        records = (record for _, record in self._rows(split, report))
        texts = vocabulary.draw((self._texts(record, sides) for record in records), o.max_records)
        if not texts:
            raise UserError(self._nothing(split, report))
        tokenizer = Tokenizer.train(chain.from_iterable(texts), **settings)
        with cache.writing(file) as temporary:
            temporary.write_bytes(tokenizer.model)
        return Tokenizer(tokenizer.model, o.type, o.sampling)

    def _nothing(self, found: str, report: Report) -> str:
        """Why a split without records has none."""
        reasons = "; ".join(report.lines(shown=3)) or "it is empty"
        return (
            f"{self.reader.files(found, self.at)} has no record that can be used (data.path={self.at.path}): {reasons}"
        )

    def _texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        """What of a record a tokenizer learns from."""
        return [record[side] for side in sides]

    def _fingerprint(self, split: str) -> tuple[object, ...]:
        kinds = type(self).__name__, type(self.reader).__name__
        return kinds, self.reader.fingerprint(split, self.at), self.source, self.target, vars(self.policy)

    def _encoded(self, split: str) -> EncodedSplit:
        codec = self.codec
        assert isinstance(codec, TextCodec)
        return EncodedSplit(self._file(split), codec)

    def _file(self, split: str) -> Path:
        """The encoded split, made if it is not in the cache."""
        split = canonical(split)
        if split not in self._files:
            found = self.reader.find(split, self.at)
            states = [cache.key(t.type, t.model.hex()) for t in self.codec.tokenizers.values()]
            form = FORM, version("sentencepiece"), *self._form
            file = self.cache / f"{cache.key(form, split, self._fingerprint(found), states)}.arrow"
            about = sealed.opened(file)
            if about is None or self._stale(Report(**about["report"]), file):
                about = self._write(split, found, file)
            report = self.report[split] = Report(**about["report"])
            log.info("%s: %d records", split, report.kept)
            for line in [*report.lines(), *vocabulary.warnings(split, about["unknown"], self.codec.tokenizers)]:
                log.warning("%s", line)
            if not report.kept:
                raise UserError(self._nothing(found, report))
            self._files[split] = file
        return self._files[split]

    def _stale(self, report: Report, file: Path) -> bool:
        """Whether the split in ``file`` has to be encoded anew, though what it was made from is the same."""
        return False

    @property
    def _form(self) -> tuple[object, ...]:
        """What of the options encoded files depend on."""
        return self.documents, self.copy

    def _write(self, split: str, found: str, file: Path) -> dict[str, Any]:
        """Encode a split, and return what the seal of its file says: its report, and what was unknown."""
        log.info("encoding %s", found)
        report = Report(split)
        self._unknown.clear()

        def rows() -> Iterator[dict[str, Any]]:
            for place, record in self._rows(found, report):
                if columns := self._encode(split, place, record, report):
                    report.kept += 1
                    yield {**record, "references": record.get("references") or [record["target"]], **columns}

        def about() -> dict[str, Any]:
            return {"report": report.as_dict(), "unknown": {s: u.as_dict() for s, u in self._unknown.items()}}

        arrow.write(file, rows(), about)
        return about()

    def _encode(self, split: str, place: str, record: Record, report: Report) -> dict[str, Any] | None:
        """The ids of a record by their columns, or None where it is dropped."""
        example = self.codec(record, None, place, report)
        kept = self.policy.fit(example, place, report) if split == "train" else example
        if kept is None:
            return None
        assert isinstance(self.codec, TextCodec) and kept.target is not None
        if not self.copy:  # what a source's words are is known to a model that copies them
            self._unknown["source"].add(self.codec.source, record["source"], kept.source)
        self._unknown["target"].add(self.codec.target, record["target"], kept.target)
        ids = {"source_ids": kept.source, "target_ids": kept.target, "sizes": kept.sizes}
        return {**ids, "copies": kept.copies, "own": kept.own}


class _Flat:
    """The batches of a loader of lists of batches, from one on."""

    def __init__(self, buffers: DataLoader[list[Batch]], start: int) -> None:
        self.buffers, self.start = buffers, start

    def __iter__(self) -> Iterator[Batch]:
        try:
            yield from islice(chain.from_iterable(self.buffers), self.start, None)
        except UserError as error:
            raise own_error(error) from None
