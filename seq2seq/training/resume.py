"""Where training stands: what a checkpoint has to say so that a resumed run is the run that never stopped.

All of it is taken at the last *update*: batches trained on, never those fetched; the random generators of each
process; and whether a validation is due that has not ended. Lightning's own counters are written to say the same,
whenever in its loops a checkpoint is made.
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
    """The state of every global random generator of this process, as plain data."""
    state: CallbackState = {"torch": torch.get_rng_state(), "python": random.getstate()}
    kind, keys, *rest = np.random.get_state(legacy=True)
    state["numpy"] = (kind, np.asarray(keys).tolist(), *rest)
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: CallbackState, device: torch.device) -> None:
    """Set them as ``generators`` found them."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


class ResumeState(Callback):
    """Keeps the place, decides when to validate, and lets validation draw no number that training would have drawn."""

    def __init__(self, datamodule: DataModule, seed: int, validate_every: int | None) -> None:
        self.datamodule, self.seed, self.validate_every = datamodule, seed, validate_every
        self.complete = True  # the last batch ended an update
        self.validating = False  # a validation is due or running
        self.batches = 0  # of all epochs
        self.ends_epoch = False
        self.generators: CallbackState = {}
        self._restored: CallbackState | None = None

    @property
    def epochs(self) -> int:
        """Epochs that were trained on, the last perhaps in part; also of a run that was resumed after its end."""
        epoch, batches = self.datamodule.at
        return epoch + (batches > 0)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seeds a new run, each process by itself; a resumed one takes its generators at the first batch."""
        if self._restored is None:
            seed = np.random.SeedSequence((self.seed, trainer.global_rank)).generate_state(1, np.uint64).item()
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            self.generators = generators(pl_module.device)
        loops.set_validation(trainer, is_due=self.validating)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A new epoch: nothing of it is trained on."""
        self.datamodule.at, self.ends_epoch = (trainer.current_epoch, 0), False

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The loaders have been built: from here on only training draws."""
        if self._restored is not None:
            restore(self._restored, pl_module.device)
            self._restored = None

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the place if an update has ended, and decide whether to validate now."""
        self.complete = loops.ends_update(trainer)
        if not self.complete:
            loops.set_validation(trainer, is_due=False)
            return
        self.datamodule.at = (trainer.current_epoch, loops.epoch_batches(trainer))
        self.batches, self.ends_epoch = loops.total_batches(trainer), loops.ends_epoch(trainer)
        self.generators = generators(pl_module.device)
        step, last_epoch = trainer.global_step, trainer.current_epoch + 1 == trainer.max_epochs
        due = step % self.validate_every == 0 if self.validate_every else self.ends_epoch
        due = due or step == trainer.max_steps or (self.ends_epoch and last_epoch)
        loops.set_validation(trainer, is_due=due)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here to the end the validation is pending."""
        self.validating = not trainer.sanity_checking

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validation may draw numbers (a sampled decoding): training goes on as if it had not."""
        if not trainer.sanity_checking:
            self.validating = False
            restore(self.generators, pl_module.device)

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: CallbackState) -> None:
        """Write the place into the checkpoint, and into Lightning's counters there."""
        checkpoint["position"] = {
            "generators": distributed.all_gather(self.generators),
            "validating": self.validating,
            "batches": self.batches,
            "ends_epoch": self.ends_epoch,
        }
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
        """Take the place from the checkpoint."""
        position = checkpoint["position"]
        if len(position["generators"]) != trainer.world_size:
            raise UserError(
                f"the run was trained by {len(position['generators'])} processes and resumes only with as many, "
                f"not with {trainer.world_size}: set trainer.devices"
            )
        self.generators = self._restored = position["generators"][trainer.global_rank]
        self.validating, self.batches = position["validating"], position["batches"]
        self.ends_epoch = position["ends_epoch"]
