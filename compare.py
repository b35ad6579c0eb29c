"""Many runs side by side, with statistics and one page: python compare.py runs=DIR (--help lists everything)."""

from __future__ import annotations

from omegaconf import DictConfig

from seq2seq import command


def compare(config: DictConfig) -> None:
    """Tables, tests and the report."""
    from seq2seq.workflows import comparing  # imports torch: --help need not wait for it

    comparing.compare(config)


if __name__ == "__main__":
    command.run(compare, "compare")
