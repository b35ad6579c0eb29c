"""Sequence to sequence with attention: ``seq2seq.load(RUN).generate(inputs, return_attention=True)``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from seq2seq.generation.attention_map import AttentionMap
    from seq2seq.generation.generator import TrainedModel

__all__ = ["draw", "intervene", "load"]

# The functions import what they need, so that the import of one part of the package does not import all.


def load(path: str | Path, device: str = "auto", trust: str | Iterable[str] = ()) -> TrainedModel:
    """Open a trained model for generation.

    Nothing stored in the run is executed, and the settings of the calling process do not change.

    Args:
        path: A run directory, whose best model is opened, or the folder of a model.
        device: Device of the model: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        trust: Packages of your own whose classes the model may name. Their code is imported and runs.

    Returns:
        The model with its tokenizers.
    """
    from torch.random import fork_rng

    from seq2seq.config.extensions import trusting
    from seq2seq.generation.generator import TrainedModel

    # Building a model draws random numbers before its weights are read.
    with fork_rng(devices=()), trusting(trust):
        return TrainedModel.load(path, device)


@contextmanager
def intervene(model: TrainedModel, change: Any) -> Iterator[None]:
    """Change the attention of a model to its source within the context, in ``generate`` and in ``score``.

    The model computes its own weights first. Then it uses, and returns, the changed weights.

    Args:
        model: The model.
        change: ``uniform`` (all source pieces get the same weight), ``frozen`` (each step uses the weights of the first
            step) or ``permuted`` (the weights of each step change places at random); or a matrix of weights
            (steps, source pieces with ``</s>``) for a single source (``seq2seq.attention.interventions.forced``); or a
            function (``seq2seq.attention.interventions.Change``).

    Yields:
        Nothing; the model is as before after the context.

    Raises:
        UserError: There is no change of that name, or the matrix does not fit the source.
    """
    from seq2seq.attention.interventions import change_of, intervened

    with intervened(model.model, change_of(change)):
        yield


def draw(attention: AttentionMap, *, gold: Collection[tuple[int, int]] = (), title: str = "") -> Figure:
    """Draw the attention matrix of an output: a row for each target piece, a column for each source piece.

    Args:
        attention: Attention of ``generate`` or ``score``, for a source that is text.
        gold: Correct links (source word, target word), numbered from 0; their cells are outlined.
        title: Title of the figure.

    Returns:
        The figure; a notebook shows it, and ``figure.savefig("attention.png", bbox_inches="tight")`` saves it.

    Raises:
        UserError: The source is an image.
    """
    from seq2seq.config.extensions import command
    from seq2seq.errors import UserError
    from seq2seq.plots import heatmap
    from seq2seq.plots.sentence import cells_of_words

    if attention.cells is not None:
        raise UserError(f"draw: the source is an image; {command('generate')} plots=DIR draws attention to images")
    cells = cells_of_words(gold, attention.source_words, attention.target_words)
    return heatmap.draw(attention.alignment, attention.target, attention.source, gold=cells, title=title)
