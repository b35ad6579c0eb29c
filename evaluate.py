"""Score a checkpoint: python evaluate.py checkpoint=RUN (--help lists all options)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(config: DictConfig) -> None:
    """Score a checkpoint on a split, on new files or on gold alignments.

    Args:
        config: Composed config of the command.
    """
    from seq2seq.cli import evaluate as evaluate_command  # imports torch: --help need not wait for it

    evaluate_command.evaluate(config)


def check(config: DictConfig, typed: list[str]) -> None:
    """Refuse options that have no effect on evaluation.

    Args:
        config: Composed config of the command.
        typed: Names of the options on the command line.
    """
    from seq2seq.data.unused_options import check_evaluation

    check_evaluation(typed)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # the import takes long: Ctrl-C is already handled here

        hydra_app.run(evaluate, "evaluate", check)
