"""Recurrent decoder, in Luong order (step, then attend) and in Bahdanau order (attend, then step).

Shapes: B batch, T target tokens, E embedding, D state width, C context width, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attended, Attention, AttentionFactory, Memory, Query, State
from seq2seq.decoders.base import Decoded, Decoder, DecoderState
from seq2seq.decoders.cells import RecurrentStack, Stepper
from seq2seq.encoders.base import Encoded, Encoder
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.output import OutputLayer
from seq2seq.layers.stack import Stack

BRIDGES = ("dense", "backward", "copy", "zero")


class Bridge(nn.Module):
    """The decoder's first states from the encoder's last: h = tanh(W f), an LSTM's c = tanh(W' f).

    ``dense`` reads all of f = [forward; backward]; ``backward`` only the backward half (Bahdanau 2015,
    appendix A.2.2); ``copy`` takes f as h, c = 0; ``zero`` starts from nothing. Decoder layer l reads the
    encoder's layer l, counted from the top.
    """

    def __init__(self, kind: str, encoder: Encoder, dim: int, layers: int, states: int) -> None:
        super().__init__()
        if kind not in BRIDGES:
            raise UserError(f"decoder.bridge={kind} is unknown; choose one of {', '.join(BRIDGES)}")
        if kind == "copy" and encoder.final_dim != dim:
            raise UserError(
                f"decoder.bridge=copy needs equal widths, but the encoder ends in {encoder.final_dim} and the decoder "
                f"starts with {dim}; use decoder.bridge=dense"
            )
        if kind == "backward" and encoder.directions != 2:
            raise UserError(
                "decoder.bridge=backward reads the last backward state, but the encoder has one direction; "
                "use decoder.bridge=dense"
            )
        self.kind, self.dim, self.states = kind, dim, states
        self.sources = [max(0, encoder.final_layers - layers + layer) for layer in range(layers)]
        self.backward_from = encoder.final_dim // 2
        width = self.backward_from if kind == "backward" else encoder.final_dim
        learned = kind in ("dense", "backward")
        self.maps = Stack(nn.Linear(width, dim * states) for _ in range(layers)) if learned else None

    def forward(self, final: Tensor) -> Tensor:
        """(B, L', F) -> (B, L, states, D)."""
        layers = final[:, self.sources]
        if self.maps is not None:
            reads = layers if self.kind == "dense" else layers[..., self.backward_from :]
            made = [torch.tanh(m(x)) for m, x in zip(self.maps, reads.unbind(1), strict=True)]
            return torch.stack(made, 1).unflatten(-1, (self.states, self.dim))
        start = final.new_zeros(len(final), len(self.sources), self.states, self.dim)
        if self.kind == "copy":
            start[:, :, 0] = layers
        return start


class Readout(nn.Module):
    """Bahdanau's: maxout over pairs of U s[t-1] + V E y[t-1] + C c_t (2015, appendix A.2.2)."""

    def __init__(self, dim: int, embedding_dim: int, context_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim + embedding_dim + context_dim, 2 * out_dim)

    def forward(self, state: Tensor, embedded: Tensor, context: Tensor) -> Tensor:
        """(B, T, .) each -> (B, T, out_dim)."""
        return self.linear(torch.cat((state, embedded, context), -1)).unflatten(-1, (-1, 2)).amax(-1)


class RNNDecoder(Decoder):
    """p(y_t | y_<t, x) from a recurrent state and a context.

    ``order: luong`` (2015, sections 3 and 3.3): h_t = RNN([E y_{t-1}; h~_{t-1}], h_{t-1}), attention asks with
    h_t, h~_t = tanh(W_c [c_t; h_t]) goes to the output layer and, with ``input_feeding``, into the next step
    (zero at t = 0). Without it h~ is not fed: the recurrence then runs over all T in one fused call and
    attention is asked once for all T.

    ``order: bahdanau`` (2015, section 3): attention asks with s_{t-1}, s_t = RNN([E y_{t-1}; c_t], s_{t-1}), and
    the readout is a maxout of s_{t-1}, E y_{t-1} and c_t. It always feeds the context in.
    """

    def __init__(
        self,
        vocabulary: int,
        encoder: Encoder,
        *,
        dim: int,
        embedding_dim: int,
        attention: AttentionFactory,
        layers: int = 1,
        cell: str = "lstm",
        order: str = "luong",
        input_feeding: bool = True,
        bridge: str = "dense",
        readout_dim: int | None = None,
        dropout: float = 0.0,
        tie_output: bool = False,
    ) -> None:
        super().__init__()
        if order not in ("luong", "bahdanau"):
            raise UserError(f"decoder.order={order} is unknown; choose luong or bahdanau")
        if order == "bahdanau" and not input_feeding:
            raise UserError(
                "decoder.order=bahdanau feeds its context in by definition; input_feeding=false is Luong's option"
            )
        self.order, self.input_feeding = order, input_feeding
        self.embedding = TokenEmbedding(vocabulary, embedding_dim, dropout=dropout)
        self.attention: Attention = attention(dim, encoder.source)
        context_dim = self.attention.context_dim
        out_dim = readout_dim or (embedding_dim if tie_output else dim)
        if order == "bahdanau":
            fed = context_dim
            self.readout = Readout(dim, embedding_dim, context_dim, out_dim)
        else:
            fed = out_dim if input_feeding else 0
            self.combine = nn.Linear(context_dim + dim, out_dim, bias=False)
            nn.init.xavier_uniform_(self.combine.weight)
        self.fed = fed
        self.rnn = RecurrentStack(cell, embedding_dim, fed, dim, layers, dropout)
        self.bridge = Bridge(bridge, encoder, dim, layers, self.rnn.states)
        self.dropout = Dropout(dropout)
        self.output = OutputLayer(out_dim, vocabulary, tied=self.embedding.table if tie_output else None)

    def cross_attention(self, layer: int) -> Attention:
        """There is one."""
        return self.attention

    def start(self, encoded: Encoded) -> DecoderState:
        """Bridged states, a zero feed, the source prepared once."""
        memory = self.attention.prepare(encoded.memory)
        recurrent = self.bridge(encoded.hidden)
        tensors = {"recurrent": recurrent}
        if self.order == "luong" and self.input_feeding:
            tensors["feed"] = recurrent.new_zeros(len(recurrent), self.fed)
        return DecoderState((memory,), (), (self.attention.initial_state(memory),), tensors)

    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        """(B, T) -> features (B, T, out_dim)."""
        embedded = self.embedding(tokens)
        memory, tensors = state.cross[0], state.tensors
        walk = self._bahdanau if self.order == "bahdanau" else self._fed if self.input_feeding else self._parallel
        features, attended, carried = walk(embedded, memory, state.attention[0], tensors, state.position, need_weights)
        after = DecoderState(state.cross, (), (attended.state,), carried, state.position + tokens.shape[1])
        return Decoded.of(features, {"cross.0": attended}), after

    def _parallel(
        self, embedded: Tensor, memory: Memory, state: State, tensors: Mapping[str, Tensor], start: int, need: bool
    ) -> tuple[Tensor, Attended, dict[str, Tensor]]:
        """Luong without input feeding: nothing waits for attention, so all T go at once."""
        hidden, recurrent = self.rnn(embedded, tensors["recurrent"])
        places = torch.arange(start, start + embedded.shape[1], device=embedded.device).expand(embedded.shape[:2])
        attended = self.attention(Query(hidden, places, embedded), memory, state, need_weights=need)
        features = self._attentional(attended.context, hidden)
        return features, attended, {"recurrent": recurrent}

    def _fed(
        self, embedded: Tensor, memory: Memory, state: State, tensors: Mapping[str, Tensor], start: int, need: bool
    ) -> tuple[Tensor, Attended, dict[str, Tensor]]:
        """Luong with input feeding: a loop over T."""
        feed, stepper = tensors["feed"], self.rnn.stepper(embedded, tensors["recurrent"])
        steps: list[Attended] = []
        features: list[Tensor] = []
        for t, word in enumerate(embedded.unbind(1)):
            stepper.step(t, feed)
            query = _query(stepper, start + t, word)
            steps.append(self.attention(query, memory, steps[-1].state if steps else state, need_weights=need))
            feed = self._attentional(steps[-1].context.squeeze(1), stepper.hidden)
            features.append(feed)
        return torch.stack(features, 1), _join(steps), {"recurrent": stepper.state(), "feed": feed}

    def _bahdanau(
        self, embedded: Tensor, memory: Memory, state: State, tensors: Mapping[str, Tensor], start: int, need: bool
    ) -> tuple[Tensor, Attended, dict[str, Tensor]]:
        """Attend with the state before the step; the context enters the step. A loop over T."""
        stepper = self.rnn.stepper(embedded, tensors["recurrent"])
        steps: list[Attended] = []
        states: list[Tensor] = []
        for t, word in enumerate(embedded.unbind(1)):
            query = _query(stepper, start + t, word)
            steps.append(self.attention(query, memory, steps[-1].state if steps else state, need_weights=need))
            states.append(stepper.hidden)
            stepper.step(t, steps[-1].context.squeeze(1))
        attended = _join(steps)
        features = self.dropout(self.readout(torch.stack(states, 1), embedded, attended.context))
        return features, attended, {"recurrent": stepper.state()}

    def _attentional(self, context: Tensor, hidden: Tensor) -> Tensor:
        """h~ = tanh(W_c [c; h]) (Luong 2015, equation 5), with dropout: what is read out and fed back."""
        return self.dropout(torch.tanh(self.combine(torch.cat((context, hidden), -1))))


def _query(stepper: Stepper, place: int, word: Tensor) -> Query:
    """The stepper's top state as a query of T = 1."""
    hidden, cell = stepper.hidden, stepper.cell
    position = torch.full((len(hidden), 1), place, device=hidden.device)
    return Query(hidden.unsqueeze(1), position, word.unsqueeze(1), None if cell is None else lambda: cell.unsqueeze(1))


def _join(steps: list[Attended]) -> Attended:
    """T answers of one query each as one answer of T queries."""
    weights = [step.weights for step in steps if step.weights is not None]
    names = steps[0].penalties
    return Attended(
        torch.cat([step.context for step in steps], 1),
        torch.cat(weights, 2) if weights else None,
        steps[-1].state,
        penalties={name: torch.cat([step.penalties[name] for step in steps], 1) for name in names},
    )
