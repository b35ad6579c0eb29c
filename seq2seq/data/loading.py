"""Datasets whose items are batches ready to train on: over an encoded split, or over a stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from seq2seq.batch import Batch
from seq2seq.data.arrow import Records, TokenLists, chunks
from seq2seq.data.batching import Indices, Lengths, random_batches, shard
from seq2seq.data.collate import Pair, PairEncoder, collate, filler, length, truncated
from seq2seq.data.readers import Location, Reader
from seq2seq.data.records import Policy, Report, accepted

log = logging.getLogger(__name__)


class Pairs(Protocol):
    """Source and target ids by record number."""

    def __getitem__(self, index: int) -> Pair: ...


class Encoded:
    """The ids of a split as they lie on disk."""

    def __init__(self, source: TokenLists, target: TokenLists) -> None:
        self.source, self.target = source, target

    @property
    def lengths(self) -> tuple[Lengths, Lengths]:
        """Tokens of each source and target, with ``</s>``."""
        return self.source.lengths, self.target.lengths - 1

    def __getitem__(self, index: int) -> Pair:
        return self.source[index], self.target[index]


@dataclass(frozen=True)
class Drawn:
    """Subword regularisation: the ids of a split's records, segmented anew in each epoch."""

    records: Records
    encode: PairEncoder
    seed: int
    epoch: int
    max_length: int

    def __getitem__(self, index: int) -> Pair:
        record = self.records[index]
        pair = self.encode(record, (self.seed, self.epoch, index))
        return pair if length(pair) <= self.max_length else truncated(self.encode(record), self.max_length)


class Batches(Dataset[Batch]):
    """Item i is the i-th of the given batches."""

    def __init__(self, pairs: Pairs, batches: Sequence[Indices]) -> None:
        self.pairs, self.batches = pairs, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> Batch:
        return _batch(self.pairs, self.batches[place])


@dataclass(frozen=True)
class Stream:
    """How a training split is read without storing it, ``buffer_size`` records at a time."""

    reader: Reader
    at: Location
    split: str
    policy: Policy
    encode: PairEncoder
    sampling: bool
    max_tokens: int
    max_sentences: int | None
    buffer_size: int


class Buffers(IterableDataset[list[Batch]]):
    """Item i is this rank's batches of the i-th buffer of a stream, made by loader worker i modulo their number.

    So neither the number of workers nor that of ranks changes the order. Every worker and rank reads the whole stream,
    but tokenises, which is what costs, its own buffers only.
    """

    def __init__(self, stream: Stream, seed: int, epoch: int, rank: int, world_size: int) -> None:
        self.stream, self.seed, self.epoch, self.rank, self.world_size = stream, seed, epoch, rank, world_size

    def __iter__(self) -> Iterator[list[Batch]]:
        stream, info = self.stream, get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        report, read = Report("train"), Report("train")
        rows = accepted(stream.reader.rows(stream.split, stream.at, streaming=True), stream.policy, read)
        for number, buffer in enumerate(chunks(rows, stream.buffer_size)):
            if number % workers != worker:
                continue
            pairs: dict[int, Pair] = {}
            for index, (place, record) in enumerate(buffer, number * stream.buffer_size):
                sample = (self.seed, self.epoch, index) if stream.sampling else None
                if pair := fitting(stream.encode(record, sample), place, stream.policy, report):
                    pairs[index] = pair
            records = np.array(list(pairs), np.int64)
            source, target = (np.array([len(p[side]) - side for p in pairs.values()], np.int64) for side in (0, 1))
            seed = (self.seed, self.epoch, number)
            batches = random_batches(source, target, stream.max_tokens, stream.max_sentences, seed=seed)
            yield [_batch(pairs, records[b]) for b in shard(batches, self.rank, self.world_size)]
        if self.rank == 0:  # what was read is the same for all workers; what was too long, each one's own
            for line in report.lines() + (read.lines() if worker == 0 else []):
                log.warning("%s", line)


def fitting(pair: Pair, place: str, policy: Policy, report: Report) -> Pair | None:
    """``pair`` if it is short enough, or what the policy makes of it."""
    if length(pair) <= policy.max_length:
        return pair
    report.add("too long", place, policy)
    return truncated(pair, policy.max_length) if policy.on_long == "truncate" else None


def _batch(pairs: Pairs | Mapping[int, Pair], indices: Indices) -> Batch:
    if not len(indices):
        return filler()
    sources, targets = zip(*(pairs[i] for i in indices.tolist()), strict=True)
    return collate(sources, targets, indices.tolist())
