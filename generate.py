"""Generate output for new input: python generate.py checkpoint=RUN < input.txt > output.txt (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.runtime import interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig


def generate(config: DictConfig) -> None:
    """Generate one output for each input.

    Args:
        config: Composed config of the command.
    """
    from seq2seq.cli import generate as generate_command  # imports torch: --help need not wait for it

    generate_command.generate(config)


if __name__ == "__main__":
    with interrupts.stopping():
        from seq2seq.cli import hydra_app  # the import takes long: Ctrl-C is already handled here

        hydra_app.run(generate, "generate")
