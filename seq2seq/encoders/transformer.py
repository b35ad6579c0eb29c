"""Transformer encoder (Vaswani 2017, section 3.1).

Shapes: B batch, S source tokens, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from seq2seq.attention.base import AttentionFactory
from seq2seq.attention.types import AttentionOutput, Memory, SourceSpec
from seq2seq.config.ranges import Count, CountOrZero, Layers, Share, Width
from seq2seq.encoders.base import EncoderOutput, SequenceEncoder, attend_self
from seq2seq.layers.embedding import TokenEmbedding, relative
from seq2seq.layers.stack import Stack
from seq2seq.layers.transformer import FeedForward, Residual, initialise


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each inside its residual."""

    def __init__(
        self,
        source: SourceSpec,
        self_attention: AttentionFactory,
        ff_dim: Width,
        dropout: Share,
        norm: str,
        activation: str,
    ) -> None:
        super().__init__()
        dim = source.width
        self.feed_forward = FeedForward(dim, ff_dim, dropout, activation)
        initialise(self.feed_forward)
        self.self_attention = self_attention(dim, source)
        self.around_self = Residual(dim, dropout, norm)
        self.around_feed_forward = Residual(dim, dropout, norm)

    def forward(self, x: Tensor, around: Memory, need_weights: bool) -> tuple[Tensor, AttentionOutput]:
        """(B, S, D) -> (B, S, D) and what it attended to. ``around`` gives mask and positions."""
        attended = attend_self(self.self_attention, self.around_self.enter(x), around, need_weights)
        x = self.around_self.leave(x, attended.context)
        x = self.around_feed_forward.leave(x, self.feed_forward(self.around_feed_forward.enter(x)))
        return x, attended


class TransformerEncoder(SequenceEncoder):
    """Embeddings with positions, ``layers`` layers, and a last norm where the order is pre-norm."""

    def __init__(
        self,
        vocabulary: int | None,
        *,
        dim: Width,
        self_attention: AttentionFactory,
        layers: Layers = 3,
        ff_dim: Width = 1024,
        dropout: Share = 0.1,
        norm: str = "pre",
        positions: str = "sinusoidal",
        activation: str = "relu",
        max_length: Count = 1024,
        embedding_dropout: Share | None = None,
        chunk: Count | None = None,
        overlap: CountOrZero = 0,
    ) -> None:
        super().__init__(chunk, overlap)
        if vocabulary is not None:
            self.embedding = TokenEmbedding(
                vocabulary,
                dim,
                dropout=dropout if embedding_dropout is None else embedding_dropout,
                scale=True,
                positions=positions,
                max_length=max_length,
            )
        inner = SourceSpec(dim, is_self=True, position=relative(positions), states="normalised")
        self.layers = Stack(
            EncoderLayer(inner, self_attention, ff_dim, dropout, norm, activation) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()
        self.source = SourceSpec(dim, states="normalised")
        self.final_dim, self.final_layers = dim, 1

    def encode(self, x: Tensor, mask: Tensor, *, need_weights: bool = False) -> EncoderOutput:
        """Memory (B, S, D); hidden (B, 1, D), the mean of the memory (what an RNN decoder starts from)."""
        around = Memory.of(x, mask)
        slots = []
        for layer in self.layers:
            x, attended = layer(x, around, need_weights)
            slots.append(attended)
        memory = Memory.of(self.norm(x) * around.mask.unsqueeze(-1), around.mask)
        mean = memory.values.sum(1, keepdim=True) / around.extent.clamp(min=1).unsqueeze(-1)
        return EncoderOutput.of(memory, mean, slots)
