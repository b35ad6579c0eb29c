"""Fit one model, or go on with a run: python train.py attention=local (--help lists everything)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(config: DictConfig) -> float | None:
    """Trains, then scores the test split; returns the best of the validation metric that counts, for sweepers."""
    from hydra.core.hydra_config import HydraConfig

    from seq2seq import sweeps
    from seq2seq.workflows import fitting  # imports torch: --help need not wait for it

    return fitting.run(config, Path(HydraConfig.get().runtime.output_dir), again=sweeps.is_sweep())


def check(config: DictConfig, typed: list[str]) -> None:
    """Refuses what could not be trained, while nothing has been made."""
    from seq2seq.workflows import fitting

    fitting.check(config, typed)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq import command  # imports much, in which Ctrl-C is handled already

        resuming = any(argument.lstrip("+").startswith("resume=") for argument in sys.argv)
        command.run(train, "resume" if resuming else "train", check)
