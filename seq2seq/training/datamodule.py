"""The batches that a trainer asks for, from the place in the data where it stands."""

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
    """Hands out a corpus. Its state is the number of batches of an epoch that a process has *trained on*.

    What a loader has fetched ahead does not count: ``at`` is set from the trainer's progress, not from an iterator's.
    """

    def __init__(self, corpus: Corpus, seed: int, *, repeat_first: bool = False) -> None:
        """``repeat_first`` trains on the first batch for ever (to overfit it)."""
        super().__init__()
        self.corpus, self.seed, self.repeat_first = corpus, seed, repeat_first
        self.at = (0, 0)  # epoch, batches of it already trained on

    @override
    def train_dataloader(self) -> Iterable[Batch]:
        """The rest of the trainer's epoch; asked for anew in each."""
        assert self.trainer is not None
        epoch, batches = self.at
        if self.trainer.current_epoch > epoch:  # a resumed trainer may ask before it knows its own epoch
            epoch, batches = self.trainer.current_epoch, 0
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        loader = self.corpus.train_loader(self.seed, epoch, batches, rank, world_size)
        return Endless(loader) if self.repeat_first else Rest(loader, batches)

    @override
    def val_dataloader(self) -> Iterable[Batch]:
        """This process' share of the validation split."""
        assert self.trainer is not None
        return Lazy(self.corpus.loader("valid", self.trainer.global_rank, self.trainer.world_size))

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Copy a batch to the device without waiting for it."""
        return batch.to(device, non_blocking=True)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and its batches so far, for the checkpoint."""
        return {"epoch": self.at[0], "batches": self.at[1]}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the epoch and batch of the checkpoint."""
        self.at = (state["epoch"], state["batches"])


class Lazy:
    """A loader whose workers start at the first batch: Lightning makes iterators that it then throws away."""

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        yield from self.loader

    def __len__(self) -> int:
        return len(cast(Sized, self.loader))  # a TypeError where a stream has no length, as usual


class Rest(Lazy):
    """The batches of an epoch after the first ``start``; as long as the whole, since trainers count from its start."""

    def __init__(self, loader: Iterable[Batch], start: int) -> None:
        super().__init__(loader)
        self.start = start

    def __len__(self) -> int:
        return self.start + super().__len__()


class Endless:
    """The first batch of a loader, again and again."""

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for batch in islice(self.loader, 1):
            yield from repeat(batch)
