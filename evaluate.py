"""Score a checkpoint: python evaluate.py checkpoint=RUN (--help lists everything)."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from seq2seq import command


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Scores a split, new files, or gold alignments."""
    from seq2seq import workflows  # imports torch: --help need not wait for it

    workflows.evaluate(config)


if __name__ == "__main__":
    command.run(main, "evaluate")
