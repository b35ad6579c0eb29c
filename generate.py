"""New input to output: python generate.py checkpoint=RUN < input.txt > output.txt (--help lists everything)."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from seq2seq import command


@hydra.main(version_base="1.3", config_path="conf", config_name="generate")
def main(config: DictConfig) -> None:
    """From lines to lines."""
    from seq2seq import workflows  # imports torch: --help need not wait for it

    workflows.generate(config)


if __name__ == "__main__":
    command.run(main, "generate")
