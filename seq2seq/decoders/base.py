"""Interface of all decoders, for training and for stepwise search.

A decoder reads any number of tokens from a state. Without dropout, ``forward`` over T tokens gives the same result as
several calls over parts of them, chained through ``DecoderState``. Training reads all T tokens in one call. Search
reads T = 1 token in each step.

Shapes: B batch, T target tokens, S source positions, H heads, D features, E embedding, J alternatives, V vocabulary, W
= V without copying; with copying, W = V + the largest number of out-of-vocabulary words in a source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.latent_alignment import HardMarginalAttention
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, select_rows, sum_terms
from seq2seq.batch import UNK, Copies
from seq2seq.encoders.base import EncoderOutput
from seq2seq.errors import UserError
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.output import Mixture, OutputLayer
from seq2seq.layers.pointer import Copying, Pointer

SENTINEL = "sentinel."
"""Prefix of the name of a slot, for the weights (B, H, T, 1) on its sentinel, which is outside the memory."""

POSTERIOR = "posterior."
"""Prefix of the name of a slot, for the posterior (B, 1, T, S) of its latent alignment given the whole output."""


@dataclass(frozen=True)
class DecoderState:
    """Everything that a decoder carries from token to token; the first dimension of every tensor is B.

    ``cross`` does not change while decoding. Use ``reorder`` if hypotheses change places within their sentences: it
    leaves ``cross`` as it is. Use ``select`` if sentences leave the batch: it takes rows of everything.
    """

    cross: tuple[Memory, ...]  # prepared source memory of each layer
    past: tuple[Memory | None, ...]  # self-attention memory of each layer; None before the first token
    attention: tuple[AttentionState, ...]  # state of each mechanism, cross-attention first, then self-attention
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # recurrent states and the vector that is fed back
    copies: Copies | None = None  # source tokens that can be copied; like ``cross``, they do not change
    position: int = 0  # number of tokens read so far, the same in all rows

    def reorder(self, index: Tensor) -> DecoderState:
        """Return the state with rows in another order; the source memory does not change.

        Args:
            index: Row numbers (B,) long; each is of the same sentence as the row that it replaces.
        """
        return replace(
            self,
            past=tuple(p and p.select(index) for p in self.past),
            attention=tuple(select_rows(s, index) for s in self.attention),
            tensors=select_rows(dict(self.tensors), index),
        )

    def select(self, index: Tensor) -> DecoderState:
        """Return the state of some rows of the batch, with their source memory.

        Args:
            index: Row numbers (R,) long.
        """
        copies = None if self.copies is None else self.copies.select(index)
        return replace(self.reorder(index), cross=tuple(m.select(index) for m in self.cross), copies=copies)


@dataclass(frozen=True)
class Decoded:
    """Output of a decoder for T tokens: features for the output layer, and what attention reports."""

    features: Tensor  # (B, T, D), which the output layer reads
    # {"cross.0": (B, H, T, S), "decoder_self.0": ...}; slots with a sentinel add {"sentinel.cross.0": (B, H, T, 1)}.
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, T)}, unweighted, summed over layers
    log_prob: Tensor | None = None  # (B, T) of the sampled choices, summed over slots
    mixture: Mixture | None = None  # (B, T, J, D) if attention of the last layer has alternatives
    copying: Copying | None = None  # if the decoder copies
    memory: Memory | None = None  # source memory, as the encoder returned it
    output: OutputLayer | None = None  # layer that reads the features
    alignment: Tensor | None = None  # (B, T, S) of the last cross-attention, if need_weights

    @staticmethod
    def of(
        features: Tensor,
        slots: Mapping[str, AttentionOutput],
        mixture: Mixture | None = None,
        copying: Copying | None = None,
    ) -> Decoded:
        """Build the output from features and the outputs of all attention slots.

        Args:
            features: Features (B, T, D).
            slots: Output of each attention slot by its name, for example "cross.0".
            mixture: Features of each alternative context, if the last layer has alternatives.
            copying: Copy distribution, if the decoder copies.
        """
        # Collect weights, and put those of a sentinel beside them.
        weights = {name: slot.weights for name, slot in slots.items() if slot.weights is not None}
        for name in list(weights):
            if (outside := slots[name].sentinel) is not None:
                weights[SENTINEL + name] = outside.unsqueeze(-1)
        # Sum loss terms over slots.
        penalties, log_prob = sum_terms(slots.values())
        return Decoded(features, weights, penalties, log_prob, mixture, copying)

    def row(self, index: int) -> Decoded:
        """Return what the output distribution of one sentence needs, with B = 1.

        Args:
            index: Row number of the sentence.
        """
        mixture, copying = self.mixture, self.copying
        return Decoded(
            self.features[index : index + 1],
            mixture=mixture and mixture.rows(slice(index, index + 1)),
            copying=copying and copying.row(index),
        )

    def log_probs(self, output: OutputLayer) -> Tensor:
        """Return log p(y_t | y_<t, x) of all words (B, T, W).

        They follow from the features, or from all alternatives together, and from the copy distribution if there is
        one.

        Args:
            output: Output layer that reads the features.
        """
        log_p = output.log_probs(self.features) if self.mixture is None else output.mixed_log_probs(self.mixture)
        return log_p if self.copying is None else self.copying.mix(log_p)


class Decoder(nn.Module, ABC):
    """Base class of decoders, which predict each target token from the source and the tokens before it.

    Attributes:
        embedding: Embedding of target tokens.
        output: Output layer, from features to the vocabulary.
        pointer: Copy mechanism; None if source words cannot be copied.
    """

    embedding: TokenEmbedding
    output: OutputLayer
    pointer: Pointer | None
    __call__: Callable[..., tuple[Decoded, DecoderState]]

    def check_output(self) -> None:
        """Refuse parts that need likelihoods, if the output layer is sparse; constructors call it at their end.

        Raises:
            UserError: The decoder copies, or its attention mixes the predictions of several contexts.
        """
        if not self.output.sparse:
            return
        if self.pointer is not None:
            raise UserError(
                "copy=true trains with the likelihood of copied and generated words, which is undefined where a sparse "
                "output layer gives p = 0; set copy=false of the decoder, or use decoder/output=softmax"
            )
        mixing = [type(part).__name__ for part in self.modules() if isinstance(part, HardMarginalAttention)]
        if mixing:
            raise UserError(
                f"{mixing[0]} trains with likelihoods of alternative contexts, which are undefined where a sparse "
                "output layer gives p = 0; use another attention, or decoder/output=softmax"
            )

    def log_probs(self, decoded: Decoded) -> Tensor:
        """Return log p(y_t | y_<t, x) of all words (B, T, W).

        Args:
            decoded: Output of this decoder.
        """
        return decoded.log_probs(self.output)

    def readable(self, tokens: Tensor) -> Tensor:
        """Return tokens with each copied out-of-vocabulary word replaced by ``<unk>`` (See 2017, section 2.2).

        Args:
            tokens: Tokens (B, T) long, which may hold ids of ``Copies``.
        """
        if self.pointer is None:
            return tokens
        return tokens.masked_fill(tokens >= self.embedding.table.num_embeddings, UNK)

    def copying(
        self, slot: AttentionOutput, layer: int, features: Tensor, inputs: Tensor, state: DecoderState
    ) -> Copying | None:
        """Return the copy distribution of a cross-attention, or None if the decoder does not copy.

        Args:
            slot: Output of the cross-attention, with weights.
            layer: Number of its layer.
            features: Features (B, T, D).
            inputs: Embedded tokens (B, T, E).
            state: State of the decoder, which holds the tokens that can be copied.

        Raises:
            UserError: The data do not say what can be copied.
        """
        if self.pointer is None:
            return None
        if state.copies is None:
            raise UserError(
                "copy=true of the decoder needs the target id of each source token; set copy=true of the data"
            )
        # Reduce the weights of all heads to one alignment.
        assert slot.weights is not None
        alignment = self.cross_attention(layer).alignment(slot.weights)
        copying: Copying = self.pointer(slot.context, features, inputs, alignment, state.copies)
        return copying

    @abstractmethod
    def cross_attention(self, layer: int) -> Attention:
        """Return the mechanism that attends to the source in a layer.

        Args:
            layer: Number of the layer, from 0.
        """

    @abstractmethod
    def start(self, encoded: EncoderOutput) -> DecoderState:
        """Return the state before the first token.

        The source memory is prepared once for each layer. Recurrent states start from the summary of the encoder.

        Args:
            encoded: Output of the encoder for B sentences.
        """

    @abstractmethod
    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        """Read tokens that follow those already in the state.

        Args:
            tokens: Tokens (B, T) long.
            state: State after the tokens before them.
            need_weights: Whether to return the weights of all attention slots.

        Returns:
            The features (B, T, D) with what attention reports, and the state after the tokens.
        """
