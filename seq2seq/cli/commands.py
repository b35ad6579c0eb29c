"""The commands train, evaluate, generate and compare: in a checkout ``python train.py``, installed ``seq2seq-train``.

Each command checks its options before it imports torch, so that ``--help`` and mistakes take a second.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seq2seq.cli.train import Parts


@dataclass(frozen=True)
class Reader:
    """A command that reads runs: its function and its options, both in ``seq2seq.cli.NAME``.

    Args:
        name: Name of the module, of its function and of the config.
        options: Name of the dataclass of its options.
        groups: Keys of the config groups, which need the config of the run.
    """

    name: str
    options: str
    groups: tuple[str, ...] = ()

    def run(self, config: DictConfig) -> None:
        """Run the command.

        Args:
            config: Composed config of the command.
        """
        getattr(import_module(f"seq2seq.cli.{self.name}"), self.name)(config)

    def check(self, config: DictConfig, typed: list[str]) -> None:
        """Refuse wrong options.

        Args:
            config: Composed config of the command.
            typed: Names of the options on the command line.
        """
        from seq2seq.cli import quick_check

        quick_check.command(config, f"seq2seq.cli.{self.name}.{self.options}", self.groups)


# A file of the group data may name an encoder, which evaluation does not use.
EVALUATE = Reader("evaluate", "Evaluation", ("task", "data", "decoding", "encoder"))
GENERATE = Reader("generate", "Generating", ("decoding",))
COMPARE = Reader("compare", "Comparison")


def train() -> None:
    """Train a model, or resume a run."""
    resuming = any(argument.lstrip("+").startswith("resume=") for argument in sys.argv)
    _run(run_train, "resume" if resuming else "train", check_train)


def evaluate() -> None:
    """Score a checkpoint on a split."""
    _run(EVALUATE.run, EVALUATE.name, check_evaluate)


def generate() -> None:
    """Generate output for new input."""
    _run(GENERATE.run, GENERATE.name, GENERATE.check)


def compare() -> None:
    """Compare runs with statistical tests, and write a report."""
    _run(COMPARE.run, COMPARE.name, COMPARE.check)


def _run(task: Any, config_name: str, check: Any) -> None:
    """Run a command, or print help; Ctrl-C is handled before the import of Hydra, which takes long."""
    with interrupts.stopping():
        from seq2seq.cli import extension_flags, help

        with extension_flags.applied(sys.argv[1:]) as words:
            if help.answered(config_name, words):
                return
            from seq2seq.cli import hydra_app

            hydra_app.run(task, config_name, check)


def run_train(config: DictConfig, parts: Parts | None = None) -> float | None:
    """Train a model and score it on the test split.

    Args:
        config: Composed config of the run.
        parts: Components that ``check_train`` has built from ``config``.

    Returns:
        Best value of the monitored validation metric in a sweep, for the sweeper; otherwise None.
    """
    from hydra.core.hydra_config import HydraConfig

    from seq2seq.compat.torchmetrics import load_on_demand

    load_on_demand()
    from seq2seq.cli import sweep
    from seq2seq.cli import train as train_command

    folder = Path(HydraConfig.get().runtime.output_dir)
    if sweep.is_sweep():
        return train_command.run_job(config, folder)
    train_command.train(config, folder, parts)
    return None


def check_train(config: DictConfig, typed: list[str]) -> Parts:
    """Check a config before a file is written, and return the components that were built for the check.

    Args:
        config: Composed config of the run.
        typed: Names of the options on the command line.
    """
    from seq2seq.cli import quick_check

    if is_new := "resume" not in config:
        quick_check.training(config, typed)
    from seq2seq.compat.torchmetrics import load_on_demand

    load_on_demand()
    from seq2seq.cli import train as train_command

    return train_command.check(config, typed, quickly_checked=is_new)


def check_evaluate(config: DictConfig, typed: list[str]) -> None:
    """Refuse wrong options of evaluation, and options that have no effect on it.

    Args:
        config: Composed config of the command.
        typed: Names of the options on the command line.
    """
    EVALUATE.check(config, typed)
    from seq2seq.data.unused_options import check_evaluation

    check_evaluation(typed)
