"""Transformer encoder (Vaswani 2017, section 3.1).

Shapes: B batch, S source tokens, D width.
"""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.base import AttentionFactory
from seq2seq.attention.types import AttentionOutput, Memory, SourceSpec
from seq2seq.config.ranges import Count, CountOrZero, Layers, Share, Width
from seq2seq.encoders.base import EncoderOutput, SequenceEncoder, attend_self
from seq2seq.layers.embedding import TokenEmbedding, relative
from seq2seq.layers.stack import Stack
from seq2seq.layers.transformer import FeedForward, Residual, initialise


class EncoderLayer(nn.Module):
    """Layer of a Transformer encoder: self-attention, then feed-forward, each with a residual connection.

    Args:
        source: Description of the sequence that attends to itself; its width is D.
        self_attention: Factory of the self-attention mechanism.
        ff_dim: Width of the hidden layer of the feed-forward network.
        dropout: Dropout probability.
        norm: Order of norm and residual connection: "pre" or "post".
        activation: Activation of the feed-forward network: "relu", "gelu" or "silu".
    """

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
        """Apply the layer to a sequence.

        Args:
            x: Vectors (B, S, D).
            around: Memory that gives the mask and the positions; its values are not used.
            need_weights: Whether to return the weights of self-attention.

        Returns:
            Vectors (B, S, D), and the output of self-attention.
        """
        attended = attend_self(self.self_attention, self.around_self.enter(x), around, need_weights)
        x = self.around_self.leave(x, attended.context)
        x = self.around_feed_forward.leave(x, self.feed_forward(self.around_feed_forward.enter(x)))
        return x, attended


class TransformerEncoder(SequenceEncoder):
    """Transformer encoder: token embeddings with positions, ``layers`` layers, and a last norm if ``norm=pre``.

    Args:
        vocabulary: Number of source tokens; None if the encoder reads vectors and has no embedding.
        dim: Width D of all layers and of the memory.
        self_attention: Factory of the self-attention mechanism of each layer.
        layers: Number of layers.
        ff_dim: Width of the hidden layer of the feed-forward networks.
        dropout: Dropout probability of all layers.
        norm: Order of norm and residual connection: "pre" or "post".
        positions: Position encoding: "sinusoidal", "learned", "rotary", "alibi" or "none".
        activation: Activation of the feed-forward networks: "relu", "gelu" or "silu".
        max_length: Number of learned positions; the other encodings ignore it.
        embedding_dropout: Dropout probability of embeddings; None to use ``dropout``.
        chunk: Length of the windows in which longer sources are read, in tokens; None to read them as a whole.
        overlap: Number of tokens that two neighbouring windows share.
    """

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
        # Embed tokens; without a vocabulary the inputs are vectors.
        if vocabulary is not None:
            self.embedding = TokenEmbedding(
                vocabulary,
                dim,
                dropout=dropout if embedding_dropout is None else embedding_dropout,
                scale=True,
                positions=positions,
                max_length=max_length,
            )
        # Build the layers; relative positions act inside self-attention.
        inner = SourceSpec(dim, is_self=True, position=relative(positions), states="normalised")
        self.layers = Stack(
            EncoderLayer(inner, self_attention, ff_dim, dropout, norm, activation) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()
        # Describe the memory and the summary.
        self.source = SourceSpec(dim, states="normalised")
        self.final_dim, self.final_layers = dim, 1

    @override
    def encode(self, x: Tensor, mask: Tensor, *, need_weights: bool = False) -> EncoderOutput:
        """Return the memory (B, S, D) and its mean (B, 1, D), from which an RNN decoder starts."""
        around = Memory.of(x, mask)
        slots = []
        for layer in self.layers:
            x, attended = layer(x, around, need_weights)
            slots.append(attended)
        # Set padding to 0, and take the mean over real tokens.
        memory = Memory.of(self.norm(x) * around.mask.unsqueeze(-1), around.mask)
        mean = memory.values.sum(1, keepdim=True) / around.extent.clamp(min=1).unsqueeze(-1)
        return EncoderOutput.of(memory, mean, slots)
