"""Fit one model, or go on with a run: python train.py attention=local (--help lists everything)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seq2seq.cli.train import Parts


def train(config: DictConfig, parts: Parts | None = None) -> float | None:
    """Train, then score the test split; return the best of the validation metric that counts, for sweepers."""
    from hydra.core.hydra_config import HydraConfig

    from seq2seq.cli import sweep
    from seq2seq.cli import train as train_command  # imports torch: --help need not wait for it

    folder = Path(HydraConfig.get().runtime.output_dir)
    if sweep.is_sweep():
        return train_command.run_job(config, folder)
    train_command.train(config, folder, parts)
    return None


def check(config: DictConfig, typed: list[str]) -> Parts:
    """Refuse what could not be trained, while nothing has been made; return what was built for it."""
    from seq2seq.cli import train as train_command

    return train_command.check(config, typed)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # imports much, in which Ctrl-C is handled already

        resuming = any(argument.lstrip("+").startswith("resume=") for argument in sys.argv)
        hydra_app.run(train, "resume" if resuming else "train", check)
