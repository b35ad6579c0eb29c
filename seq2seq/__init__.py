"""Sequence to sequence with attention: ``seq2seq.load(RUN).generate(inputs, return_attention=True)``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# torch reads it when it is imported: its profiler, which measures memory, would tell of each start
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

if TYPE_CHECKING:
    from pathlib import Path

    from seq2seq.generation.generator import TrainedModel

__all__ = ["load"]


def load(path: str | Path, device: str = "auto") -> TrainedModel:
    """Open a run directory (its best model) or a model's folder, ready to generate; nothing stored in it runs."""
    from seq2seq.generation.generator import TrainedModel  # here, so that importing one part doesn't import all

    return TrainedModel.load(path, device)
