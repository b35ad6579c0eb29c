"""Recurrent encoder.

Shapes: B batch, S source tokens, E embedding, D memory width (both directions together).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

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
    """h_j = [fwd_j; bwd_j] (Bahdanau 2015, section 3.2), or one direction, in ``layers`` layers; with
    ``self_attention``, h_j + c_j, c_j what h_j attends to among all h.

    ``dim`` is the width of the memory, shared by the directions, ``embedding_dim`` that of what it reads, times
    sqrt(``embedding_dim``) if ``scale_embedding``, as in a Transformer. Sentences are
    not packed: the backward direction runs over each sentence turned round in place, which keeps PyTorch's fused
    kernels on the CPU and needs no lengths on the host.
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
        if vocabulary is not None:
            self.embedding = TokenEmbedding(vocabulary, embedding_dim, dropout=dropout, scale=scale_embedding)
        self.directions = 2 if bidirectional else 1
        width = dim // self.directions
        inputs = ([embedding_dim] + [dim] * layers)[:layers]
        self.layers = Stack(Stack(recurrent(cell, size, width) for _ in range(self.directions)) for size in inputs)
        self.dropout = Dropout(dropout)
        self.source = SourceSpec(dim)
        self.final_dim, self.final_layers = dim, layers
        self.self_attention = None
        if self_attention is not None:
            self.self_attention = self_attention(dim, SourceSpec(dim, is_self=True))

    def encode(self, x: Tensor, mask: Tensor, *, need_weights: bool = False) -> EncoderOutput:
        """Memory (B, S, D); hidden (B, L, D): last real forward state and first backward state."""
        length = mask.sum(1)
        turned = (length[:, None] - 1 - torch.arange(mask.shape[1], device=mask.device)) % mask.shape[1]  # (B, S)
        finals = []
        for depth, directions in enumerate(self.layers):
            if depth:
                x = self.dropout(x)
            outputs = [directions[0](x)[0]]
            final = [_at(outputs[0], length - 1)]
            if len(directions) == 2:
                backward = directions[1](_take(x, turned))[0]
                final.append(_at(backward, length - 1))
                outputs.append(_take(backward, turned))
            x = torch.cat(outputs, -1) if len(outputs) == 2 else outputs[0]
            finals.append(torch.cat(final, -1))
        memory = Memory.of(self.dropout(x) * mask.unsqueeze(-1), mask)
        slots = []
        if self.self_attention is not None:
            attended = attend_self(self.self_attention, memory.values, memory, need_weights)
            mixed = memory.values + self.dropout(attended.context)
            memory = replace(memory, values=mixed * mask.unsqueeze(-1))
            slots.append(attended)
        return EncoderOutput.of(memory, torch.stack(finals, 1), slots)


def _take(x: Tensor, places: Tensor) -> Tensor:
    """Rows of each sentence: x (B, S, D), places (B, S) -> (B, S, D)."""
    return x.gather(1, places.unsqueeze(-1).expand_as(x))


def _at(x: Tensor, place: Tensor) -> Tensor:
    """x (B, S, D), place (B,) -> (B, D); zeros where place is -1 (an empty source)."""
    picked = x.gather(1, place.clamp(min=0)[:, None, None].expand(-1, 1, x.shape[-1])).squeeze(1)
    return picked * (place >= 0).unsqueeze(-1)
