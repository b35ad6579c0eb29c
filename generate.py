"""New input to output: python generate.py checkpoint=RUN < input.txt > output.txt (--help lists everything)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def generate(config: DictConfig) -> None:
    """From lines to lines."""
    from seq2seq.cli import generate as generate_command  # imports torch: --help need not wait for it

    generate_command.generate(config)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # imports much, in which Ctrl-C is handled already

        hydra_app.run(generate, "generate")
