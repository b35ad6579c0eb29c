"""One interface for training and for stepwise search: a decoder reads any number of tokens from a state.

``forward`` over T tokens equals any split of them chained through ``DecoderState`` (dropout off):
T = all is training, T = 1 is a search step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, select_rows, sum_terms
from seq2seq.batch import UNK, Copies
from seq2seq.encoders.base import EncoderOutput
from seq2seq.errors import UserError
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.output import Mixture, OutputLayer
from seq2seq.layers.pointer import Copying, Pointer

SENTINEL = "sentinel."
"""Before a slot's name: the weights (B, H, T, 1) of what it may attend to beside its memory."""


@dataclass(frozen=True)
class DecoderState:
    """All that a decoder carries from token to token, leading dimension B everywhere.

    ``cross`` does not change while decoding, so a beam that only reorders within a sentence keeps it:
    ``reorder`` moves what grew, ``select`` moves all (sentences leave the batch).
    """

    cross: tuple[Memory, ...]  # a layer's prepared source memory
    past: tuple[Memory | None, ...]  # a layer's own past (self-attention)
    attention: tuple[AttentionState, ...]  # a mechanism's state, cross first, then self
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # recurrent states, the fed-back vector
    copies: Copies | None = None  # as ``cross``, it does not change
    position: int = 0  # tokens read so far, the same for all rows

    def reorder(self, index: Tensor) -> DecoderState:
        """Rows ``index`` of everything but the source memory."""
        return replace(
            self,
            past=tuple(p and p.select(index) for p in self.past),
            attention=tuple(select_rows(s, index) for s in self.attention),
            tensors=select_rows(dict(self.tensors), index),
        )

    def select(self, index: Tensor) -> DecoderState:
        """Return the rows ``index`` of the batch."""
        copies = None if self.copies is None else self.copies.select(index)
        return replace(self.reorder(index), cross=tuple(m.select(index) for m in self.cross), copies=copies)


@dataclass(frozen=True)
class Decoded:
    """What T tokens produced: features for the output layer, and what attention reported on the way."""

    features: Tensor  # (B, T, D), what the output layer reads
    # {"cross.0": (B, H, T, S), "decoder_self.0": ...} and, of slots with a sentinel, {"sentinel.cross.0": (B, H, T, 1)}
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, T)}, unweighted, summed over layers
    log_prob: Tensor | None = None  # (B, T) of what the slots drew, summed over them
    mixture: Mixture | None = None  # (B, T, J, D) where the last layer's attention offers alternatives
    copying: Copying | None = None  # where the decoder copies
    memory: Memory | None = None  # what was attended over, as the encoder gave it
    output: OutputLayer | None = None  # the layer that reads the features
    alignment: Tensor | None = None  # (B, T, S) of the last cross layer, where weights were asked for

    @staticmethod
    def of(
        features: Tensor,
        slots: Mapping[str, AttentionOutput],
        mixture: Mixture | None = None,
        copying: Copying | None = None,
    ) -> Decoded:
        """Collect what each slot attended to."""
        weights = {name: slot.weights for name, slot in slots.items() if slot.weights is not None}
        for name in list(weights):
            if (outside := slots[name].sentinel) is not None:
                weights[SENTINEL + name] = outside.unsqueeze(-1)
        penalties, log_prob = sum_terms(slots.values())
        return Decoded(features, weights, penalties, log_prob, mixture, copying)

    def row(self, index: int) -> Decoded:
        """What concerns the output of one sentence: B = 1."""
        mixture, copying = self.mixture, self.copying
        return Decoded(
            self.features[index : index + 1],
            mixture=mixture and mixture.rows(slice(index, index + 1)),
            copying=copying and copying.row(index),
        )

    def log_probs(self, output: OutputLayer) -> Tensor:
        """(B, T, W) log p(y_t | y_<t, x): of the features, or of all alternatives together; W is the vocabulary and,
        where the decoder copies, the most out-of-vocabulary words of a source.
        """
        log_p = output.log_probs(self.features) if self.mixture is None else output.mixed_log_probs(self.mixture)
        return log_p if self.copying is None else self.copying.mix(log_p)


class Decoder(nn.Module, ABC):
    """Base of decoders, which predict each token of a target from those before it."""

    embedding: TokenEmbedding
    output: OutputLayer
    pointer: Pointer | None  # where words of the source can be copied
    __call__: Callable[..., tuple[Decoded, DecoderState]]

    def log_probs(self, decoded: Decoded) -> Tensor:
        """Return ``Decoded.log_probs`` (B, T, W) of what this decoder made."""
        return decoded.log_probs(self.output)

    def readable(self, tokens: Tensor) -> Tensor:
        """Out-of-vocabulary words of the source, which were copied, are read as ``<unk>`` (See 2017, section 2.2)."""
        if self.pointer is None:
            return tokens
        return tokens.masked_fill(tokens >= self.embedding.table.num_embeddings, UNK)

    def copying(
        self, slot: AttentionOutput, layer: int, features: Tensor, inputs: Tensor, state: DecoderState
    ) -> Copying | None:
        """What a cross-attention with weights gives to copy: features (B, T, D), inputs (B, T, E)."""
        if self.pointer is None:
            return None
        if state.copies is None:
            raise UserError("copying needs data that tell what each source token is called: set copy=true of the data")
        if slot.alternatives is not None and slot.alternatives.kind != "mixture":
            raise UserError(
                "variational attention is trained by a bound that has no copying in it; use copy=false of the decoder"
            )
        assert slot.weights is not None
        alignment = self.cross_attention(layer).alignment(slot.weights)
        copying: Copying = self.pointer(slot.context, features, inputs, alignment, state.copies)
        return copying

    @abstractmethod
    def cross_attention(self, layer: int) -> Attention:
        """The mechanism that reads the source in ``layer``."""

    @abstractmethod
    def start(self, encoded: EncoderOutput) -> DecoderState:
        """The state before the first token: source memory prepared once, recurrent states bridged."""

    @abstractmethod
    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        """Read ``tokens`` (B, T), which follow those already in ``state``."""
