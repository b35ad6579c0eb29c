"""Where a model looked while it said something: for alignments, statistics and images.

Shapes: T target pieces with ``</s>``, S source pieces with ``</s>``, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seq2seq.attention_store import Array, AttentionRecord
from seq2seq.batch import EOS, Batch
from seq2seq.data.codec import Codec
from seq2seq.data.images import ImageFile
from seq2seq.decoders.base import SENTINEL
from seq2seq.metrics.alignment import align
from seq2seq.metrics.attention import statistics
from seq2seq.metrics.links import Link
from seq2seq.metrics.words import merge, overlap
from seq2seq.model import Seq2Seq
from seq2seq.search import Hypothesis, force

MOST_WEIGHTS = 1 << 22  # of one head and layer, in one pass


@dataclass(frozen=True)
class AttentionMap:
    """Where a model looked, piece by piece, while it said ``target``: as it was used, from one forced pass."""

    source: list[str]  # S pieces
    target: list[str]  # T pieces; row t belongs to the step that predicts target[t]
    source_words: list[int]  # the word each piece belongs to, -1 for specials
    target_words: list[int]
    weights: dict[
        str, NDArray[np.float32]
    ]  # {"cross.L": (H, T, S), "encoder_self.L": (H, S, S), "decoder_self.L": ..., "sentinel.cross.L": (H, T, 1)}
    layers: list[NDArray[np.float32]]  # (T, S) the cross-attention of each layer, summed up over heads
    sentences: list[int] = field(default_factory=list)  # of a document: the sentence of each source piece
    copied: NDArray[np.float32] | None = None  # (T,) the probability that a piece was copied, given that it was said
    image: ImageFile | None = None  # of a caption
    cells: NDArray[np.int64] | None = None  # (S, 2) the row and column of each cell of the image's grid,
    extent: tuple[float, ...] = ()  # and how many there are room for: the last may be part padding; a clip is one row
    words: list[str] = field(default_factory=list)  # what was said; ``target_words`` counts in them

    @property
    def alignment(self) -> NDArray[np.float32]:
        """Return the alignment of the last layer, (T, S)."""
        return self.layers[-1]

    def copied_words(self) -> list[float]:
        """Return the mean of ``copied`` over the pieces of each target word; empty where the model does not copy."""
        if self.copied is None:
            return []
        shares = merge(self.copied[:, None], [0], self.target_words)  # (J, 1)
        return [round(float(share), 4) for share in shares[:, 0]]

    @property
    def sentinels(self) -> dict[str, NDArray[np.float32]]:
        """Return {"cross.L": (H, T)}: the mass that did not go to the source, of a mechanism with a sentinel."""
        return {n.removeprefix(SENTINEL): w[..., 0] for n, w in self.weights.items() if n.startswith(SENTINEL)}

    def links(self, rows: str = "predicted") -> frozenset[Link]:
        """Return (source word, target word) for each target word: ``seq2seq.metrics.alignment.align``."""
        return align(self.alignment, self.source_words, self.target_words, rows=rows)

    def statistics(self) -> dict[str, float]:
        """Return entropy, coverage, ... of the last cross layer: ``seq2seq.metrics.attention.statistics``."""
        found = statistics(self.weights[self.last], self.sentinels.get(self.last))
        if self.image is not None and self.image.images.frames is None:
            del found["monotonicity"]  # cells of a grid follow each other in no order
        return found

    @property
    def last(self) -> str:
        """Return the name of the last cross layer."""
        return max((name for name in self.weights if name.startswith("cross.")), key=lambda name: int(name[6:]))

    def crossing(self) -> AttentionMap:
        """Return the map without the weights of self-attention."""
        return replace(self, weights={name: weights for name, weights in self.weights.items() if "cross." in name})

    def to_record(self, place: int, reference: Array | None = None) -> AttentionRecord:
        """Return what is kept for comparison.

        Args:
            place: The index of the record.
            reference: ``between_words`` of its reference.
        """
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

    def between_words(self, source: str, target: str) -> Array:
        """Return the alignment (J, I) between words split at spaces, or (J, S) where the source is an image."""
        places = np.arange(len(self.source)) if self.cells is not None else overlap(self.source, source.split())
        return merge(self.alignment, places, overlap(self.target, target.split())).astype(np.float32)


def _words(text: str) -> list[str]:
    """Return words as ``target_words`` counts them: between spaces, whatever else is white."""
    return text.split(" ") if text else []


def attention_maps(model: Seq2Seq, codec: Codec, batch: Batch, chosen: Sequence[Hypothesis]) -> Iterator[AttentionMap]:
    """Yield the attention of teacher-forced passes over a chosen output for each sentence of ``batch``.

    Where sentences are long, few go into one pass: what all layers attended to would not fit in memory.
    """
    target = 1 + max((len(one.tokens) for one in chosen), default=0)
    source = 1 if batch.source is None else batch.source.shape[1]
    size = max(1, MOST_WEIGHTS // (target * (target + source)))
    for first in range(0, len(chosen), size):
        some = chosen[first : first + size]
        rows = torch.arange(first, first + len(some), device=batch.index.device)
        yield from _maps(model, codec, batch if len(some) == len(chosen) else batch.select(rows), some)


def _maps(model: Seq2Seq, codec: Codec, batch: Batch, chosen: Sequence[Hypothesis]) -> Iterator[AttentionMap]:
    for row, forced in enumerate(force(model, batch, chosen)):
        oov, size = batch.words(row), len(forced.positions)
        pieces, words = codec.read(batch, row, size)
        target = [*chosen[row].tokens, EOS]
        shown = batch.images
        image = None if shown is None else codec.input(shown.files[int(shown.rows[row])]).image
        cells, extent = forced.positions.cpu().numpy(), forced.extent.tolist()
        if len(extent) == 1:
            cells, extent = np.insert(cells, 0, 0, axis=1), [1, *extent]
        elif shown is not None:
            pixels = shown.sizes[shown.rows[row], 1:].tolist()
            extent = list(model.encoder.grid_extent(*pixels))
        cross = {name: weights.unsqueeze(0) for name, weights in forced.weights.items() if name.startswith("cross.")}
        yield AttentionMap(
            pieces,
            codec.target.pieces(target, oov),
            words,
            codec.target.words(target, oov),
            {name: weights.float().cpu().numpy() for name, weights in forced.weights.items()},
            [one[0].float().cpu().numpy() for one in model.alignments(cross)],
            [] if batch.segments is None else batch.segments[row, :size].tolist(),
            None if forced.copied is None else forced.copied.float().cpu().numpy(),
            image,
            None if image is None else cells,
            () if image is None else tuple(extent),
            _words(codec.text(chosen[row].tokens, oov)),
        )
