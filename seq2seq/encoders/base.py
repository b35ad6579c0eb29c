"""What every encoder gives: a memory to attend over and a summary to start a decoder from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from seq2seq.attention.base import Attended, Attention, Memory, Query, SourceSpec, reported
from seq2seq.batch import Batch, Copies
from seq2seq.layers.embedding import TokenEmbedding


@dataclass(frozen=True)
class Encoded:
    """``hidden`` (B, L, F) is one summary a layer, F = ``final_dim``; of two directions [forward; backward]."""

    memory: Memory
    hidden: Tensor
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # {"encoder_self.0": (B, H, S, S)} if asked for
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B,)}, unweighted, summed over layers
    log_prob: Tensor | None = None  # (B,) of what the slots drew, summed over layers
    copies: Copies | None = None  # what of the source may be copied

    @staticmethod
    def of(memory: Memory, hidden: Tensor, slots: Sequence[Attended]) -> Encoded:
        """Collects what the self-attention of each layer reported; what it says of padding does not count."""
        weights = {f"encoder_self.{i}": slot.weights for i, slot in enumerate(slots) if slot.weights is not None}
        penalties, log_prob = reported(slots)
        return Encoded(
            memory,
            hidden,
            weights,
            {name: (value * memory.mask).sum(1) for name, value in penalties.items()},
            None if log_prob is None else (log_prob * memory.mask).sum(1),
        )

    def select(self, index: Tensor) -> Encoded:
        """The rows ``index`` of the batch (search expands sentences to beams with it)."""
        copies = None if self.copies is None else self.copies.select(index)
        return Encoded(self.memory.select(index), self.hidden.index_select(0, index), copies=copies)


class Encoder(nn.Module, ABC):
    """Base of encoders. ``source`` tells attention mechanisms what they will attend over.

    ``directions`` is 2 where a summary is [forward; backward].
    """

    embedding: TokenEmbedding
    source: SourceSpec
    final_dim: int
    final_layers: int
    directions: int = 1

    @abstractmethod
    def forward(self, batch: Batch, *, need_weights: bool = False) -> Encoded:
        """Encodes ``batch.source`` (B, S)."""


def attend_self(mechanism: Attention, values: Tensor, around: Memory, need_weights: bool) -> Attended:
    """A sequence (B, S, D) attending to itself; ``around`` gives mask and positions."""
    memory = mechanism.extend(None, mechanism.prepare(replace(around, values=values)), need_weights=need_weights)
    query = Query(values, around.positions[..., 0])
    return mechanism(query, memory, mechanism.initial_state(memory), need_weights=need_weights)
