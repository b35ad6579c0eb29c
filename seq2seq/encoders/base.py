"""What every encoder gives: a memory to attend over and a summary to start a decoder from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor, nn

from seq2seq.attention.base import Memory, SourceSpec
from seq2seq.batch import Batch
from seq2seq.layers.embedding import TokenEmbedding


@dataclass(frozen=True)
class Encoded:
    """``hidden`` (B, L, F) is one summary a layer, F = ``final_dim``; of two directions [forward; backward]."""

    memory: Memory
    hidden: Tensor
    weights: dict[str, Tensor] = field(default_factory=dict)  # {"encoder_self.0": (B, H, S, S)} if asked for

    def select(self, index: Tensor) -> Encoded:
        """The rows ``index`` of the batch (search expands sentences to beams with it)."""
        return Encoded(self.memory.select(index), self.hidden.index_select(0, index))


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
