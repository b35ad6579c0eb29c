"""Sequence to sequence with attention: ``seq2seq.load(RUN).generate(inputs, return_attention=True)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from seq2seq.generation.generator import TrainedModel

__all__ = ["load"]


def load(path: str | Path, device: str = "auto") -> TrainedModel:
    """Open a run directory (its best model) or a model's folder, ready to generate; nothing stored in it runs.

    The process that calls it keeps its settings.
    """
    from torch.random import fork_rng  # here, so that importing one part doesn't import all

    from seq2seq.generation.generator import TrainedModel

    with fork_rng(devices=()):  # a model is built with random numbers, before it gets its weights
        return TrainedModel.load(path, device)
