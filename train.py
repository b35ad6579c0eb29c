"""Train a model, or resume a run: python train.py attention=local (--help lists all options)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seq2seq.cli.train import Parts


def train(config: DictConfig, parts: Parts | None = None) -> float | None:
    """Train a model and score it on the test split.

    Args:
        config: Composed config of the run.
        parts: Components that ``check`` has built from ``config``.

    Returns:
        Best value of the monitored validation metric in a sweep, for the sweeper; otherwise None.
    """
    from hydra.core.hydra_config import HydraConfig

    from seq2seq.cli import sweep
    from seq2seq.cli import train as train_command  # imports torch: --help need not wait for it

    folder = Path(HydraConfig.get().runtime.output_dir)
    if sweep.is_sweep():
        return train_command.run_job(config, folder)
    train_command.train(config, folder, parts)
    return None


def check(config: DictConfig, typed: list[str]) -> Parts:
    """Check a config before a file is written, and return the components that were built for the check.

    Args:
        config: Composed config of the run.
        typed: Names of the options on the command line.
    """
    from seq2seq.cli import train as train_command

    return train_command.check(config, typed)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # the import takes long: Ctrl-C is already handled here

        resuming = any(argument.lstrip("+").startswith("resume=") for argument in sys.argv)
        hydra_app.run(train, "resume" if resuming else "train", check)
