"""Recurrent decoder, in Luong order (step, then attend) or in Bahdanau order (attend, then step).

Shapes: B batch, T target tokens, S source positions, E embedding, D state width, C context width, L layers, J
alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.base import Attention, AttentionFactory
from seq2seq.attention.types import Alternatives, AttentionOutput, Memory, Query, SourceSpec
from seq2seq.batch import PAD
from seq2seq.config.ranges import Layers, Share, Width
from seq2seq.decoders.base import Decoded, Decoder, DecoderState
from seq2seq.decoders.bridge import Bridge
from seq2seq.decoders.cells import RecurrentStack, RecurrentStep
from seq2seq.decoders.word_evidence import READOUTS, WordEvidence
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.output import Mixture, OutputFactory, OutputLayer
from seq2seq.layers.pointer import Pointer


class Readout(nn.Module):
    """Maxout over pairs of U s_{t-1} + V E y_{t-1} + C c_t (Bahdanau 2015, appendix A.2.2).

    Args:
        dim: Width D of a state.
        embedding_dim: Width E of an embedding.
        context_dim: Width C of a context.
        out_dim: Width of the output.
    """

    def __init__(self, dim: int, embedding_dim: int, context_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim + embedding_dim + context_dim, 2 * out_dim)

    def forward(self, state: Tensor, embedded: Tensor, context: Tensor) -> Tensor:
        """Return the features for the output layer.

        Args:
            state: States s_{t-1} (B, T, D).
            embedded: Embedded tokens y_{t-1} (B, T, E).
            context: Contexts c_t (B, T, C).

        Returns:
            Features (B, T, out_dim).
        """
        return torch.unflatten(self.linear(torch.cat((state, embedded, context), -1)), -1, (-1, 2)).amax(-1)


class RNNDecoder(Decoder):
    """Recurrent decoder: p(y_t | y_<t, x) from a recurrent state and a context.

    ``order: luong`` (2015, sections 3 and 3.3) makes a step, then attends:

        h_t = RNN([E y_{t-1}; h~_{t-1}], h_{t-1}),  c_t = attention(h_t),  h~_t = tanh(W_c [c_t; h_t])

    The output layer reads h~_t. With ``input_feeding``, the next step reads it too; h~ is zero at t = 0. Without
    ``input_feeding``, the recurrence runs over all T tokens in one fused call, and so does attention.

    ``order: bahdanau`` (2015, section 3) attends, then makes a step:

        c_t = attention(s_{t-1}),  s_t = RNN([E y_{t-1}; c_t], s_{t-1})

    The readout is a maxout of s_{t-1}, E y_{t-1} and c_t (``Readout``). The step always reads the context.

    With ``self_attention``, a second context is appended to c_t, from the earlier states of the decoder (Paulus 2017,
    section 2.2). It is zero at t = 0.

    With ``gate``, the source context is multiplied by beta_t = sigmoid(f_beta(s)), where s is the state that attends
    (Xu 2015, section 4.2.1).

    Args:
        vocabulary: Number V of target tokens.
        encoder: Encoder of the model, which gives the sizes of the memory and of the first state.
        dim: Width D of a state.
        embedding_dim: Width E of an embedding.
        attention: Factory of the cross-attention mechanism.
        scale_embedding: Whether to multiply embeddings by sqrt(``embedding_dim``), as in a Transformer.
        layers: Number L of layers.
        cell: Recurrent cell: "lstm" or "gru".
        order: "luong" (step, then attend) or "bahdanau" (attend, then step).
        input_feeding: Whether the next step reads h~_t; must be True in Bahdanau order.
        bridge: First state from the encoder: "dense", "backward", "copy" or "zero" (``Bridge``).
        readout_dim: Width of the features; None for D, or for E with ``tie_output``.
        dropout: Dropout probability of embeddings, between layers and on the features.
        tie_output: Whether the output layer shares its matrix with the embedding.
        output: Factory of the output layer; None for softmax (``OutputLayer``).
        self_attention: Factory of a self-attention over earlier states; None for none.
        copy: Whether source words can be copied (``Pointer``).
        gate: Whether to multiply the source context by beta_t.

    Raises:
        UserError: An option has an unknown value, or options cannot be combined.
    """

    def __init__(
        self,
        vocabulary: int,
        encoder: Encoder,
        *,
        dim: Width,
        embedding_dim: Width,
        attention: AttentionFactory,
        scale_embedding: bool = False,
        layers: Layers = 1,
        cell: str = "lstm",
        order: str = "luong",
        input_feeding: bool = True,
        bridge: str = "dense",
        readout_dim: Width | None = None,
        dropout: Share = 0.0,
        tie_output: bool = False,
        output: OutputFactory | None = None,
        self_attention: AttentionFactory | None = None,
        copy: bool = False,
        gate: bool = False,
    ) -> None:
        super().__init__()
        if order not in ("luong", "bahdanau"):
            raise UserError(f"order={order} is unknown; choose luong or bahdanau")
        if order == "bahdanau" and not input_feeding:
            raise UserError("input_feeding=false needs order=luong, because order=bahdanau always reads the context")
        self.order, self.input_feeding = order, input_feeding
        self.embedding = TokenEmbedding(vocabulary, embedding_dim, dropout=dropout, scale=scale_embedding)
        # Build the attention slots.
        self.attention = attention(dim, replace(encoder.source, input_dim=embedding_dim, copied=copy))
        past = SourceSpec(dim, is_self=True, causal=True)
        own = None if self_attention is None else self_attention(dim, past)
        self.self_attention: Attention | None = own
        # Build the readout, whose form depends on the order.
        context_dim = self.attention.context_dim + (0 if own is None else own.context_dim)
        out_dim = readout_dim or (embedding_dim if tie_output else dim)
        if order == "bahdanau":
            fed = context_dim
            self.readout = Readout(dim, embedding_dim, context_dim, out_dim)
        else:
            fed = out_dim if input_feeding else 0
            self.combine = nn.Linear(context_dim + dim, out_dim, bias=False)
            nn.init.xavier_uniform_(self.combine.weight)
        self.fed = fed
        # Build the recurrence and the output.
        self.gate = nn.Linear(dim, 1) if gate else None
        self.rnn = RecurrentStack(cell, embedding_dim, fed, dim, layers, dropout)
        self.bridge = Bridge(bridge, encoder, dim, layers, self.rnn.states)
        self.dropout = Dropout(dropout)
        make = OutputLayer if output is None else output
        self.output = make(out_dim, vocabulary, tied=self.embedding.table if tie_output else None)
        self.pointer = Pointer(self.attention.context_dim, dim, embedding_dim) if copy else None
        self.check_output()

    @override
    def cross_attention(self, layer: int) -> Attention:
        """Return the only cross-attention; ``layer`` is ignored."""
        return self.attention

    @override
    def start(self, encoded: EncoderOutput) -> DecoderState:
        # The first state comes from the encoder; the vector that is fed back starts at 0.
        memory = self.attention.prepare(encoded.memory)
        recurrent = self.bridge(encoded.hidden)
        tensors = {"recurrent": recurrent}
        if self.order == "luong" and self.input_feeding:
            tensors["feed"] = recurrent.new_zeros(len(recurrent), self.fed)
        # Attention starts with no past.
        cross = self.attention.initial_state(memory)
        if self.self_attention is None:
            return DecoderState((memory,), (), (cross,), tensors, encoded.copies)
        return DecoderState((memory,), (None,), (cross, {}), tensors, encoded.copies)

    @override
    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        # Build the queries; each order of steps fills in their vectors.
        words, real = self.readable(tokens), tokens != PAD
        embedded = self.embedding(words)
        start, length = state.position, tokens.shape[1]
        places = torch.arange(start, start + length, device=tokens.device).expand_as(tokens)
        target = self.attention.read_target(embedded, real) if self.training else None
        queries = Query(embedded, places, embedded, target=target)
        # Run over the tokens in the order of steps.
        evidence = WordEvidence(self.output, words, state.tensors.get(READOUTS))
        attend = _Attending(self, state, real, evidence, need_weights)
        run = self._bahdanau if self.order == "bahdanau" else self._fed if self.input_feeding else self._parallel
        features, hidden, tensors = run(queries, attend, state.tensors)
        slots = attend.slots()
        # Read out each alternative context; state and embedding are the same for all J of them.
        mixture = None
        if (alternatives := slots["cross.0"].alternatives) is not None:
            readouts = evidence.readouts
            if readouts is None:
                own = slots["decoder_self.0"].context if "decoder_self.0" in slots else None
                readouts = self.read_each(hidden, embedded, own, None, alternatives.contexts)
            mixture = Mixture(readouts, alternatives.log_weights, alternatives.kind, alternatives.transitions)
        copying = self.copying(slots["cross.0"], 0, hidden, embedded, state)
        tensors |= evidence.state()
        after = DecoderState(state.cross, attend.past, attend.states, tensors, state.copies, start + length)
        return Decoded.of(features, slots, mixture, copying), after

    def _parallel(
        self, queries: Query, attend: _Attending, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run in Luong order without input feeding: all T tokens at once, since no step reads a context."""
        hidden, recurrent, cells = self.rnn(queries.vector, tensors["recurrent"])
        context = attend(replace(queries, vector=hidden, cell=cells))
        return self._read(context, hidden), hidden, {"recurrent": recurrent}

    def _fed(
        self, queries: Query, attend: _Attending, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run in Luong order with input feeding, token by token."""
        feed, stepper = tensors["feed"], self.rnn.stepper(queries.vector, tensors["recurrent"])
        features: list[Tensor] = []
        states: list[Tensor] = []
        for t in range(queries.vector.shape[1]):
            stepper.step(t, feed)
            states.append(stepper.hidden)
            feed = self._read(attend(_ask(stepper, queries.at(t))).squeeze(1), stepper.hidden)
            features.append(feed)
        return torch.stack(features, 1), torch.stack(states, 1), {"recurrent": stepper.state(), "feed": feed}

    def _bahdanau(
        self, queries: Query, attend: _Attending, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run in Bahdanau order, token by token: attend with the state before the step, then read the context."""
        stepper = self.rnn.stepper(queries.vector, tensors["recurrent"])
        contexts: list[Tensor] = []
        states: list[Tensor] = []
        for t in range(queries.vector.shape[1]):
            contexts.append(attend(_ask(stepper, queries.at(t))))
            states.append(stepper.hidden)
            stepper.step(t, contexts[-1].squeeze(1))
        hidden = torch.stack(states, 1)
        features = self._read(torch.cat(contexts, 1), hidden, queries.vector)
        return features, hidden, {"recurrent": stepper.state()}

    def read_each(
        self, hidden: Tensor, embedded: Tensor, own: Tensor | None, share: Tensor | None, contexts: Tensor
    ) -> Tensor:
        """Return the features (B, T, J, out_dim) of alternative contexts; all else is the same for all J of them.

        Args:
            hidden: States (B, T, D).
            embedded: Embedded tokens (B, T, E).
            own: Contexts (B, T, C) of the self-attention, if there is one.
            share: Factor of the alternative contexts of each query (B, T, 1); None for 1.
            contexts: Alternative contexts (B, T, J, C).
        """
        one = contexts[..., :1]
        if share is not None:
            contexts = contexts * share.unsqueeze(2)
        if own is not None:
            contexts = torch.cat((contexts, _shared(own, one)), -1)
        return self._read(contexts, _shared(hidden, one), _shared(embedded, one))

    def _read(self, context: Tensor, hidden: Tensor, embedded: Tensor | None = None) -> Tensor:
        """Return the features (..., out_dim), with dropout; in Luong order they are also fed back.

        Luong order: h~ = tanh(W_c [c; h]) (2015, equation 5). Bahdanau order: ``Readout``.

        Args:
            context: Contexts (..., C).
            hidden: States (..., D).
            embedded: Embedded tokens (..., E), needed in Bahdanau order only.
        """
        if self.order == "bahdanau":
            assert embedded is not None
            read: Tensor = self.dropout(self.readout(hidden, embedded, context))
        else:
            read = self.dropout(torch.tanh(self.combine(torch.cat((context, hidden), -1))))
        return read


class _Attending:
    """Attention slots during one call of the decoder; they record their outputs for all queries.

    Args:
        decoder: Decoder that owns the slots.
        state: State of the decoder before the call.
        real: Mask of the T target tokens of the call (B, T) bool, True = real.
        evidence: Evidence of the T target tokens, for mechanisms that need it.
        need_weights: Whether to record weights.
    """

    def __init__(
        self, decoder: RNNDecoder, state: DecoderState, real: Tensor, evidence: WordEvidence, need_weights: bool
    ) -> None:
        self.read_each, self.evidence = decoder.read_each, evidence
        self.cross, self.own, self.gate = decoder.attention, decoder.self_attention, decoder.gate
        self.memory, self.past, self.states = state.cross[0], state.past, state.attention
        self.first, self.real, self.need_weights = state.position, real, need_weights
        self.copies = decoder.pointer is not None  # copying needs the weights over the source
        self.outputs: list[tuple[AttentionOutput, ...]] = []

    def __call__(self, query: Query) -> Tensor:
        """Return the contexts (B, T, C) of some queries: source context, then self-attention context."""
        assert query.input is not None
        state, *rest = self.states
        # Attend to the earlier states of the decoder, after the new states are appended to them.
        own: list[AttentionOutput] = []
        if self.own is not None:
            start = sum(output[0].context.shape[1] for output in self.outputs)
            real = self.real[:, start : start + query.vector.shape[1]]
            new = replace(Memory.of(query.vector, real), positions=query.position.unsqueeze(-1))
            past = self.own.extend(self.past[0], self.own.prepare(new), need_weights=self.need_weights)
            own_state = self.own.initial_state(past) if self.past[0] is None else rest[0]
            earlier = past.positions[:, None, :, 0] < query.position[:, :, None]
            own_query = Query(query.vector, query.position)
            own = [self.own(own_query, past, own_state, mask=earlier, need_weights=self.need_weights)]
            self.past = (past,)
        # Attend to the source. What the words say of its alternatives depends on all other parts of the readout.
        share = None if self.gate is None else torch.sigmoid(self.gate(query.vector))
        read = partial(self.read_each, query.vector, query.input, own[0].context if own else None, share)
        source_query = replace(query, evidence=partial(self.evidence, read))
        cross = self.cross(source_query, self.memory, state, need_weights=self.need_weights or self.copies)
        outputs = [cross if share is None else cross.gated(share), *own]
        # Record the outputs.
        self.states = tuple(output.state for output in outputs)
        self.outputs.append(tuple(outputs))
        return torch.cat([output.context for output in outputs], -1)

    def slots(self) -> dict[str, AttentionOutput]:
        """Return the output of each slot for all T queries together, by the name of the slot."""
        return dict(zip(("cross.0", "decoder_self.0"), map(_join, zip(*self.outputs, strict=True)), strict=False))


def _ask(stepper: RecurrentStep, queries: Query) -> Query:
    """Return the state of the last layer of ``stepper`` as one query, T = 1."""
    cell = stepper.cell
    return replace(queries, vector=stepper.hidden.unsqueeze(1), cell=None if cell is None else partial(_as_one, cell))


def _as_one(x: Tensor) -> Tensor:
    """Return x (B, D) as one step (B, 1, D)."""
    return x.unsqueeze(1)


def _shared(x: Tensor, like: Tensor) -> Tensor:
    """Return x (B, T, D) repeated for each of J alternatives, as (B, T, J, D)."""
    return x.unsqueeze(2).expand(*like.shape[:3], -1)


def _join(steps: Sequence[AttentionOutput]) -> AttentionOutput:
    """Return the outputs for several parts of T queries as one output."""
    if len(steps) == 1:
        return steps[0]

    def along(dim: int, parts: Sequence[Tensor | None]) -> Tensor | None:
        # Pad weights over a self-attention memory that grew from part to part.
        present = [part for part in parts if part is not None]
        if present and present[0].shape[-1] != present[-1].shape[-1]:
            present = [F.pad(part, (0, present[-1].shape[-1] - part.shape[-1])) for part in present]
        return torch.cat(present, dim) if present else None

    # Join alternatives and all other tensors along T.
    alternatives = [step.alternatives for step in steps if step.alternatives is not None]
    return AttentionOutput(
        torch.cat([step.context for step in steps], 1),
        along(2, [step.weights for step in steps]),
        steps[-1].state,
        along(2, [step.sentinel for step in steps]),
        along(1, [step.log_prob for step in steps]),
        {name: torch.cat([step.penalties[name] for step in steps], 1) for name in steps[0].penalties},
        Alternatives(
            torch.cat([each.contexts for each in alternatives], 1),
            torch.cat([each.log_weights for each in alternatives], 1),
            alternatives[0].kind,
            along(1, [each.transitions for each in alternatives]),
        )
        if alternatives
        else None,
    )
