"""A stack of LSTM or GRU layers that runs over a whole sequence in fused kernels, or one step at a time.

Shapes: B batch, T steps, E input, F what is fed back (may be 0), D state, L layers, G gates (4 or 3).
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
"""A state while stepping: for each layer (h,) or (h, c), each (B, D)."""


class RecurrentStack(nn.Module):
    """Layer 1 reads [x_t; feed], layer l the hidden state of l-1 (with dropout between).

    Between calls the state is one tensor (B, L, states, D): states = 2 for an LSTM (h, c), 1 for a GRU (h).
    The GRU is PyTorch's (reset gate after the matrix product), not Cho's (before it).
    """

    def __init__(self, cell: str, input_dim: int, fed_dim: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.states = 2 if cell == "lstm" else 1
        sizes = ([input_dim + fed_dim] + [dim] * layers)[:layers]
        self.layers = Stack(recurrent(cell, size, dim) for size in sizes)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Callable[[], Tensor] | None]:
        """x (B, T, E), nothing fed back -> top h (B, T, D), the last state, and an LSTM's top cells if called for."""
        finals = []
        cells = None
        for depth, layer in enumerate(self.layers):
            if depth:
                x = self.dropout(x)
            first = state[:, depth].transpose(0, 1).unsqueeze(1).contiguous()  # (states, 1, B, D)
            below = x
            x, last = layer(below, (first[0], first[1]) if self.states == 2 else first[0])
            if self.states == 2:
                cells = partial(_cells, layer, below, x, first[0, 0], first[1, 0])
            finals.append(torch.cat(last if self.states == 2 else (last,)).transpose(0, 1))
        return x, torch.stack(finals, 1), cells

    def stepper(self, x: Tensor, state: Tensor) -> RecurrentStep:
        """For walks that learn what to feed as they go: x (B, T, E), state (B, L, states, D)."""
        return RecurrentStep(self, x, state)


def _cells(layer: nn.RNNBase, below: Tensor, hidden: Tensor, first: Tensor, cell: Tensor) -> Tensor:
    """An LSTM's cells (B, T, D), which ``nn.LSTM`` keeps to itself: with all h known, its gates are no recurrence.

    below (B, T, E) is what it read, hidden (B, T, D) what it said, first and cell (B, D) its state before.
    """
    own = Weights.of(layer)
    before = torch.cat((first.unsqueeze(1), hidden[:, :-1]), 1)
    gates = F.linear(below, own.input, own.input_bias + own.hidden_bias) + F.linear(before, own.hidden)
    enter, forget, candidate, _ = gates.chunk(4, -1)
    gained, kept = torch.sigmoid(enter) * torch.tanh(candidate), torch.sigmoid(forget)
    cells = []
    for gain, keep in zip(gained.unbind(1), kept.unbind(1), strict=True):
        cell = keep * cell + gain
        cells.append(cell)
    return torch.stack(cells, 1)


class RecurrentStep:
    """One walk over T steps. The input's part of the gates is made for all steps at once."""

    def __init__(self, stack: RecurrentStack, x: Tensor, state: Tensor) -> None:
        self.stack = stack
        self.layers: Layers = tuple(layer.unbind(1) for layer in state.unbind(1))
        self.weights = [Weights.of(layer) for layer in stack.layers]
        self.matrices = [own.input.t() for own in self.weights]
        self.matrices[0] = self.matrices[0][stack.input_dim :]
        lstm = stack.states == 2  # a GRU's hidden bias stays inside the reset gate
        self.biases = [own.input_bias + own.hidden_bias if lstm else own.input_bias for own in self.weights]
        first = self.weights[0].input[:, : stack.input_dim]
        self.projected: Sequence[Tensor] = F.linear(x, first, self.biases[0]).unbind(1)  # T x (B, G D)

    @property
    def hidden(self) -> Tensor:
        """The top layer's h (B, D)."""
        return self.layers[-1][0]

    @property
    def cell(self) -> Tensor | None:
        """The top layer's c (B, D), an LSTM's."""
        return self.layers[-1][1] if self.stack.states == 2 else None

    def step(self, t: int, feed: Tensor | None) -> None:
        """Read x_t and ``feed`` (B, F)."""
        after: list[tuple[Tensor, ...]] = []
        for depth, before in enumerate(self.layers):
            below = feed if depth == 0 else self.stack.dropout(after[-1][0])
            gates = self.projected[t] if depth == 0 else self.biases[depth]
            update = self._lstm if self.stack.states == 2 else self._gru
            after.append(update(depth, gates, below, before))
        self.layers = tuple(after)

    def state(self) -> Tensor:
        """(B, L, states, D)."""
        return torch.stack([torch.stack(layer, 1) for layer in self.layers], 1)

    def _lstm(self, depth: int, gates: Tensor, below: Tensor | None, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if below is not None:
            gates = torch.addmm(gates, below, self.matrices[depth])
        enter, forget, candidate, leave = torch.addmm(gates, before[0], self.weights[depth].hidden.t()).chunk(4, 1)
        cell = torch.sigmoid(forget) * before[1] + torch.sigmoid(enter) * torch.tanh(candidate)
        return torch.sigmoid(leave) * torch.tanh(cell), cell

    def _gru(self, depth: int, gates: Tensor, below: Tensor | None, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        own = self.weights[depth]
        (hidden,) = before
        ours = (gates if below is None else torch.addmm(gates, below, self.matrices[depth])).chunk(3, 1)
        theirs = F.linear(hidden, own.hidden, own.hidden_bias).chunk(3, 1)
        reset, update = torch.sigmoid(ours[0] + theirs[0]), torch.sigmoid(ours[1] + theirs[1])
        candidate = torch.tanh(ours[2] + reset * theirs[2])
        return (candidate + update * (hidden - candidate),)
