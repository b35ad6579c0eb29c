"""Attention maps of outputs, for alignments, statistics and plots.

Letters: T target pieces with ``</s>``, S source pieces with ``</s>`` (or cells of an image), H heads, J target words,
I source words.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray

from seq2seq.attention_store import Array, AttentionRecord
from seq2seq.batch import EOS, Batch
from seq2seq.data.codec import Codec
from seq2seq.data.images import ImageFile
from seq2seq.decoders.base import POSTERIOR, SENTINEL
from seq2seq.metrics.alignment import align
from seq2seq.metrics.attention import statistics
from seq2seq.metrics.links import Link
from seq2seq.metrics.words import merge, overlap
from seq2seq.model import Seq2Seq
from seq2seq.search import Hypothesis, force

USUAL = ("Soft", "Softmax", "Global")  # parts of a composed mechanism that its name leaves out
MOST_WEIGHTS = 1 << 22  # most attention weights of one head and layer in one pass


@dataclass(frozen=True, repr=False)
class AttentionMap:
    """The attention of a model for one output, from one teacher-forced pass.

    Attributes:
        source: The S source pieces.
        target: The T target pieces; row t of the weights belongs to the step that predicts ``target[t]``.
        source_words: Index of the word of each source piece, -1 for special tokens.
        target_words: Index of the word of each target piece, -1 for special tokens.
        weights: {"cross.L": (H, T, S), "encoder_self.L": (H, S, S), "decoder_self.L": (H, T, T),
            "sentinel.cross.L": (H, T, 1), "posterior.cross.L": (1, T, S)} for each layer L.
        layers: Cross-attention (T, S) of each layer, combined over heads.
        sentences: Sentence of each source piece of a document.
        copied: Probability that each target piece was copied, given that it is the output (T,).
        image: The image of a caption.
        cells: Row and column of each cell in the grid of an image (S, 2).
        extent: Height and width of the image in cells; the last cells may be partly padding. A clip has one row.
        words: Words of the output, which ``target_words`` counts.
        model: Model and mechanism, for titles (``described``).
        posterior: Posterior of a latent alignment given the whole output (T, S); None where attention has none.
    """

    source: list[str]
    target: list[str]
    source_words: list[int]
    target_words: list[int]
    weights: dict[str, NDArray[np.float32]]
    layers: list[NDArray[np.float32]]
    sentences: list[int] = field(default_factory=list)
    copied: NDArray[np.float32] | None = None
    image: ImageFile | None = None
    cells: NDArray[np.int64] | None = None
    extent: tuple[float, ...] = ()
    words: list[str] = field(default_factory=list)
    model: str = ""
    posterior: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        """Return the sizes; the weights would fill pages."""
        return f"AttentionMap({self.model}: {len(self.target)} target pieces, {len(self.source_words)} source pieces)"

    def _repr_png_(self) -> bytes:
        """Return the drawing that a notebook shows (``seq2seq.draw``)."""
        from seq2seq import draw  # not at the top: matplotlib takes a second, and most programs draw nothing

        content = BytesIO()
        draw(self).savefig(content, format="png")
        return content.getvalue()

    def _repr_html_(self) -> str:
        """Return the drawing as HTML, for notebooks that prefer it."""
        picture = base64.b64encode(self._repr_png_()).decode()
        meaning = escape(" ".join(["attention of", self.model, *self.words]))
        return f'<img alt="{meaning}" style="max-width: 100%" src="data:image/png;base64,{picture}">'

    @property
    def alignment(self) -> NDArray[np.float32]:
        """The alignment (T, S) of the last layer."""
        return self.layers[-1]

    def copied_words(self) -> list[float]:
        """Return the mean copy probability of each target word; empty where the model does not copy."""
        if self.copied is None:
            return []
        shares = merge(self.copied[:, None], [0], self.target_words)  # (J, 1)
        return [round(float(share), 4) for share in shares[:, 0]]

    @property
    def sentinels(self) -> dict[str, NDArray[np.float32]]:
        """The attention on the sentinel, {"cross.L": (H, T)}; empty for mechanisms without one."""
        return {n.removeprefix(SENTINEL): w[..., 0] for n, w in self.weights.items() if n.startswith(SENTINEL)}

    def links(self, rows: str = "predicted") -> frozenset[Link]:
        """Link each target word with a source word (``seq2seq.metrics.alignment.align``).

        Args:
            rows: The word that a row is about, ``predicted`` or ``input`` (see ``align``).

        Returns:
            Pairs (source word, target word).
        """
        return align(self.alignment, self.source_words, self.target_words, rows=rows)

    def statistics(self) -> dict[str, float]:
        """Return entropy, coverage and so on of the last cross layer (``seq2seq.metrics.attention.statistics``)."""
        found = statistics(self.weights[self.last], self.sentinels.get(self.last))
        if self.image is not None and self.image.images.frames is None:
            del found["monotonicity"]  # the cells of a grid have no order
        return found

    @property
    def last(self) -> str:
        """The name of the last cross layer."""
        return max((name for name in self.weights if name.startswith("cross.")), key=lambda name: int(name[6:]))

    def crossing(self) -> AttentionMap:
        """Return the map without the weights of self-attention."""
        return replace(self, weights={name: weights for name, weights in self.weights.items() if "cross." in name})

    def to_record(self, place: int, reference: Array | None = None) -> AttentionRecord:
        """Return the record that is stored for comparisons.

        Args:
            place: Index of the record in its split.
            reference: ``between_words`` of the reference (J, I).
        """
        # An image has cells in place of source pieces.
        image = self.cells is not None
        return AttentionRecord(
            place,
            [] if image else self.source,
            self.target,
            [] if image else self.source_words,
            self.target_words,
            self.alignment,
            self.crossing().weights,
            reference,
            [] if self.cells is None else self.cells.tolist(),
            self.extent,
            self.sentences,
        )

    def between_words(self, source: Sequence[str], target: Sequence[str]) -> Array:
        """Return the alignment between words.

        Args:
            source: I words of the source; an image ignores them.
            target: J words of the target.

        Returns:
            Weights (J, I), or (J, S) for an image.
        """
        # The cells of an image are not merged.
        places = np.arange(len(self.source)) if self.cells is not None else overlap(self.source, source)
        return merge(self.alignment, places, overlap(self.target, target)).astype(np.float32)


def attention_maps(model: Seq2Seq, codec: Codec, batch: Batch, chosen: Sequence[Hypothesis]) -> Iterator[AttentionMap]:
    """Yield the attention of teacher-forced passes over one output for each sentence of a batch.

    Args:
        model: The model.
        codec: Tokenizers of the model.
        batch: B sentences.
        chosen: The output of each sentence.

    Yields:
        One map for each sentence, in their order.
    """
    # Limit the sentences of a pass: the weights of all layers must fit in memory.
    target = 1 + max((len(one.tokens) for one in chosen), default=0)
    source = 1 if batch.source is None else batch.source.shape[1]
    size = max(1, MOST_WEIGHTS // (target * (target + source)))
    for first in range(0, len(chosen), size):
        some = chosen[first : first + size]
        rows = torch.arange(first, first + len(some), device=batch.index.device)
        yield from _maps(model, codec, batch if len(some) == len(chosen) else batch.select(rows), some)


def _maps(model: Seq2Seq, codec: Codec, batch: Batch, chosen: Sequence[Hypothesis]) -> Iterator[AttentionMap]:
    """Yield the attention of one teacher-forced pass."""
    for row, forced in enumerate(force(model, batch, chosen)):
        # Read the pieces and the words.
        oov, size = batch.words(row), len(forced.positions)
        pieces, words = codec.read(batch, row, size)
        target = [*chosen[row].tokens, EOS]
        # Read the grid of an image; a clip becomes a grid of one row.
        shown = batch.images
        image = None if shown is None else codec.input(shown.files[int(shown.rows[row])]).image
        cells, extent = forced.positions.cpu().numpy(), forced.extent.tolist()
        if len(extent) == 1:
            cells, extent = np.insert(cells, 0, 0, axis=1), [1, *extent]
        elif shown is not None:
            pixels = shown.sizes[shown.rows[row], 1:].tolist()
            extent = list(model.encoder.grid_extent(*pixels))
        # Convert the weights to arrays.
        arrays = {name: weights.float().cpu().numpy() for name, weights in forced.weights.items()}
        cross = {name: weights.unsqueeze(0) for name, weights in forced.weights.items() if name.startswith("cross.")}
        yield AttentionMap(
            pieces,
            codec.target.pieces(target, oov),
            words,
            codec.target.words(target, oov),
            arrays,
            [one[0].float().cpu().numpy() for one in model.alignments(cross)],
            [] if batch.segments is None else batch.segments[row, :size].tolist(),
            None if forced.copied is None else forced.copied.float().cpu().numpy(),
            image,
            None if image is None else cells,
            () if image is None else tuple(extent),
            codec.target.words_of(chosen[row].tokens, oov),
            described(model),
            next((weights[0] for name, weights in arrays.items() if name.startswith(POSTERIOR)), None),
        )


def described(model: Seq2Seq) -> str:
    """Return a short name of a model and its cross-attention: ``RNN, additive attention``.

    Args:
        model: The model.
    """
    mechanism = model.decoder.cross_attention(0)
    names = [type(mechanism).__name__.removesuffix("Attention")]
    # A composed mechanism has the name of its score, and of all parts that are not the usual ones.
    if names == ["Composed"]:
        parts = (type(getattr(mechanism, part)).__name__ for part in ("selection", "normalizer", "window", "score"))
        names = [part for part in parts if part not in USUAL]
    heads = "multi-head " if getattr(mechanism, "heads", 1) > 1 else ""
    spaced = " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part) for part in names)
    name = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in spaced.split())
    return f"{type(model.decoder).__name__.removesuffix('Decoder')}, {heads}{name} attention"
