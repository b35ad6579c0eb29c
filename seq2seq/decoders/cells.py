"""Stack of LSTM or GRU layers, which runs over a whole sequence in fused kernels or one step at a time.

Shapes: B batch, T steps, E input, F vector that is fed back (may be 0), D state, L layers, G gates (LSTM 4, GRU 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.layers.dropout import Dropout
from seq2seq.layers.recurrent import Weights, recurrent
from seq2seq.layers.stack import Stack

Layers = tuple[tuple[Tensor, ...], ...]
"""State between two steps: (h,) or (h, c) of each layer, each (B, D)."""


class RecurrentStack(nn.Module):
    """Stack of recurrent layers: layer 1 reads [x_t; feed], layer l the hidden state of layer l-1.

    Between calls the state is one tensor (B, L, states, D): states = 2 for an LSTM (h, c), 1 for a GRU (h). The GRU is
    PyTorch's (reset gate after the matrix product), not Cho's (before it).

    Args:
        cell: Recurrent cell: "lstm" or "gru".
        input_dim: Width E of the input x_t.
        fed_dim: Width F of the vector that is fed back; 0 for none.
        dim: Width D of a state.
        layers: Number L of layers.
        dropout: Dropout probability between layers.
    """

    def __init__(self, cell: str, input_dim: int, fed_dim: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.states = 2 if cell == "lstm" else 1
        sizes = ([input_dim + fed_dim] + [dim] * layers)[:layers]
        self.layers = Stack(recurrent(cell, size, dim) for size in sizes)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Callable[[], Tensor] | None]:
        """Run over a whole sequence; nothing is fed back.

        Args:
            x: Inputs (B, T, E).
            state: First state (B, L, states, D).

        Returns:
            Hidden states of the last layer (B, T, D), the last state (B, L, states, D), and a function that computes
            the LSTM cells of the last layer (B, T, D); None for a GRU.
        """
        finals = []
        cells = None
        for depth, layer in enumerate(self.layers):
            if depth:
                x = self.dropout(x)
            # Run the layer from its first state.
            first = state[:, depth].transpose(0, 1).unsqueeze(1).contiguous()  # (states, 1, B, D)
            below = x
            x, last = layer(below, (first[0], first[1]) if self.states == 2 else first[0])
            # Compute the cells only if they are asked for.
            if self.states == 2:
                cells = partial(_cells, layer, below, x, first[0, 0], first[1, 0])
            finals.append(torch.cat(last if self.states == 2 else (last,)).transpose(0, 1))
        return x, torch.stack(finals, 1), cells

    def stepper(self, x: Tensor, state: Tensor) -> RecurrentStep:
        """Return an object that runs over the sequence one step at a time, with a vector fed back.

        Args:
            x: Inputs (B, T, E).
            state: First state (B, L, states, D).
        """
        return RecurrentStep(self, x, state)


def _cells(layer: nn.RNNBase, below: Tensor, hidden: Tensor, first: Tensor, cell: Tensor) -> Tensor:
    """Return the cells (B, T, D) of an LSTM layer, which ``nn.LSTM`` does not return.

    All h are known, so the gates are computed for all steps at once.

    Args:
        layer: LSTM layer.
        below: Inputs of the layer (B, T, E).
        hidden: Its hidden states (B, T, D).
        first: Its first hidden state (B, D).
        cell: Its first cell (B, D).
    """
    # Compute the gates of all steps.
    weights = Weights.of(layer)
    before = torch.cat((first.unsqueeze(1), hidden[:, :-1]), 1)
    gates = F.linear(below, weights.input, weights.input_bias + weights.hidden_bias) + F.linear(before, weights.hidden)
    input_gate, forget_gate, candidate, _ = gates.chunk(4, -1)
    added, kept = torch.sigmoid(input_gate) * torch.tanh(candidate), torch.sigmoid(forget_gate)
    # Run the linear recurrence c_t = keep_t c_{t-1} + add_t.
    cells = []
    for add, keep in zip(added.unbind(1), kept.unbind(1), strict=True):
        cell = keep * cell + add
        cells.append(cell)
    return torch.stack(cells, 1)


class RecurrentStep:
    """Run of a recurrent stack over T steps, one at a time.

    The part of the gates that depends only on the input is computed for all steps at once.

    Args:
        stack: Recurrent stack.
        x: Inputs (B, T, E).
        state: First state (B, L, states, D).
    """

    def __init__(self, stack: RecurrentStack, x: Tensor, state: Tensor) -> None:
        self.stack = stack
        self.layers: Layers = tuple(layer.unbind(1) for layer in state.unbind(1))
        self.weights = [Weights.of(layer) for layer in stack.layers]
        # Inputs are projected below, so the first layer multiplies only the vector that is fed back.
        self.matrices = [weights.input.t() for weights in self.weights]
        self.matrices[0] = self.matrices[0][stack.input_dim :]
        # The hidden bias of a GRU cannot be added here: the reset gate multiplies it.
        lstm = stack.states == 2
        self.biases = [w.input_bias + w.hidden_bias if lstm else w.input_bias for w in self.weights]
        # Project the inputs of all steps.
        first = self.weights[0].input[:, : stack.input_dim]
        self.projected: Sequence[Tensor] = F.linear(x, first, self.biases[0]).unbind(1)  # T x (B, G D)

    @property
    def hidden(self) -> Tensor:
        """Hidden state h of the last layer (B, D)."""
        return self.layers[-1][0]

    @property
    def cell(self) -> Tensor | None:
        """Cell c of the last layer (B, D) of an LSTM; None for a GRU."""
        return self.layers[-1][1] if self.stack.states == 2 else None

    def step(self, t: int, feed: Tensor | None) -> None:
        """Read x_t and the vector that is fed back.

        Args:
            t: Number of the step, from 0.
            feed: Vector that is fed back (B, F); None if there is none.
        """
        after: list[tuple[Tensor, ...]] = []
        for depth, before in enumerate(self.layers):
            # The first layer reads the fed-back vector, the others the layer below.
            below = feed if depth == 0 else self.stack.dropout(after[-1][0])
            gates = self.projected[t] if depth == 0 else self.biases[depth]
            update = self._lstm if self.stack.states == 2 else self._gru
            after.append(update(depth, gates, below, before))
        self.layers = tuple(after)

    def state(self) -> Tensor:
        """Return the state of all layers (B, L, states, D)."""
        return torch.stack([torch.stack(layer, 1) for layer in self.layers], 1)

    def _lstm(self, depth: int, gates: Tensor, below: Tensor | None, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return (h', c'): c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c')."""
        if below is not None:
            gates = torch.addmm(gates, below, self.matrices[depth])
        gates = torch.addmm(gates, before[0], self.weights[depth].hidden.t())
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
        cell = torch.sigmoid(forget_gate) * before[1] + torch.sigmoid(input_gate) * torch.tanh(candidate)
        return torch.sigmoid(output_gate) * torch.tanh(cell), cell

    def _gru(self, depth: int, gates: Tensor, below: Tensor | None, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return (h',): n = tanh(W_n x + r (U_n h + b)), h' = (1 - z) n + z h, r and z sigmoids of the other gates."""
        weights = self.weights[depth]
        (hidden,) = before
        from_input = (gates if below is None else torch.addmm(gates, below, self.matrices[depth])).chunk(3, 1)
        from_hidden = F.linear(hidden, weights.hidden, weights.hidden_bias).chunk(3, 1)
        reset, update = torch.sigmoid(from_input[0] + from_hidden[0]), torch.sigmoid(from_input[1] + from_hidden[1])
        candidate = torch.tanh(from_input[2] + reset * from_hidden[2])
        return (candidate + update * (hidden - candidate),)
