"""New input to output: python generate.py checkpoint=RUN < input.txt > output.txt (--help lists everything)."""

from __future__ import annotations

from omegaconf import DictConfig

from seq2seq import command


def generate(config: DictConfig) -> None:
    """From lines to lines."""
    from seq2seq.workflows import generating  # imports torch: --help need not wait for it

    generating.generate(config)


if __name__ == "__main__":
    command.run(generate, "generate")
