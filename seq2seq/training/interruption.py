"""Interruption of training by Ctrl-C or SIGTERM: finish the update, save a checkpoint and exit with the right code."""

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
    """Exception that ends the program with exit code 128 + signal number.

    Args:
        signum: Number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class Interruption(Callback):
    """Callback that raises ``Interrupted`` between updates after a signal; a second signal ends the program at once.

    All processes have to stop after the same update. They share the signals when they sum the tokens of each update.

    Args:
        resume_state: State of training, which knows whether an update is complete.
    """

    def __init__(self, resume_state: ResumeState) -> None:
        self.resume_state = resume_state
        self.received = 0  # number of the signal; 0: none
        self._module: Training | None = None
        self._process = os.getpid()

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the signal handlers; Lightning restores its own at the end.

        Lightning's handler of SIGTERM would communicate with other processes in the middle of an update.
        """
        assert isinstance(pl_module, Training)
        self._module, self._process = pl_module, os.getpid()
        # Python allows signal handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._handle)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop between two updates after a signal."""
        assert self._module is not None
        stop = self._module.update.stop_agreed if distributed.is_distributed() else self.received
        if stop and self.resume_state.complete:
            raise Interrupted(max(distributed.all_gather(self.received)))

    @override
    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop in a validation after a signal: the resumed run repeats it. The last validation of a run is finished."""
        if self.received and not distributed.is_distributed() and not 0 < trainer.max_steps <= trainer.global_step:
            raise Interrupted(self.received)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one asks to stop, the second one ends the program."""
        # The worker of a data loader has to deliver the batches of the last update.
        if os.getpid() != self._process:
            return
        # End the program by the default handler.
        if self.received:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        # Remember the signal for the end of the update.
        self.received = signum
        if self._module is not None:
            self._module.update.stop_wanted = True
        if distributed.rank() == 0:
            log.warning("%s: stopping after this update; send it again to stop at once", signal.Signals(signum).name)
