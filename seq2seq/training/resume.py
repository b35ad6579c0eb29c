"""State of training in checkpoints: a resumed run continues exactly as if it had not stopped.

The state is that of the last *update*. It counts the batches that were trained on, not those that a loader has
fetched. It also holds the random generators of each process, and whether a validation is due or not finished. Lightning
may save a checkpoint at any place of its loops, so its own counters are overwritten with the same state.
"""

from __future__ import annotations

import random
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from seq2seq.compat import lightning as loops
from seq2seq.errors import UserError
from seq2seq.training import distributed
from seq2seq.training.datamodule import DataModule

CallbackState = dict[str, Any]


def generators(device: torch.device) -> CallbackState:
    """Return the state of all global random generators of this process, as plain data.

    Args:
        device: Device of training; the generator of a GPU is included.
    """
    state: CallbackState = {"torch": torch.get_rng_state(), "python": random.getstate()}
    kind, keys, *rest = np.random.get_state(legacy=True)
    state["numpy"] = (kind, np.asarray(keys).tolist(), *rest)
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: CallbackState, device: torch.device) -> None:
    """Set all global random generators.

    Args:
        state: State from ``generators``.
        device: Device of training.
    """
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


class ResumeState(Callback):
    """Callback that keeps the state of training and decides when to validate.

    Validation does not change the random numbers of training: the generators are restored after it.

    Args:
        datamodule: The data; its position is a part of the state.
        seed: Seed of the run.
        validate_every: Number of updates between validations; None validates at the end of every epoch.
    """

    def __init__(self, datamodule: DataModule, seed: int, validate_every: int | None) -> None:
        self.datamodule, self.seed, self.validate_every = datamodule, seed, validate_every
        self.complete = True  # whether the last batch ended an update
        self.validating = False  # whether a validation is due or running
        self.batches = 0  # batches trained on, in all epochs
        self.ends_epoch = False  # whether the last batch was the last of its epoch
        self.generators: CallbackState = {}
        self._restored: CallbackState | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs, including an incomplete last one; also right after resuming a finished run."""
        epoch, batches = self.datamodule.at
        return epoch + (batches > 0)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed a new run, with another seed in each process; a resumed run restores its generators later."""
        if self._restored is None:
            seed = np.random.SeedSequence((self.seed, trainer.global_rank)).generate_state(1, np.uint64).item()
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            self.generators = generators(pl_module.device)
        # A resumed run may have to repeat the validation that was stopped.
        loops.set_validation(trainer, is_due=self.validating)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the position to the start of a new epoch."""
        self.datamodule.at, self.ends_epoch = (trainer.current_epoch, 0), False

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the generators of a resumed run, now that building the loaders uses no more random numbers."""
        if self._restored is not None:
            restore(self._restored, pl_module.device)
            self._restored = None

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the state after an update, and decide whether to validate now."""
        # Never validate or record a state between the micro-batches of an update.
        self.complete = loops.ends_update(trainer)
        if not self.complete:
            loops.set_validation(trainer, is_due=False)
            return
        # Record the state.
        self.datamodule.at = (trainer.current_epoch, loops.epoch_batches(trainer))
        self.batches, self.ends_epoch = loops.total_batches(trainer), loops.ends_epoch(trainer)
        self.generators = generators(pl_module.device)
        # Validate regularly, and always after the last update.
        step, last_epoch = trainer.global_step, trainer.current_epoch + 1 == trainer.max_epochs
        due = step % self.validate_every == 0 if self.validate_every else self.ends_epoch
        due = due or step == trainer.max_steps or (self.ends_epoch and last_epoch)
        loops.set_validation(trainer, is_due=due)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Mark the validation as not finished."""
        self.validating = not trainer.sanity_checking

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the generators: validation may have used random numbers (search by sampling)."""
        if not trainer.sanity_checking:
            self.validating = False
            restore(self.generators, pl_module.device)

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: CallbackState) -> None:
        """Write the state into the checkpoint, and into Lightning's counters."""
        checkpoint["position"] = {
            "generators": distributed.all_gather(self.generators),
            "validating": self.validating,
            "batches": self.batches,
            "ends_epoch": self.ends_epoch,
        }
        # Lightning has counted the fetched batches.
        epoch, batches = self.datamodule.at
        loops.write_progress(
            checkpoint,
            epoch=epoch,
            batches=batches,
            total_batches=self.batches,
            updates=trainer.global_step,
            ends_epoch=self.ends_epoch,
            validating=self.validating,
        )

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: CallbackState) -> None:
        """Read the state from the checkpoint."""
        position = checkpoint["position"]
        if len(position["generators"]) != trainer.world_size:
            raise UserError(
                f"the run was trained by {len(position['generators'])} processes and can only resume with the same "
                f"number, not with {trainer.world_size}; change trainer.devices"
            )
        self.generators = self._restored = position["generators"][trainer.global_rank]
        self.validating, self.batches = position["validating"], position["batches"]
        self.ends_epoch = position["ends_epoch"]
