"""Batches for a trainer, from the position in the data that training has reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import islice, repeat
from typing import Any, cast

import lightning as L
import torch
from typing_extensions import override

from seq2seq.batch import Batch
from seq2seq.data.corpus import Corpus


class DataModule(L.LightningDataModule):
    """Lightning data module of a corpus. Its state is the number of batches *trained on* in the epoch, per process.

    Batches that a loader has only fetched do not count: ``at`` follows the progress of the trainer, not an iterator.

    Args:
        corpus: The data.
        seed: Seed of the run.
        repeat_first: Whether to repeat the first batch for ever, to overfit it.
    """

    def __init__(self, corpus: Corpus, seed: int, *, repeat_first: bool = False) -> None:
        """Start at the first batch of the first epoch."""
        super().__init__()
        self.corpus, self.seed, self.repeat_first = corpus, seed, repeat_first
        self.at = (0, 0)  # epoch, number of its batches trained on

    @override
    def train_dataloader(self) -> Iterable[Batch]:
        """Return the remaining batches of the epoch; the trainer asks for them in each epoch."""
        assert self.trainer is not None
        epoch, batches = self.at
        # A resumed trainer may ask before it knows its epoch.
        if self.trainer.current_epoch > epoch:
            epoch, batches = self.trainer.current_epoch, 0
        # Load the share of this process.
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        loader = self.corpus.train_loader(self.seed, epoch, batches, rank, world_size)
        return Endless(loader) if self.repeat_first else Rest(loader, batches)

    @override
    def val_dataloader(self) -> Iterable[Batch]:
        """Return the share of the validation split of this process."""
        assert self.trainer is not None
        return Lazy(self.corpus.loader("valid", self.trainer.global_rank, self.trainer.world_size))

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Copy a batch to the device without waiting for the copy."""
        return batch.to(device, non_blocking=True)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the position: the epoch and the number of its batches trained on."""
        return {"epoch": self.at[0], "batches": self.at[1]}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position of a checkpoint."""
        self.at = (state["epoch"], state["batches"])


class Lazy:
    """Loader whose workers start at the first batch, since Lightning makes iterators that it does not use.

    Args:
        loader: The loader of batches.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        yield from self.loader

    def __len__(self) -> int:
        return len(cast(Sized, self.loader))  # raises the usual TypeError for a stream without length


class Rest(Lazy):
    """Remaining batches of an epoch; its length is that of the whole epoch, as trainers expect.

    Args:
        loader: The loader of the remaining batches.
        start: Number of batches before them.
    """

    def __init__(self, loader: Iterable[Batch], start: int) -> None:
        super().__init__(loader)
        self.start = start

    def __len__(self) -> int:
        return self.start + super().__len__()


class Endless:
    """Endless repetition of the first batch of a loader.

    Args:
        loader: The loader of batches.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for batch in islice(self.loader, 1):
            yield from repeat(batch)
