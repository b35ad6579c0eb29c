"""Score a checkpoint: python evaluate.py checkpoint=RUN (--help lists everything)."""

from __future__ import annotations

from omegaconf import DictConfig

from seq2seq import command


def evaluate(config: DictConfig) -> None:
    """Scores a split, new files, or gold alignments."""
    from seq2seq.workflows import evaluating  # imports torch: --help need not wait for it

    evaluating.evaluate(config)


def check(config: DictConfig, typed: list[str]) -> None:
    """Refuse options that evaluation does not heed."""
    from seq2seq.data.effects import check_evaluation

    check_evaluation(typed)


if __name__ == "__main__":
    command.run(evaluate, "evaluate", check)
