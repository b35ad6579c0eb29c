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


def draw(
    attention: AttentionMap, *, gold: Collection[tuple[int, int]] = (), title: str = "", pieces: bool = False
) -> Figure:
    """Draw the attention of an output; a notebook draws ``attention`` itself in the same way.

    A sentence becomes a heat-map with a row for each word of the output and a column for each word of the source. A
    document becomes its text, shaded. An image becomes a sheet with a panel for each word.

    Args:
        attention: Attention of ``generate`` or ``score``.
        gold: Correct links (source word, target word) of a sentence, numbered from 0; their cells are outlined.
        title: Title of the figure; the model and its mechanism if empty.
        pieces: Whether the heat-map shows the pieces of words.

    Returns:
        The figure; a notebook shows it, and ``figure.savefig("attention.pdf")`` saves it.

    Raises:
        UserError: ``gold`` or ``pieces`` has no effect, because the source is no sentence.
    """
    from seq2seq.errors import UserError
    from seq2seq.plots import document, heatmap, sheet
    from seq2seq.plots.shading import Shading
    from seq2seq.plots.units import Units, between, cells_between, cells_of_words

    seen, title = attention, title or attention.model
    is_document = max(seen.sentences, default=0) > 0
    if (gold or pieces) and (is_document or seen.image is not None):
        source = "a document" if is_document else "an image"
        raise UserError(f"draw: gold= and pieces= have no effect, because the source is {source}; leave them out")
    # Draw an image.
    if seen.image is not None and seen.cells is not None:
        outside = seen.sentinels.get(seen.last)
        sentinel = None if outside is None else outside.mean(0)
        looks = sheet.ImageAttention.of(seen.words, seen.alignment, seen.target_words, sentinel)
        return sheet.draw(seen.image.images.shown(seen.image.file), looks, seen.cells, seen.extent, title=title)
    # Draw a document.
    if is_document:
        texts = seen.alignment, seen.source, seen.target, seen.source_words, seen.target_words
        return document.draw(Shading.of(*texts, sentences=seen.sentences, copied=seen.copied), title)
    # Draw a sentence.
    rows = Units.of(seen.target, seen.target_words, split=pieces)
    columns = Units.of(seen.source, seen.source_words, split=pieces)
    cells = cells_between(cells_of_words(gold, seen.source_words, seen.target_words), rows, columns)
    return heatmap.draw(between(seen.alignment, rows, columns), rows.names, columns.names, gold=cells, title=title)
