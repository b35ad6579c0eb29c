"""Datasets whose items are batches ready to train on: over an encoded split, or over a stream."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from seq2seq.batch import Batch
from seq2seq.compat.torch import worker_error
from seq2seq.data.arrow import Records, Strings, TokenLists, chunks
from seq2seq.data.batching import Indices, Lengths, random_batches, shard
from seq2seq.data.codec import Codec, Example, TextCodec
from seq2seq.data.collate import collate, filler
from seq2seq.data.readers.reader import DataLocation, Reader
from seq2seq.data.records import Report, accepted
from seq2seq.data.truncation import target_limit
from seq2seq.errors import UserError

log = logging.getLogger(__name__)


class Examples(Protocol):
    """By record number."""

    def __getitem__(self, index: int) -> Example: ...


class EncodedSplit:
    """The ids of a split as they lie on disk; what was not written is absent."""

    def __init__(self, file: Path, codec: TextCodec) -> None:
        self.source, self.target = TokenLists(file, "source_ids"), TokenLists(file, "target_ids")
        self.sizes = TokenLists(file, "sizes") if codec.documents else None
        self.copies = TokenLists(file, "copies") if codec.copy else None
        self.own = Strings(file, "own") if codec.copy else None

    @property
    def lengths(self) -> tuple[Lengths, Lengths]:
        """Tokens of each source and target, with ``</s>``."""
        return self.source.lengths, self.target.lengths - 1

    def __getitem__(self, index: int) -> Example:
        return Example(
            self.source[index],
            self.target[index],
            None if self.sizes is None else self.sizes[index],
            None if self.copies is None else self.copies[index],
            () if self.own is None else self.own[index],
        )


@dataclass(frozen=True)
class ResampledSplit:
    """Subword regularisation: the ids of a split's records, segmented anew in each epoch."""

    records: Records
    codec: Codec
    seed: int
    epoch: int

    def __getitem__(self, index: int) -> Example:
        record, policy = self.records[index], self.codec.policy
        for sample in ((self.seed, self.epoch, index), None):
            example = self.codec.cut(self.codec(record, sample), target=policy.max_target_tokens)
            if example.length <= policy.max_length:
                return example
        return self.codec.cut(example, policy.max_length, policy.max_length)


class Batches(Dataset[Batch]):
    """Item i is the i-th of the given batches."""

    def __init__(self, examples: Examples, batches: Sequence[Indices]) -> None:
        self.examples, self.batches = examples, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> Batch:
        return _batch(self.examples, self.batches[place])


@dataclass(frozen=True)
class RecordStream:
    """How a training split is read without storing it, ``buffer_size`` records at a time."""

    reader: Reader
    at: DataLocation
    split: str
    codec: Codec
    sampling: bool
    max_tokens: int
    max_sentences: int | None
    buffer_size: int


class StreamedBatches(IterableDataset[list[Batch]]):
    """Item i is this rank's batches of the i-th buffer of a stream, made by loader worker i modulo their number.

    So neither the number of workers nor that of ranks changes the order. Every worker and rank reads the whole stream,
    but tokenises, which is what costs, its own buffers only.
    """

    def __init__(self, stream: RecordStream, seed: int, epoch: int, rank: int, world_size: int) -> None:
        self.stream, self.seed, self.epoch, self.rank, self.world_size = stream, seed, epoch, rank, world_size

    def __iter__(self) -> Iterator[list[Batch]]:
        stream, info = self.stream, get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        report, read = Report("train"), Report("train")
        rows = accepted(stream.reader.rows(stream.split, stream.at, streaming=True), stream.codec.policy, read)
        for number, buffer in enumerate(chunks(rows, stream.buffer_size)):
            if number % workers != worker:
                continue
            examples: dict[int, Example] = {}
            for index, (place, record) in enumerate(buffer, number * stream.buffer_size):
                sample = (self.seed, self.epoch, index) if stream.sampling else None
                if example := fitting(stream.codec, stream.codec(record, sample, place, report), place, report):
                    examples[index] = example
            records = np.array(list(examples), np.int64)
            source, target = lengths(examples.values())
            seed = (self.seed, self.epoch, number)
            batches = random_batches(source, target, stream.max_tokens, stream.max_sentences, seed=seed)
            yield [_batch(examples, records[b]) for b in shard(batches, self.rank, self.world_size)]
        if self.rank == 0:  # what was read is the same for all workers; what was too long, each one's own
            for line in report.lines() + (read.lines() if worker == 0 else []):
                log.warning("%s", line)


def fitting(codec: Codec, example: Example, place: str, report: Report) -> Example | None:
    """``example`` as it is trained on, or None: what its codec's policy makes of a target or a record that is long."""
    assert example.target is not None
    policy = codec.policy
    example = codec.cut(example, target=target_limit(len(example.target) - 1, policy, place, report))
    if example.length <= policy.max_length:
        return example
    report.add("too long", place, policy)
    return codec.cut(example, policy.max_length, policy.max_length) if policy.on_long == "truncate" else None


def own_error(error: UserError) -> UserError:
    """Return the error that a loader worker met, which arrives with the worker's traceback in its message."""
    message = worker_error(str(error))
    return error if message is None else UserError(message)


def lengths(examples: Iterable[Example]) -> tuple[Lengths, Lengths]:
    """Tokens of each source and target, with ``</s>``."""
    source, target = np.array([example.lengths for example in examples], np.int64).reshape(-1, 2).T
    return source, target


def _batch(examples: Examples | Mapping[int, Example], indices: Indices) -> Batch:
    if not len(indices):
        return filler()
    return collate([examples[i] for i in indices.tolist()], indices.tolist())
