"""What every encoder gives: a memory to attend over and a summary to start a decoder from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.types import AttentionOutput, Memory, Query, SourceSpec, sum_terms
from seq2seq.batch import Batch, Copies
from seq2seq.encoders.rows import RowLayout
from seq2seq.errors import UserError
from seq2seq.layers.embedding import TokenEmbedding


@dataclass(frozen=True)
class EncoderOutput:
    """``hidden`` (B, L, F) is one summary a layer, F = ``final_dim``; of two directions [forward; backward]."""

    memory: Memory
    hidden: Tensor
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # {"encoder_self.0": (B, H, S, S)} if asked for
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B,)}, unweighted, summed over layers
    log_prob: Tensor | None = None  # (B,) of what the slots drew, summed over layers
    copies: Copies | None = None  # what of the source may be copied

    @staticmethod
    def of(memory: Memory, hidden: Tensor, slots: Sequence[AttentionOutput]) -> EncoderOutput:
        """Collect what the self-attention of each layer reported; what it says of padding does not count."""
        weights = {f"encoder_self.{i}": slot.weights for i, slot in enumerate(slots) if slot.weights is not None}
        penalties, log_prob = sum_terms(slots)
        return EncoderOutput(
            memory,
            hidden,
            weights,
            {name: (value * memory.mask).sum(1) for name, value in penalties.items()},
            None if log_prob is None else (log_prob * memory.mask).sum(1),
        )

    def reporting(self, other: EncoderOutput) -> EncoderOutput:
        """Return this output with what the slots of both reported."""
        penalties = dict(self.penalties)
        for name, value in other.penalties.items():
            penalties[name] = penalties[name] + value if name in penalties else value
        log_prob = other.log_prob
        if self.log_prob is not None:
            log_prob = self.log_prob if log_prob is None else self.log_prob + log_prob
        return replace(self, penalties=penalties, log_prob=log_prob)

    def select(self, index: Tensor) -> EncoderOutput:
        """Return the rows ``index`` of the batch (search expands sentences to beams with it)."""
        copies = None if self.copies is None else self.copies.select(index)
        return EncoderOutput(self.memory.select(index), self.hidden.index_select(0, index), copies=copies)


class Encoder(nn.Module, ABC):
    """Base of encoders. ``source`` tells attention mechanisms what they will attend over.

    ``directions`` is 2 where a summary is [forward; backward]. ``reads`` is what the sources are: text, image or video.
    """

    reads: ClassVar[str] = "text"
    embedding: TokenEmbedding
    source: SourceSpec
    final_dim: int
    final_layers: int
    directions: int = 1
    cache: Path | None = None  # folder where features are kept from epoch to epoch; None = computed each time
    __call__: Callable[..., EncoderOutput]

    @abstractmethod
    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Encode ``batch.source`` (B, S)."""

    @property
    def trains_later(self) -> bool:
        """Whether parameters that a gradient will reach are left out of it at first."""
        return False

    def set_progress(self, progress: float, updates: int) -> None:
        """Take note of how far training has come, from 0 to 1, and after how many updates."""

    @property
    def awaited_share(self) -> str | None:
        """Return the option that is a share of training, as ``OPTION=VALUE``: it needs a run that says when it ends."""
        return None

    def pixels_at(self, pixels: Tensor, row: int, column: int) -> Tensor:
        """Return the part of an image that one place of the memory shows, as a view; of encoders that read images.

        Args:
            pixels: (F, 3, h, w) of one image.
            row: Row of the place in the grid; 0 of a video.
            column: Column of the place in the grid; the frame of a video.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no images")

    def grid_extent(self, height: int, width: int) -> tuple[float, float]:
        """Return the rows and columns of the grid that an image of ``height`` x ``width`` pixels takes."""
        raise NotImplementedError(f"{type(self).__name__} makes no grid")

    def describe(self, node: dict[str, Any]) -> None:
        """Add to ``node``, the encoder's config as a model is stored with it, what it does not say itself."""


class SequenceEncoder(Encoder):
    """An encoder of vectors in a row, which embeds tokens where it has a vocabulary.

    A source longer than ``chunk`` tokens is read in windows of that length, each sharing ``overlap`` tokens with the
    one before it: cost and memory then grow with the source's length alone.
    """

    def __init__(self, chunk: int | None = None, overlap: int = 0) -> None:
        super().__init__()
        if chunk is not None and not 0 <= overlap < chunk:
            raise UserError(f"overlap={overlap} must be at least 0 and less than chunk={chunk}")
        self.chunk, self.overlap = chunk, overlap

    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Encode ``batch.source`` (B, S)."""
        x, mask = self.embedding(batch.tokens), batch.source_mask
        if self.chunk is None or x.shape[1] <= self.chunk:
            encoded = self.encode(x, mask, need_weights=need_weights)
        else:
            encoded = self.encode_rows(x, RowLayout.windows(mask, self.chunk, self.overlap), need_weights=need_weights)
        return replace(encoded, memory=replace(encoded.memory, segments=batch.segments))

    @abstractmethod
    def encode(self, x: Tensor, mask: Tensor, *, need_weights: bool = False) -> EncoderOutput:
        """Encode vectors x (B, S, E) where mask (B, S) is True."""

    def encode_rows(self, x: Tensor, rows: RowLayout, *, need_weights: bool = False) -> EncoderOutput:
        """Encode each row of x (B, S, E) by itself: one memory again, and the mean of the rows' summaries."""
        read = self.encode(rows.split(x), rows.mask.flatten(0, 1), need_weights=need_weights)
        return EncoderOutput(
            Memory.of(rows.join(read.memory.values), rows.real),
            rows.mean(read.hidden),
            {name: rows.spread(weights) for name, weights in read.weights.items()},
            {name: rows.rows(value).sum(1) for name, value in read.penalties.items()},
            None if read.log_prob is None else rows.rows(read.log_prob).sum(1),
        )


def attend_self(mechanism: Attention, values: Tensor, around: Memory, need_weights: bool) -> AttentionOutput:
    """Let a sequence (B, S, D) attend to itself; ``around`` gives mask and positions."""
    memory = mechanism.extend(None, mechanism.prepare(replace(around, values=values)), need_weights=need_weights)
    query = Query(values, around.positions[..., 0])
    return mechanism(query, memory, mechanism.initial_state(memory), need_weights=need_weights)
