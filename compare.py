"""Many runs side by side, with statistics and one page: python compare.py runs=DIR (--help lists everything)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compare(config: DictConfig) -> None:
    """Tables, tests and the report."""
    from seq2seq.cli import compare as compare_command  # imports torch: --help need not wait for it

    compare_command.compare(config)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # imports much, in which Ctrl-C is handled already

        hydra_app.run(compare, "compare")
