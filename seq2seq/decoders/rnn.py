"""Recurrent decoder, in Luong order (step, then attend) and in Bahdanau order (attend, then step).

Shapes: B batch, T target tokens, E embedding, D state width, C context width, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attention, AttentionFactory
from seq2seq.attention.types import Alternatives, AttentionOutput, Memory, Query, SourceSpec
from seq2seq.batch import PAD
from seq2seq.config.ranges import Layers, Share, Width
from seq2seq.decoders.base import Decoded, Decoder, DecoderState
from seq2seq.decoders.bridge import Bridge
from seq2seq.decoders.cells import RecurrentStack, RecurrentStep
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.output import Mixture, OutputLayer
from seq2seq.layers.pointer import Pointer


class Readout(nn.Module):
    """Bahdanau's: maxout over pairs of U s[t-1] + V E y[t-1] + C c_t (2015, appendix A.2.2)."""

    def __init__(self, dim: int, embedding_dim: int, context_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim + embedding_dim + context_dim, 2 * out_dim)

    def forward(self, state: Tensor, embedded: Tensor, context: Tensor) -> Tensor:
        """(B, T, .) each -> (B, T, out_dim)."""
        return torch.unflatten(self.linear(torch.cat((state, embedded, context), -1)), -1, (-1, 2)).amax(-1)


