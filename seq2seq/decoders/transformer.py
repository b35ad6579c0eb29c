"""Transformer decoder (Vaswani 2017, section 3.1), with any mechanism in its cross and self slots.

Shapes: B batch, T target tokens, S source positions, D width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention, AttentionFactory
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.batch import PAD
from seq2seq.config.ranges import Count, Layers, Share, Width
from seq2seq.decoders.base import Decoded, Decoder, DecoderState
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.layers.embedding import TokenEmbedding, relative
from seq2seq.layers.output import Mixture, OutputLayer
from seq2seq.layers.pointer import Pointer
from seq2seq.layers.stack import Stack
from seq2seq.layers.transformer import FeedForward, Residual, initialise


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over the source, feed-forward, each inside its residual."""

    def __init__(
        self,
        dim: Width,
        source: SourceSpec,
        past: SourceSpec,
        attention: AttentionFactory,
        self_attention: AttentionFactory,
        ff_dim: Width,
        dropout: Share,
        norm: str,
        activation: str,
        gate: bool,
    ) -> None:
        super().__init__()
        self.feed_forward = FeedForward(dim, ff_dim, dropout, activation)
        initialise(self.feed_forward)
        self.self_attention = self_attention(dim, past)
        self.attention = attention(dim, source)
        self.gate = nn.Linear(dim, 1) if gate else None
        width = self.attention.context_dim
        self.adapt = nn.Identity() if width == dim else nn.Linear(width, dim, bias=False)
        self.around_self = Residual(dim, dropout, norm)
        self.around_cross = Residual(dim, dropout, norm)
        self.around_feed_forward = Residual(dim, dropout, norm)

    def forward(
        self,
        x: Tensor,
        asking: Query,
        new: Memory,
        cross: Memory,
        past: Memory | None,
        states: tuple[AttentionState, AttentionState],
        need_weights: bool,
        copied: bool,
    ) -> tuple[Tensor, Memory, AttentionOutput, AttentionOutput]:
        """x (B, T, D) with the mask of ``new`` and all of ``asking`` but its vector -> x as it meets the source, the
        past after it, what both slots attended. ``copied`` asks for the weights over the source in any case.
        """
        inner = self.around_self.enter(x)
        mechanism = self.self_attention
        grown = mechanism.extend(past, mechanism.prepare(replace(new, values=inner)), need_weights=need_weights)
        own_state = mechanism.initial_state(grown) if past is None else states[1]
        own = mechanism(Query(inner, asking.position), grown, own_state, need_weights=need_weights)
        x = self.around_self.leave(x, own.context)
        query = replace(asking, vector=self.around_cross.enter(x))
        seen = self.attention(query, cross, states[0], need_weights=need_weights or copied)
        if self.gate is not None:
            seen = seen.gated(torch.sigmoid(self.gate(query.vector)))
        return x, grown, seen, own

    def leave(self, x: Tensor, context: Tensor) -> Tensor:
        """The rest of the layer, once it is known what the source gave: x (B, T, D), context (..., C) -> (..., D)."""
        x = self.around_cross.leave(x, self.adapt(context))
        return self.around_feed_forward.leave(x, self.feed_forward(self.around_feed_forward.enter(x)))


class TransformerDecoder(Decoder):
    """``layers`` decoder layers over token embeddings; weights of every layer's slots on request.

    With ``gate``, what the source gives a layer is scaled by beta = sigmoid(f_beta(x)), x the vector that asked
    (Xu 2015, section 4.2.1, of an RNN's state).
    """

    def __init__(
        self,
        vocabulary: int,
        encoder: Encoder,
        *,
        dim: Width,
        attention: AttentionFactory,
        self_attention: AttentionFactory,
        layers: Layers = 3,
        ff_dim: Width = 1024,
        dropout: Share = 0.1,
        norm: str = "pre",
        positions: str = "sinusoidal",
        activation: str = "relu",
        max_length: Count = 1024,
        embedding_dropout: Share | None = None,
        tie_output: bool = True,
        copy: bool = False,
        gate: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(
            vocabulary,
            dim,
            dropout=dropout if embedding_dropout is None else embedding_dropout,
            scale=True,
            positions=positions,
            max_length=max_length,
        )
        source = replace(encoder.source, input_dim=dim, states="normalised")
        past = SourceSpec(dim, is_self=True, causal=True, position=relative(positions), states="normalised")
        self.layers = Stack(
            DecoderLayer(
                dim,
                replace(source, last=layer == layers - 1),
                past,
                attention,
                self_attention,
                ff_dim,
                dropout,
                norm,
                activation,
                gate,
            )
            for layer in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()
        self.output = OutputLayer(dim, vocabulary, tied=self.embedding.table if tie_output else None)
        self.pointer = Pointer(self.layers[-1].attention.context_dim, dim, dim) if copy else None

    def cross_attention(self, layer: int) -> Attention:
        """Return the cross-attention of ``layer``."""
        return self.layers[layer].attention

    def start(self, encoded: EncoderOutput) -> DecoderState:
        """Each layer prepares the source for itself."""
        memories = tuple(layer.attention.prepare(encoded.memory) for layer in self.layers)
        states = tuple(layer.attention.initial_state(m) for layer, m in zip(self.layers, memories, strict=True))
        pasts = (None,) * len(memories)
        return DecoderState(memories, pasts, states + ({},) * len(memories), copies=encoded.copies)

    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        """(B, T) -> features (B, T, D)."""
        depth = len(self.layers)
        x = self.embedding(self.readable(tokens), state.position)
        new = Memory.of(x, tokens != PAD)
        new = replace(new, positions=new.positions + state.position)
        asking = Query(x, new.positions[..., 0], x)
        last = self.layers[depth - 1]  # earlier layers neither know the target nor offer alternatives
        known = replace(asking, target=last.attention.read_target(x, new.mask)) if self.training else asking
        past, attended = [], []
        mixture = None
        for i, layer in enumerate(self.layers):
            states = (state.attention[i], state.attention[depth + i])
            asks, copied = (known, self.pointer is not None) if layer is last else (asking, False)
            met, grown, cross, own = layer(x, asks, new, state.cross[i], state.past[i], states, need_weights, copied)
            x = layer.leave(met, cross.context)
            past.append(grown)
            attended.append((cross, own))
            if layer is last and cross.alternatives is not None:
                told = self.norm(layer.leave(met.unsqueeze(2), cross.alternatives.contexts))
                mixture = Mixture(told, cross.alternatives.log_weights, cross.alternatives.kind)
        features = self.norm(x)
        copying = self.copying(attended[-1][0], depth - 1, features, asking.vector, state)
        slots = {f"cross.{i}": cross for i, (cross, _) in enumerate(attended)}
        slots |= {f"decoder_self.{i}": own for i, (_, own) in enumerate(attended)}
        after = DecoderState(
            state.cross,
            tuple(past),
            tuple(slot.state for slot in slots.values()),
            copies=state.copies,
            position=state.position + tokens.shape[1],
        )
        return Decoded.of(features, slots, mixture, copying), after
