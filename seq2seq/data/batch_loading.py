"""Loading of batches: their sizes, and the dataset whose items are batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from seq2seq.batch import Batch
from seq2seq.compat.torch import worker_error
from seq2seq.data.batching import LARGEST, Indices, Lengths, fitting_tokens, random_batches, sorted_batches
from seq2seq.data.collate import collate, filler
from seq2seq.data.encoding import Examples
from seq2seq.errors import UserError


@dataclass(frozen=True)
class Batcher:
    """Sizes of batches, and the processes that prepare them."""

    max_tokens: int | None = None  # bound on rows x max(S, T), with padding; None follows the training split
    max_sentences: int | None = None  # largest number of records of a batch
    workers: int = 0  # number of processes that prepare batches
    pin_memory: bool = False  # whether batches are put into page-locked memory, if there is a GPU

    @property
    def bound(self) -> int:
        """Largest number of tokens of a batch, with padding.

        Without ``max_tokens``, it is the largest bound that the data can set.
        """
        return self.max_tokens or LARGEST

    def fitted(self, lengths: tuple[Lengths, Lengths]) -> Batcher:
        """Return a batcher with a bound that follows the training split, if no bound is given.

        Args:
            lengths: Tokens of each source (N,) and of each target (N,) of the training split.
        """
        return self if self.max_tokens else replace(self, max_tokens=fitting_tokens(*lengths))

    def sorted(self, lengths: tuple[Lengths, Lengths]) -> list[Indices]:
        """Return batches for evaluation, longest first.

        Args:
            lengths: Tokens of each source (N,) and of each target (N,).
        """
        return sorted_batches(*lengths, self.bound, self.max_sentences)

    def random(self, lengths: tuple[Lengths, Lengths], seed: Sequence[int]) -> list[Indices]:
        """Return the batches of an epoch in random order.

        Args:
            lengths: Tokens of each source (N,) and of each target (N,).
            seed: Seeds (seed, epoch, ...) of the order.
        """
        return random_batches(*lengths, self.bound, self.max_sentences, seed=seed)

    def loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        """Return a loader of a dataset whose items are batches.

        Args:
            dataset: Dataset of batches.
        """
        # The generator only seeds workers, which draw nothing. It is set so that the global generator stays unchanged.
        return DataLoader(
            # An item is a whole batch, so the loader itself makes no batches.
            dataset,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),
        )


class Batches(Dataset[Batch]):
    """Dataset of batches.

    Args:
        examples: Examples of each record of a split.
        batches: Record numbers of each batch.
    """

    def __init__(self, examples: Examples, batches: Sequence[Indices]) -> None:
        self.examples, self.batches = examples, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        # A record of an image may have several examples.
        pairs = [(example, i) for i in self.batches[index].tolist() for example in self.examples.of(i)]
        # An empty array of record numbers stands for a filler.
        if not pairs:
            return filler(has_images=self.examples.has_images)
        return collate([example for example, _ in pairs], [i for _, i in pairs])


def loader_error(error: UserError) -> UserError:
    """Return the error that a loader worker met, without the worker's traceback.

    Args:
        error: Error that the loader raised; its message may hold the traceback.
    """
    message = worker_error(str(error))
    if message is None:
        return error
    # Its traceback holds the loader in a cycle: the garbage collector would close the queues before the loader could
    # tell the workers to end, and would wait 5 s for each.
    error.__traceback__ = None
    return UserError(message)
