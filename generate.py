"""New input to output: python generate.py checkpoint=RUN < input.txt > output.txt (--help lists everything)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def generate(config: DictConfig) -> None:
    """From lines to lines."""
    from seq2seq.workflows import generating  # imports torch: --help need not wait for it

    generating.generate(config)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq import command  # imports much, in which Ctrl-C is handled already

        command.run(generate, "generate")
