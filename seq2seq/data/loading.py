"""From records by number to batches: how many go together, and the dataset whose items are batches."""

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
    """How large batches are, and the processes that prepare them.

    ``max_tokens`` bounds rows x max(S, T) of a batch, padding counted. None is a bound that follows the training split
    (``fitted``), or the largest that such a bound may be.
    """

    max_tokens: int | None = None
    max_sentences: int | None = None
    workers: int = 0
    pin_memory: bool = False

    @property
    def bound(self) -> int:
        """Return the most tokens of a batch, padding counted."""
        return self.max_tokens or LARGEST

    def fitted(self, lengths: tuple[Lengths, Lengths]) -> Batcher:
        """Return these batches with a bound that follows a training split of such lengths, if none is given."""
        return self if self.max_tokens else replace(self, max_tokens=fitting_tokens(*lengths))

    def sorted(self, lengths: tuple[Lengths, Lengths]) -> list[Indices]:
        """Return batches for evaluation, longest first."""
        return sorted_batches(*lengths, self.bound, self.max_sentences)

    def random(self, lengths: tuple[Lengths, Lengths], seed: Sequence[int]) -> list[Indices]:
        """Return the batches of an epoch, in the order that ``seed`` draws."""
        return random_batches(*lengths, self.bound, self.max_sentences, seed=seed)

    def loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        """Return a loader of the items of ``dataset``, which are batches."""
        # The generator only seeds workers, which draw nothing: it is set so that the global one is left alone.
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),
        )


class Batches(Dataset[Batch]):
    """A dataset whose item i is the i-th of ``batches``."""

    def __init__(self, examples: Examples, batches: Sequence[Indices]) -> None:
        self.examples, self.batches = examples, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        pairs = [(example, i) for i in self.batches[index].tolist() for example in self.examples.of(i)]
        if not pairs:
            return filler(has_images=self.examples.has_images)
        return collate([example for example, _ in pairs], [i for _, i in pairs])


def loader_error(error: UserError) -> UserError:
    """Return the error that a loader worker met, which arrives with the worker's traceback in its message."""
    message = worker_error(str(error))
    if message is None:
        return error
    # Its traceback holds the loader in a cycle: the garbage collector would close the queues before the loader could
    # tell the workers to end, and would wait 5 s for each.
    error.__traceback__ = None
    return UserError(message)
