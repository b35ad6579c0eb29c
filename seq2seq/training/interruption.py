"""Ctrl-C and SIGTERM: the update is finished, a checkpoint is left, and the exit code says what happened."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from seq2seq.training import distributed
from seq2seq.training.module import Training
from seq2seq.training.resume import ResumeState

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Ends the program with 128 + the signal's number, unless somebody catches it."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class Interruption(Callback):
    """Raises ``Interrupted`` between updates once a signal has come; a second signal ends the program at once.

    Several processes have to stop after the same update: they tell each other of signals where they sum the tokens
    of each update.
    """

    def __init__(self, resume_state: ResumeState) -> None:
        self.resume_state = resume_state
        self.received = 0
        self._module: Training | None = None
        self._process = os.getpid()

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over, until Lightning gives them back at the end.

        (Its own handler of SIGTERM would talk to other processes in mid-update.)
        """
        assert isinstance(pl_module, Training)
        self._module, self._process = pl_module, os.getpid()
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._handle)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop between two updates if a signal has come."""
        assert self._module is not None
        stop = self._module.update.stop_agreed if distributed.is_distributed() else self.received
        if stop and self.resume_state.complete:
            raise Interrupted(max(distributed.all_gather(self.received)))

    @override
    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """In a validation, which the resumed run repeats; the last one, behind which no update comes, is finished."""
        if self.received and not distributed.is_distributed() and not 0 < trainer.max_steps <= trainer.global_step:
            raise Interrupted(self.received)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader's worker: it has to feed the last update
            return
        if self.received:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.received = signum
        if self._module is not None:
            self._module.update.stop_wanted = True
        if distributed.rank() == 0:
            log.warning("%s: stopping after this update (again to stop at once)", signal.Signals(signum).name)
