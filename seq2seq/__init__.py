"""Sequence to sequence with attention: ``seq2seq.load(RUN).generate(inputs, return_attention=True)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from seq2seq.generation.generator import TrainedModel

__all__ = ["load"]


def load(path: str | Path, device: str = "auto") -> TrainedModel:
    """Open a trained model for generation.

    Nothing stored in the run is executed, and the settings of the calling process do not change.

    Args:
        path: A run directory, whose best model is opened, or the folder of a model.
        device: Device of the model: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns:
        The model with its tokenizers.
    """
    # Import here, so that the import of one part of the package does not import all.
    from torch.random import fork_rng

    from seq2seq.generation.generator import TrainedModel

    # Building a model draws random numbers before its weights are read.
    with fork_rng(devices=()):
        return TrainedModel.load(path, device)
