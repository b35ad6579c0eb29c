"""Recurrent encoder of a sequence, in one direction or both.

Shapes: B batch, S source tokens, E embedding, D memory width (both directions together).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.attention.base import AttentionFactory
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.config.ranges import Count, CountOrZero, Layers, Share, Width
from seq2seq.encoders.base import EncoderOutput, SequenceEncoder, attend_self
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.recurrent import recurrent
from seq2seq.layers.stack import Stack


class RNNEncoder(SequenceEncoder):
    """Recurrent encoder with one or two directions: h_j = [fwd_j; bwd_j] (Bahdanau 2015, section 3.2).

    With ``self_attention``, the memory is h_j + c_j, where c_j is the context of the query h_j over all h.

    Sentences are not packed. The backward direction reads each sentence reversed in place: PyTorch's fused kernels work
    on the CPU too, and the lengths are not needed on the host.

    Args:
        vocabulary: Number of source tokens; None if the encoder reads vectors and has no embedding.
        dim: Width D of the memory, both directions together.
        embedding_dim: Width E of the input.
        scale_embedding: Whether to multiply embeddings by sqrt(``embedding_dim``), as in a Transformer.
        layers: Number L of layers.
        cell: Recurrent cell: "lstm" or "gru".
        bidirectional: Whether to read in both directions.
        dropout: Dropout probability of embeddings, between layers and on the memory.
        self_attention: Factory of a self-attention over the states of the last layer; None for none.
        chunk: Length of the windows in which longer sources are read, in tokens; None to read them as a whole.
        overlap: Number of tokens that two neighbouring windows share.

    Raises:
        UserError: ``dim`` is odd with two directions, or ``cell`` is unknown.
    """

    def __init__(
        self,
        vocabulary: int | None,
        *,
        dim: Width,
        embedding_dim: Width,
        scale_embedding: bool = False,
        layers: Layers = 1,
        cell: str = "lstm",
        bidirectional: bool = True,
        dropout: Share = 0.0,
        self_attention: AttentionFactory | None = None,
        chunk: Count | None = None,
        overlap: CountOrZero = 0,
    ) -> None:
        super().__init__(chunk, overlap)
        if bidirectional and dim % 2:
            raise UserError(f"dim={dim} is shared by two directions and must be even")
        # Embed tokens; without a vocabulary the inputs are vectors.
        if vocabulary is not None:
            self.embedding = TokenEmbedding(vocabulary, embedding_dim, dropout=dropout, scale=scale_embedding)
        # Build the layers; each direction has half of the width.
        self.directions = 2 if bidirectional else 1
        width = dim // self.directions
        inputs = ([embedding_dim] + [dim] * layers)[:layers]
        self.layers = Stack(Stack(recurrent(cell, size, width) for _ in range(self.directions)) for size in inputs)
        self.dropout = Dropout(dropout)
        # Describe the memory and the summary.
        self.source = SourceSpec(dim)
        self.final_dim, self.final_layers = dim, layers
        self.self_attention = None
        if self_attention is not None:
            self.self_attention = self_attention(dim, SourceSpec(dim, is_self=True))

    @override
    def encode(self, x: Tensor, mask: Tensor, *, need_weights: bool = False) -> EncoderOutput:
        """Return the memory (B, S, D) and a summary of each layer (B, L, D).

        A summary is [forward state of the last token; backward state of the first token].
        """
        # Reverse the real tokens of each sentence for the backward direction.
        length = mask.sum(1)
        reverse = (length[:, None] - 1 - torch.arange(mask.shape[1], device=mask.device)) % mask.shape[1]  # (B, S)
        # Run each layer in all its directions.
        finals = []
        for depth, directions in enumerate(self.layers):
            if depth:
                x = self.dropout(x)
            # Run forward, and backward over the reversed sentences.
            outputs = [directions[0](x)[0]]
            final = [_at(outputs[0], length - 1)]
            if len(directions) == 2:
                backward = directions[1](_take(x, reverse))[0]
                final.append(_at(backward, length - 1))
                outputs.append(_take(backward, reverse))
            # Join the directions.
            x = torch.cat(outputs, -1) if len(outputs) == 2 else outputs[0]
            finals.append(torch.cat(final, -1))
        # Set padding to 0.
        memory = Memory.of(self.dropout(x) * mask.unsqueeze(-1), mask)
        # Add the context of self-attention to each state.
        slots = []
        if self.self_attention is not None:
            attended = attend_self(self.self_attention, memory.values, memory, need_weights)
            mixed = memory.values + self.dropout(attended.context)
            memory = replace(memory, values=mixed * mask.unsqueeze(-1))
            slots.append(attended)
        return EncoderOutput.of(memory, torch.stack(finals, 1), slots)


def _take(x: Tensor, places: Tensor) -> Tensor:
    """Return the vectors of x (B, S, D) at the given places (B, S) of each sentence, as (B, S, D)."""
    return x.gather(1, places.unsqueeze(-1).expand_as(x))


def _at(x: Tensor, place: Tensor) -> Tensor:
    """Return one vector (B, D) of each sentence of x (B, S, D); 0 where ``place`` (B,) is -1 (empty source)."""
    picked = x.gather(1, place.clamp(min=0)[:, None, None].expand(-1, 1, x.shape[-1])).squeeze(1)
    return picked * (place >= 0).unsqueeze(-1)
