"""Interface of all encoders: a memory that attention reads, and a summary from which a decoder starts.

Shapes: B batch, S source positions, E embedding, D memory width, L layers, F summary width, H heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.attention.types import AttentionOutput, Memory, Query, SourceSpec, sum_terms
from seq2seq.batch import Batch, Copies
from seq2seq.encoders.rows import RowLayout
from seq2seq.errors import UserError
from seq2seq.layers.embedding import TokenEmbedding


@dataclass(frozen=True)
class EncoderOutput:
    """Output of an encoder: the memory, and a summary of each layer.

    ``hidden`` (B, L, F) has the width F = ``final_dim``. A summary of two directions is [forward; backward].
    """

    memory: Memory
    hidden: Tensor  # (B, L, F)
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # {"encoder_self.0": (B, H, S, S)} if need_weights
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B,)}, unweighted, summed over layers
    log_prob: Tensor | None = None  # (B,) of the sampled choices, summed over layers
    copies: Copies | None = None  # source tokens that the decoder can copy

    @staticmethod
    def of(memory: Memory, hidden: Tensor, slots: Sequence[AttentionOutput]) -> EncoderOutput:
        """Build the output from a memory, its summary and the outputs of self-attention.

        Penalties and log-probabilities are summed over the real positions; those of padding do not count.

        Args:
            memory: Memory (B, S, D).
            hidden: Summary of each layer (B, L, F).
            slots: Output of self-attention in each layer, from bottom to top; empty if there is none.
        """
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
        """Return this output with the penalties and log-probabilities of both outputs added.

        Args:
            other: Output of another encoder for the same batch.
        """
        # Add terms of the same name; keep the others.
        penalties = dict(self.penalties)
        for name, value in other.penalties.items():
            penalties[name] = penalties[name] + value if name in penalties else value
        log_prob = other.log_prob
        if self.log_prob is not None:
            log_prob = self.log_prob if log_prob is None else self.log_prob + log_prob
        return replace(self, penalties=penalties, log_prob=log_prob)

    def select(self, index: Tensor) -> EncoderOutput:
        """Return the memory, the summary and the copies of some rows of the batch.

        Search uses it to repeat a sentence for each of its hypotheses. Weights and loss terms are left out.

        Args:
            index: Row numbers (R,) long.
        """
        copies = None if self.copies is None else self.copies.select(index)
        return EncoderOutput(self.memory.select(index), self.hidden.index_select(0, index), copies=copies)


class Encoder(nn.Module, ABC):
    """Base class of encoders.

    Attributes:
        reads: Kind of the sources: "text", "image" or "video".
        embedding: Token embedding; only encoders of tokens have it.
        source: Description of the memory, from which attention mechanisms take their sizes.
        final_dim: Width F of a summary.
        final_layers: Number L of summaries.
        directions: 2 if a summary is [forward; backward], else 1.
        cache: Folder that stores features between epochs; None if they are computed each time.
    """

    reads: ClassVar[str] = "text"
    embedding: TokenEmbedding
    source: SourceSpec
    final_dim: int
    final_layers: int
    directions: int = 1
    cache: Path | None = None
    __call__: Callable[..., EncoderOutput]

    @abstractmethod
    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Encode the sources of a batch.

        Args:
            batch: Batch of B records; tokens (B, S) or images.
            need_weights: Whether to return the weights of self-attention.

        Returns:
            The memory (B, S, D) and the summary (B, L, F).

        Raises:
            UserError: The batch has another kind of sources than the encoder reads.
        """

    @property
    def trains_later(self) -> bool:
        """True if parameters that are frozen at first are trained later."""
        return False

    def set_progress(self, progress: float, updates: int) -> None:
        """Update the state that depends on the progress of training; called before each update.

        Args:
            progress: Share of training that is done, from 0 to 1.
            updates: Number of updates that are done.
        """

    @property
    def awaited_share(self) -> str | None:
        """Option that is a share of training, as ``OPTION=VALUE``, or None.

        Such an option needs a run whose end is known.
        """
        return None

    def pixels_at(self, pixels: Tensor, row: int, column: int) -> Tensor:
        """Return the part of an image that one position of the memory represents, as a view.

        Only encoders of images and videos have it.

        Args:
            pixels: Pixels (F, 3, h, w) of one image with F frames.
            row: Row of the position in the grid; 0 for a video.
            column: Column of the position in the grid; the number of the frame for a video.

        Raises:
            NotImplementedError: The encoder does not read images.
        """
        raise NotImplementedError(f"{type(self).__name__} does not read images")

    def grid_extent(self, height: int, width: int) -> tuple[float, float]:
        """Return the numbers of rows and columns of the grid of an image.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.

        Raises:
            NotImplementedError: The encoder does not make a grid.
        """
        raise NotImplementedError(f"{type(self).__name__} does not make a grid")

    def describe(self, node: dict[str, Any]) -> None:
        """Add to a stored config what is needed to build the encoder again and is not in the config yet.

        Args:
            node: Config of the encoder as it is stored with the model; changed in place.
        """


