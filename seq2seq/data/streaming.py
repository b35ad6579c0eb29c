"""Training from the source directly, without storing encoded records, for datasets larger than the disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from seq2seq.batch import Batch
from seq2seq.data.arrow import chunks
from seq2seq.data.batch_loading import Batcher, loader_error
from seq2seq.data.batching import Indices, shard
from seq2seq.data.codec import Codec
from seq2seq.data.collate import collate, filler
from seq2seq.data.data_source import DataSource
from seq2seq.data.example import Example, lengths
from seq2seq.data.record_policy import Report
from seq2seq.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordStream:
    """Training split that is read in buffers and not stored."""

    data: DataSource
    split: str
    codec: Codec
    sampling: bool  # whether texts are segmented at random
    batcher: Batcher
    buffer_size: int  # number of records of a buffer


class StreamedBatches(IterableDataset[list[Batch]]):
    """Dataset of lists of batches: item i holds this rank's batches of the i-th buffer of a stream.

    The loader worker with the number (i modulo the number of workers) makes item i. Therefore neither the number of
    workers nor the number of ranks changes the order. Every worker and rank reads the whole stream, but tokenises only
    its own buffers. Tokenisation takes most of the time.

    Args:
        stream: Training split.
        seed: Seed of the run.
        epoch: Number of the epoch.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, stream: RecordStream, seed: int, epoch: int, rank: int, world_size: int) -> None:
        self.stream, self.seed, self.epoch, self.rank, self.world_size = stream, seed, epoch, rank, world_size

    def __iter__(self) -> Iterator[list[Batch]]:
        stream, info = self.stream, get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        report, read = Report("train"), Report("train")
        rows = stream.data.records(stream.split, read)
        # Read the whole stream, but skip the buffers of other workers.
        for number, buffer in enumerate(chunks(rows, stream.buffer_size)):
            if number % workers != worker:
                continue
            # Encode the records of this buffer.
            examples: dict[int, Example] = {}
            for index, (place, record) in enumerate(buffer, number * stream.buffer_size):
                sample = (self.seed, self.epoch, index) if stream.sampling else None
                if example := stream.data.policy.fit(stream.codec(record, sample, place, report), place, report):
                    examples[index] = example
            # Put them into batches of similar length.
            records = np.array(list(examples), np.int64)
            batches = stream.batcher.random(lengths(examples.values()), (self.seed, self.epoch, number))
            yield [_batch(examples, records[b]) for b in shard(batches, self.rank, self.world_size)]
        # Reading gives the same report in all workers. Only the worker that encodes a buffer knows what was too long.
        if self.rank == 0:
            for line in report.lines() + (read.lines() if worker == 0 else []):
                log.warning("%s", line)


class StreamedLoader:
    """Batches of a loader whose items are lists of batches.

    Args:
        buffers: Loader of lists of batches.
        start: Number of the first batch to yield.
    """

    def __init__(self, buffers: DataLoader[list[Batch]], start: int) -> None:
        self.buffers, self.start = buffers, start

    def __iter__(self) -> Iterator[Batch]:
        try:
            yield from islice(chain.from_iterable(self.buffers), self.start, None)
        except UserError as error:
            raise loader_error(error) from None


def _batch(examples: dict[int, Example], indices: Indices) -> Batch:
    """Return the batch of some records; without records, a filler."""
    if not len(indices):
        return filler()
    return collate([examples[i] for i in indices.tolist()], indices.tolist())