class RNNDecoder(Decoder):
    """p(y_t | y_<t, x) from a recurrent state and a context. With ``self_attention``, the context ends in what the
    state attends to among the decoder's own earlier states, zero at t = 0 (Paulus 2017, section 2.2).

    ``order: luong`` (2015, sections 3 and 3.3): h_t = RNN([E y_{t-1}; h~_{t-1}], h_{t-1}), attention asks with
    h_t, h~_t = tanh(W_c [c_t; h_t]) goes to the output layer and, with ``input_feeding``, into the next step
    (zero at t = 0). Without it h~ is not fed: the recurrence then runs over all T in one fused call and
    attention is asked once for all T.

    ``order: bahdanau`` (2015, section 3): attention asks with s_{t-1}, s_t = RNN([E y_{t-1}; c_t], s_{t-1}), and
    the readout is a maxout of s_{t-1}, E y_{t-1} and c_t. It always feeds the context in.

    Embeddings are multiplied by sqrt(``embedding_dim``) if ``scale_embedding``, as in a Transformer.

    With ``gate``, what the source gives is scaled by beta_t = sigmoid(f_beta(s)), s the state that asked (Xu 2015,
    section 4.2.1).
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
        self_attention: AttentionFactory | None = None,
        copy: bool = False,
        gate: bool = False,
    ) -> None:
        super().__init__()
        if order not in ("luong", "bahdanau"):
            raise UserError(f"order={order} is unknown; choose luong or bahdanau")
        if order == "bahdanau" and not input_feeding:
            raise UserError("order=bahdanau feeds its context in by definition; input_feeding=false is Luong's option")
        self.order, self.input_feeding = order, input_feeding
        self.embedding = TokenEmbedding(vocabulary, embedding_dim, dropout=dropout, scale=scale_embedding)
        self.attention = attention(dim, replace(encoder.source, input_dim=embedding_dim))
        past = SourceSpec(dim, is_self=True, causal=True)
        own = None if self_attention is None else self_attention(dim, past)
        self.self_attention: Attention | None = own
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
        self.gate = nn.Linear(dim, 1) if gate else None
        self.rnn = RecurrentStack(cell, embedding_dim, fed, dim, layers, dropout)
        self.bridge = Bridge(bridge, encoder, dim, layers, self.rnn.states)
        self.dropout = Dropout(dropout)
        self.output = OutputLayer(out_dim, vocabulary, tied=self.embedding.table if tie_output else None)
        self.pointer = Pointer(self.attention.context_dim, dim, embedding_dim) if copy else None

    def cross_attention(self, layer: int) -> Attention:
        """Return the only cross-attention; ``layer`` is ignored."""
        return self.attention

    def start(self, encoded: EncoderOutput) -> DecoderState:
        """Bridged states, a zero feed, the source prepared once."""
        memory = self.attention.prepare(encoded.memory)
        recurrent = self.bridge(encoded.hidden)
        tensors = {"recurrent": recurrent}
        if self.order == "luong" and self.input_feeding:
            tensors["feed"] = recurrent.new_zeros(len(recurrent), self.fed)
        cross = self.attention.initial_state(memory)
        if self.self_attention is None:
            return DecoderState((memory,), (), (cross,), tensors, encoded.copies)
        return DecoderState((memory,), (None,), (cross, {}), tensors, encoded.copies)

    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        """(B, T) -> features (B, T, out_dim)."""
        embedded, real = self.embedding(self.readable(tokens)), tokens != PAD
        start, length = state.position, tokens.shape[1]
        places = torch.arange(start, start + length, device=tokens.device).expand_as(tokens)
        target = self.attention.read_target(embedded, real) if self.training else None
        asking = Query(embedded, places, embedded, target=target)  # its vector is what each walk finds
        attend = _Attending(self, state, real, need_weights)
        walk = self._bahdanau if self.order == "bahdanau" else self._fed if self.input_feeding else self._parallel
        features, hidden, carried = walk(asking, attend, state.tensors)
        slots = attend.slots()
        mixture = None
        if (offered := slots["cross.0"].alternatives) is not None:
            contexts, one = offered.contexts, offered.contexts[..., :1]  # all readouts share what is the same for all J
            if "decoder_self.0" in slots:
                contexts = torch.cat((contexts, _shared(slots["decoder_self.0"].context, one)), -1)
            told = self._read(contexts, _shared(hidden, one), _shared(embedded, one))
            mixture = Mixture(told, offered.log_weights, offered.kind)
        copying = self.copying(slots["cross.0"], 0, hidden, embedded, state)
        after = DecoderState(state.cross, attend.past, attend.states, carried, state.copies, start + length)
        return Decoded.of(features, slots, mixture, copying), after

    def _parallel(
        self, asking: Query, attend: _Attending, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Luong without input feeding: nothing waits for attention, so all T go at once."""
        hidden, recurrent, cells = self.rnn(asking.vector, tensors["recurrent"])
        context = attend(replace(asking, vector=hidden, cell=cells))
        return self._read(context, hidden), hidden, {"recurrent": recurrent}

    def _fed(
        self, asking: Query, attend: _Attending, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Luong with input feeding: a loop over T."""
        feed, stepper = tensors["feed"], self.rnn.stepper(asking.vector, tensors["recurrent"])
        features: list[Tensor] = []
        states: list[Tensor] = []
        for t in range(asking.vector.shape[1]):
            stepper.step(t, feed)
            states.append(stepper.hidden)
            feed = self._read(attend(_ask(stepper, asking.at(t))).squeeze(1), stepper.hidden)
            features.append(feed)
        return torch.stack(features, 1), torch.stack(states, 1), {"recurrent": stepper.state(), "feed": feed}

    def _bahdanau(
        self, asking: Query, attend: _Attending, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Attend with the state before the step; the context enters the step. A loop over T."""
        stepper = self.rnn.stepper(asking.vector, tensors["recurrent"])
        contexts: list[Tensor] = []
        states: list[Tensor] = []
        for t in range(asking.vector.shape[1]):
            contexts.append(attend(_ask(stepper, asking.at(t))))
            states.append(stepper.hidden)
            stepper.step(t, contexts[-1].squeeze(1))
        hidden = torch.stack(states, 1)
        features = self._read(torch.cat(contexts, 1), hidden, asking.vector)
        return features, hidden, {"recurrent": stepper.state()}

    def _read(self, context: Tensor, hidden: Tensor, embedded: Tensor | None = None) -> Tensor:
        """What is read out (and, in Luong order, fed back), with dropout: (..., C), (..., D), (..., E).

        Luong order: h~ = tanh(W_c [c; h]) (2015, equation 5). Bahdanau order: ``Readout``.
        """
        if self.order == "bahdanau":
            assert embedded is not None
            read: Tensor = self.dropout(self.readout(hidden, embedded, context))
        else:
            read = self.dropout(torch.tanh(self.combine(torch.cat((context, hidden), -1))))
        return read


class _Attending:
    """The slots during one walk: asked for T queries or for one at a time, they note what they attended to."""

    def __init__(self, decoder: RNNDecoder, state: DecoderState, real: Tensor, need_weights: bool) -> None:
        self.cross, self.own, self.gate = decoder.attention, decoder.self_attention, decoder.gate
        self.memory, self.past, self.states = state.cross[0], state.past, state.attention
        self.first, self.real, self.need_weights = state.position, real, need_weights
        self.copies = decoder.pointer is not None  # what reads the weights over the source
        self.answers: list[tuple[AttentionOutput, ...]] = []

    def __call__(self, query: Query) -> Tensor:
        """Contexts (B, T, C): the source's, then that of the decoder's own earlier states."""
        state, *rest = self.states
        answers = [self.cross(query, self.memory, state, need_weights=self.need_weights or self.copies)]
        if self.gate is not None:
            answers = [answers[0].gated(torch.sigmoid(self.gate(query.vector)))]
        if self.own is not None:
            start = sum(answer[0].context.shape[1] for answer in self.answers)
            real = self.real[:, start : start + query.vector.shape[1]]
            new = replace(Memory.of(query.vector, real), positions=query.position.unsqueeze(-1))
            past = self.own.extend(self.past[0], self.own.prepare(new), need_weights=self.need_weights)
            state = self.own.initial_state(past) if self.past[0] is None else rest[0]
            earlier = past.positions[:, None, :, 0] < query.position[:, :, None]
            asked = Query(query.vector, query.position)
            answers.append(self.own(asked, past, state, mask=earlier, need_weights=self.need_weights))
            self.past = (past,)
        self.states = tuple(answer.state for answer in answers)
        self.answers.append(tuple(answers))
        return torch.cat([answer.context for answer in answers], -1)

    def slots(self) -> dict[str, AttentionOutput]:
        """What each slot attended to in all T steps together."""
        return dict(zip(("cross.0", "decoder_self.0"), map(_join, zip(*self.answers, strict=True)), strict=False))


def _ask(stepper: RecurrentStep, asking: Query) -> Query:
    """The stepper's top state as a query of T = 1."""
    cell = stepper.cell
    return replace(asking, vector=stepper.hidden.unsqueeze(1), cell=None if cell is None else partial(_as_one, cell))


def _as_one(x: Tensor) -> Tensor:
    """(B, D) -> (B, 1, D)."""
    return x.unsqueeze(1)


def _shared(x: Tensor, like: Tensor) -> Tensor:
    """(B, T, D) for each of J alternatives: (B, T, J, D)."""
    return x.unsqueeze(2).expand(*like.shape[:3], -1)


def _join(steps: Sequence[AttentionOutput]) -> AttentionOutput:
    """The answers to T queries, in one or several parts, as one."""
    if len(steps) == 1:
        return steps[0]

    def along(dim: int, parts: Sequence[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        if given and given[0].shape[-1] != given[-1].shape[-1]:  # weights over a memory that grew
            given = [F.pad(part, (0, given[-1].shape[-1] - part.shape[-1])) for part in given]
        return torch.cat(given, dim) if given else None

    offered = [step.alternatives for step in steps if step.alternatives is not None]
    return AttentionOutput(
        torch.cat([step.context for step in steps], 1),
        along(2, [step.weights for step in steps]),
        steps[-1].state,
        along(2, [step.sentinel for step in steps]),
        along(1, [step.log_prob for step in steps]),
        {name: torch.cat([step.penalties[name] for step in steps], 1) for name in steps[0].penalties},
        Alternatives(
            torch.cat([each.contexts for each in offered], 1),
            torch.cat([each.log_weights for each in offered], 1),
            offered[0].kind,
        )
        if offered
        else None,
    )