class SequenceEncoder(Encoder):
    """Base class of encoders of a sequence of vectors; with a vocabulary, the vectors are embedded tokens.

    A source longer than ``chunk`` tokens is read in windows of that length. Each window shares ``overlap`` tokens with
    the one before it. Time and memory then grow linearly with the length of the source.

    Args:
        chunk: Length of a window in tokens; None to read every source as a whole.
        overlap: Number of tokens that two neighbouring windows share; from 0 to ``chunk - 1``.

    Raises:
        UserError: ``overlap`` is negative or not less than ``chunk``.
    """

    def __init__(self, chunk: int | None = None, overlap: int = 0) -> None:
        super().__init__()
        if chunk is not None and not 0 <= overlap < chunk:
            raise UserError(f"overlap={overlap} must be at least 0 and less than chunk={chunk}")
        self.chunk, self.overlap = chunk, overlap

    @override
    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        # Read short sources as a whole, and long ones in windows.
        x, mask = self.embedding(batch.tokens), batch.source_mask
        if self.chunk is None or x.shape[1] <= self.chunk:
            encoded = self.encode(x, mask, need_weights=need_weights)
        else:
            encoded = self.encode_rows(x, RowLayout.windows(mask, self.chunk, self.overlap), need_weights=need_weights)
        return replace(encoded, memory=replace(encoded.memory, segments=batch.segments))

    @abstractmethod
    def encode(self, x: Tensor, mask: Tensor, *, need_weights: bool = False) -> EncoderOutput:
        """Encode a batch of sequences of vectors.

        Args:
            x: Vectors (B, S, E).
            mask: Mask (B, S) bool, True = real.
            need_weights: Whether to return the weights of self-attention.

        Returns:
            The memory (B, S, D) and the summary (B, L, F).
        """

    def encode_rows(self, x: Tensor, rows: RowLayout, *, need_weights: bool = False) -> EncoderOutput:
        """Encode each row of a layout separately, and join the rows to one memory.

        Args:
            x: Vectors (B, S, E).
            rows: Layout of the S positions in rows, for example windows or sentences.
            need_weights: Whether to return the weights of self-attention.

        Returns:
            The memory (B, S, D), and as summary (B, L, F) the mean of the summaries of the rows.
        """
        encoded = self.encode(rows.split(x), rows.mask.flatten(0, 1), need_weights=need_weights)
        return EncoderOutput(
            Memory.of(rows.join(encoded.memory.values), rows.real),
            rows.mean(encoded.hidden),
            {name: rows.spread(weights) for name, weights in encoded.weights.items()},
            {name: rows.rows(value).sum(1) for name, value in encoded.penalties.items()},
            None if encoded.log_prob is None else rows.rows(encoded.log_prob).sum(1),
        )


def attend_self(mechanism: Attention, values: Tensor, around: Memory, need_weights: bool) -> AttentionOutput:
    """Let each position of a sequence attend to all positions of the same sequence.

    Args:
        mechanism: Attention mechanism of the self-attention slot.
        values: Vectors (B, S, D), which are both queries and memory.
        around: Memory that gives the mask and the positions; its values are not used.
        need_weights: Whether to return the weights.

    Returns:
        The contexts (B, S, C), and the weights (B, H, S, S) if asked for.
    """
    # The sequence is complete, so there is no past.
    memory = mechanism.extend(None, mechanism.prepare(replace(around, values=values)), need_weights=need_weights)
    query = Query(values, around.positions[..., 0])
    return mechanism(query, memory, mechanism.initial_state(memory), need_weights=need_weights)
