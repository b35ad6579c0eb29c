"""The commands train, evaluate, generate and compare: in a checkout ``python train.py``, installed ``seq2seq-train``.

Each command checks its options before it imports torch, so that ``--help`` and mistakes take a second.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seq2seq.cli.train import Parts


def train() -> None:
    """Train a model, or resume a run."""
    resuming = any(argument.lstrip("+").startswith("resume=") for argument in sys.argv)
    _run(run_train, "resume" if resuming else "train", check_train)


def evaluate() -> None:
    """Score a checkpoint on a split."""
    _run(run_evaluate, "evaluate", check_evaluate)


def generate() -> None:
    """Generate output for new input."""
    _run(run_generate, "generate", check_generate)


def compare() -> None:
    """Compare runs with statistical tests, and write a report."""
    _run(run_compare, "compare", check_compare)


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

    if "resume" not in config:
        quick_check.training(config, typed)
    from seq2seq.cli import train as train_command

    return train_command.check(config, typed)


def run_evaluate(config: DictConfig) -> None:
    """Score a checkpoint on a split, on new files or on gold alignments.

    Args:
        config: Composed config of the command.
    """
    from seq2seq.cli import evaluate as evaluate_command

    evaluate_command.evaluate(config)


def check_evaluate(config: DictConfig, typed: list[str]) -> None:
    """Refuse wrong options of evaluation, and options that have no effect on it.

    Args:
        config: Composed config of the command.
        typed: Names of the options on the command line.
    """
    from seq2seq.cli import quick_check

    # A file of the group data may name an encoder, which evaluation does not use.
    quick_check.command(config, "seq2seq.cli.evaluate.Evaluation", ("task", "data", "decoding", "encoder"))
    from seq2seq.data.unused_options import check_evaluation

    check_evaluation(typed)


def run_generate(config: DictConfig) -> None:
    """Generate one output for each input.

    Args:
        config: Composed config of the command.
    """
    from seq2seq.cli import generate as generate_command

    generate_command.generate(config)


def check_generate(config: DictConfig, typed: list[str]) -> None:
    """Refuse wrong options of generation.

    Args:
        config: Composed config of the command.
        typed: Names of the options on the command line.
    """
    from seq2seq.cli import quick_check

    quick_check.command(config, "seq2seq.cli.generate.Generating", ("decoding",))


def run_compare(config: DictConfig) -> None:
    """Write tables, tests and a report about several runs.

    Args:
        config: Composed config of the command.
    """
    from seq2seq.cli import compare as compare_command

    compare_command.compare(config)


def check_compare(config: DictConfig, typed: list[str]) -> None:
    """Refuse wrong options of a comparison.

    Args:
        config: Composed config of the command.
        typed: Names of the options on the command line.
    """
    from seq2seq.cli import quick_check

    quick_check.command(config, "seq2seq.cli.compare.Comparison", ())
