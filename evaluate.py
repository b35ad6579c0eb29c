"""Score a checkpoint: python evaluate.py checkpoint=RUN (--help lists everything)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(config: DictConfig) -> None:
    """Scores a split, new files, or gold alignments."""
    from seq2seq.cli import evaluate as evaluate_command  # imports torch: --help need not wait for it

    evaluate_command.evaluate(config)


def check(config: DictConfig, typed: list[str]) -> None:
    """Refuse options that evaluation does not heed."""
    from seq2seq.data.unused_options import check_evaluation

    check_evaluation(typed)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # imports much, in which Ctrl-C is handled already

        hydra_app.run(evaluate, "evaluate", check)
