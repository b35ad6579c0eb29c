"""Transformer decoder (Vaswani 2017, section 3.1), with any mechanism as cross-attention and self-attention.

Shapes: B batch, T target tokens, S source positions, D width, C context width, J alternatives.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.base import Attention, AttentionFactory
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.batch import PAD
from seq2seq.config.ranges import Count, Layers, Share, Width
from seq2seq.decoders.base import Decoded, Decoder, DecoderState
from seq2seq.decoders.word_evidence import READOUTS, WordEvidence
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.layers.embedding import TokenEmbedding, relative
from seq2seq.layers.output import Mixture, OutputFactory, OutputLayer
from seq2seq.layers.pointer import Pointer
from seq2seq.layers.stack import Stack
from seq2seq.layers.transformer import FeedForward, Residual, initialise


class DecoderLayer(nn.Module):
    """Layer of a Transformer decoder: self-attention, cross-attention, feed-forward, each with a residual connection.

    Args:
        dim: Width D of the layer.
        source: Description of the source memory.
        past: Description of the decoder's own sequence, which is causal.
        attention: Factory of the cross-attention mechanism.
        self_attention: Factory of the self-attention mechanism.
        ff_dim: Width of the hidden layer of the feed-forward network.
        dropout: Dropout probability.
        norm: Order of norm and residual connection: "pre" or "post".
        activation: Activation of the feed-forward network: "relu", "gelu" or "silu".
        gate: Whether to multiply the source context by sigmoid(f(query)).
    """

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
        # Project contexts to the width of the layer if needed.
        width = self.attention.context_dim
        self.adapt = nn.Identity() if width == dim else nn.Linear(width, dim, bias=False)
        self.around_self = Residual(dim, dropout, norm)
        self.around_cross = Residual(dim, dropout, norm)
        self.around_feed_forward = Residual(dim, dropout, norm)

    def forward(
        self,
        x: Tensor,
        queries: Query,
        new: Memory,
        cross: Memory,
        past: Memory | None,
        states: tuple[AttentionState, AttentionState],
        need_weights: bool,
        copied: bool,
        evidence: WordEvidence | None,
    ) -> tuple[Tensor, Memory, AttentionOutput, AttentionOutput]:
        """Apply self-attention and cross-attention; ``leave`` applies the rest of the layer.

        Args:
            x: Vectors (B, T, D).
            queries: Queries of cross-attention; their vector is replaced.
            new: Memory of the T tokens, which gives their mask and positions; its values are not used.
            cross: Prepared source memory of this layer.
            past: Self-attention memory of the tokens before; None at the first token.
            states: States of cross-attention and of self-attention.
            need_weights: Whether to return the weights of both mechanisms.
            copied: Whether to return the weights of cross-attention in any case, for copying.
            evidence: Evidence of the words, for mechanisms that need it; None in a layer that is not the last.

        Returns:
            The vectors (B, T, D) before the context of cross-attention is added, the self-attention memory with the T
            tokens, and the outputs of cross-attention and of self-attention.
        """
        # Append the new tokens to the past, and attend to both.
        inner = self.around_self.enter(x)
        mechanism = self.self_attention
        grown = mechanism.extend(past, mechanism.prepare(replace(new, values=inner)), need_weights=need_weights)
        own_state = mechanism.initial_state(grown) if past is None else states[1]
        own = mechanism(Query(inner, queries.position), grown, own_state, need_weights=need_weights)
        x = self.around_self.leave(x, own.context)
        # Attend to the source.
        query = replace(queries, vector=self.around_cross.enter(x))
        share = None if self.gate is None else torch.sigmoid(self.gate(query.vector))
        if evidence is not None:
            query = replace(query, evidence=partial(evidence, partial(self.leave_each, x, share)))
        from_source = self.attention(query, cross, states[0], need_weights=need_weights or copied)
        if share is not None:
            from_source = from_source.gated(share)
        return x, grown, from_source, own

    def leave(self, x: Tensor, context: Tensor) -> Tensor:
        """Add the context of cross-attention, and apply the feed-forward network.

        Args:
            x: Vectors (..., D) that ``forward`` returned.
            context: Contexts of cross-attention (..., C).

        Returns:
            Vectors (..., D).
        """
        x = self.around_cross.leave(x, self.adapt(context))
        return self.around_feed_forward.leave(x, self.feed_forward(self.around_feed_forward.enter(x)))

    def leave_each(self, x: Tensor, share: Tensor | None, contexts: Tensor) -> Tensor:
        """Apply ``leave`` to alternative contexts.

        Args:
            x: Vectors (B, T, D) that ``forward`` returned.
            share: Factor of the contexts of each query (B, T, 1); None for 1.
            contexts: Alternative contexts of cross-attention (B, T, J, C).

        Returns:
            Vectors (B, T, J, D).
        """
        return self.leave(x.unsqueeze(2), contexts if share is None else contexts * share.unsqueeze(2))


class TransformerDecoder(Decoder):
    """Transformer decoder: token embeddings with positions, ``layers`` layers, and a last norm if ``norm=pre``.

    With ``gate``, the source context of each layer is multiplied by beta = sigmoid(f_beta(x)), where x is the query (Xu
    2015, section 4.2.1, where x is the state of an RNN).

    Args:
        vocabulary: Number V of target tokens.
        encoder: Encoder of the model, which gives the description of the memory.
        dim: Width D of all layers.
        attention: Factory of the cross-attention mechanism of each layer.
        self_attention: Factory of the self-attention mechanism of each layer.
        layers: Number of layers.
        ff_dim: Width of the hidden layer of the feed-forward networks.
        dropout: Dropout probability of all layers.
        norm: Order of norm and residual connection: "pre" or "post".
        positions: Position encoding: "sinusoidal", "learned", "rotary", "alibi" or "none".
        activation: Activation of the feed-forward networks: "relu", "gelu" or "silu".
        max_length: Number of learned positions; the other encodings ignore it.
        embedding_dropout: Dropout probability of embeddings; None to use ``dropout``.
        tie_output: Whether the output layer shares its matrix with the embedding.
        output: Factory of the output layer; None for softmax (``OutputLayer``).
        copy: Whether source words can be copied (``Pointer``), by the attention of the last layer.
        gate: Whether to multiply the source context by beta.
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
        output: OutputFactory | None = None,
        copy: bool = False,
        gate: bool = False,
    ) -> None:
        super().__init__()
        # Embed target tokens.
        self.embedding = TokenEmbedding(
            vocabulary,
            dim,
            dropout=dropout if embedding_dropout is None else embedding_dropout,
            scale=True,
            positions=positions,
            max_length=max_length,
        )
        # Build the layers; only the last one can have alternative contexts.
        source = replace(encoder.source, input_dim=dim, states="normalised", copied=copy)
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
        # Build the output.
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()
        make = OutputLayer if output is None else output
        self.output = make(dim, vocabulary, tied=self.embedding.table if tie_output else None)
        self.pointer = Pointer(self.layers[-1].attention.context_dim, dim, dim) if copy else None
        self.check_output()

    @override
    def cross_attention(self, layer: int) -> Attention:
        return self.layers[layer].attention

    @override
    def start(self, encoded: EncoderOutput) -> DecoderState:
        # Each layer prepares the source memory for itself.
        memories = tuple(layer.attention.prepare(encoded.memory) for layer in self.layers)
        states = tuple(layer.attention.initial_state(m) for layer, m in zip(self.layers, memories, strict=True))
        pasts = (None,) * len(memories)
        return DecoderState(memories, pasts, states + ({},) * len(memories), copies=encoded.copies)

    @override
    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        # Embed the tokens, at positions after those already read.
        depth = len(self.layers)
        words = self.readable(tokens)
        x = self.embedding(words, state.position)
        new = Memory.of(x, tokens != PAD)
        new = replace(new, positions=new.positions + state.position)
        queries = Query(x, new.positions[..., 0], x)
        # Only the last layer may read the target, and only in training.
        last = self.layers[depth - 1]
        last_queries = replace(queries, target=last.attention.read_target(x, new.mask)) if self.training else queries
        words_seen = WordEvidence(self.output, words, state.tensors.get(READOUTS), self.norm)
        # Apply all layers.
        past, attended = [], []
        mixture = None
        for i, layer in enumerate(self.layers):
            states = (state.attention[i], state.attention[depth + i])
            layer_queries, copied, evidence = queries, False, None
            if layer is last:
                layer_queries, copied, evidence = last_queries, self.pointer is not None, words_seen
            before_cross, grown, cross, own = layer(
                x, layer_queries, new, state.cross[i], state.past[i], states, need_weights, copied, evidence
            )
            x = layer.leave(before_cross, cross.context)
            past.append(grown)
            attended.append((cross, own))
            # Finish the last layer for each alternative context, too.
            if layer is last and cross.alternatives is not None:
                alternatives, readouts = cross.alternatives, words_seen.readouts
                if readouts is None:
                    readouts = self.norm(layer.leave_each(before_cross, None, alternatives.contexts))
                mixture = Mixture(readouts, alternatives.log_weights, alternatives.kind, alternatives.transitions)
        # Collect the output and the new state.
        features = self.norm(x)
        copying = self.copying(attended[-1][0], depth - 1, features, queries.vector, state)
        slots = {f"cross.{i}": cross for i, (cross, _) in enumerate(attended)}
        slots |= {f"decoder_self.{i}": own for i, (_, own) in enumerate(attended)}
        after = DecoderState(
            state.cross,
            tuple(past),
            tuple(slot.state for slot in slots.values()),
            words_seen.state(),
            copies=state.copies,
            position=state.position + tokens.shape[1],
        )
        return Decoded.of(features, slots, mixture, copying), after
