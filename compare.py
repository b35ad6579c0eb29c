"""Compare runs with statistical tests, and write a report: python compare.py runs=DIR (--help lists all options)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compare(config: DictConfig) -> None:
    """Write tables, tests and a report about several runs.

    Args:
        config: Composed config of the command.
    """
    from seq2seq.cli import compare as compare_command  # imports torch: --help need not wait for it

    compare_command.compare(config)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # the import takes long: Ctrl-C is already handled here

        hydra_app.run(compare, "compare")
