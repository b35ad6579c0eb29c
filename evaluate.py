"""Score a checkpoint: python evaluate.py checkpoint=RUN (--help lists everything)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(config: DictConfig) -> None:
    """Scores a split, new files, or gold alignments."""
    from seq2seq.workflows import evaluating  # imports torch: --help need not wait for it

    evaluating.evaluate(config)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq import command  # imports much, in which Ctrl-C is handled already

        command.run(evaluate, "evaluate")
