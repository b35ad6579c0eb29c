"""A stack of LSTM or GRU layers that runs over a whole sequence in fused kernels, or one step at a time.

Shapes: B batch, T steps, E input, F what is fed back (may be 0), D state, L layers, G gates (4 or 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.encoders.rnn import recurrent
from seq2seq.layers.dropout import Dropout


class RecurrentStack(nn.Module):
    """Layer 1 reads [x_t; feed], layer l the hidden state of l-1 (with dropout between).

    The state is one tensor (B, L, states, D): states = 2 for an LSTM (h, c), 1 for a GRU (h).
    The GRU is PyTorch's (reset gate after the matrix product), not Cho's (before it).
    """

    def __init__(self, cell: str, input_dim: int, fed_dim: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.states = 2 if cell == "lstm" else 1
        sizes = [input_dim + fed_dim] + [dim] * (layers - 1)
        self.layers = nn.ModuleList(recurrent(cell, size, dim) for size in sizes)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, E), nothing fed back -> top h (B, T, D), the last state. ``nn.LSTM`` gives no cells in between."""
        finals = []
        for depth, layer in enumerate(self.layers):
            if depth:
                x = self.dropout(x)
            first = state[:, depth].transpose(0, 1).unsqueeze(1).contiguous()  # (states, 1, B, D)
            x, last = layer(x, (first[0], first[1]) if self.states == 2 else first[0])
            finals.append(torch.cat(last if self.states == 2 else (last,)).transpose(0, 1))
        return x, torch.stack(finals, 1)

    def project(self, x: Tensor) -> Tensor:
        """W_x x + biases of the first layer for all steps: (B, T, E) -> (B, T, G D)."""
        first = self.layers[0]
        bias = first.bias_ih_l0 if self.states == 1 else first.bias_ih_l0 + first.bias_hh_l0
        return F.linear(x, first.weight_ih_l0[:, : self.input_dim], bias)

    def step(self, projected: Tensor, feed: Tensor, state: Tensor) -> Tensor:
        """One step: projected (B, G D) of the input, feed (B, F), state (B, L, states, D) -> the next state."""
        after = []
        for depth, layer in enumerate(self.layers):
            hidden = state[:, depth, 0]
            if depth == 0:
                gates = projected
                extra, weight = feed, layer.weight_ih_l0[:, self.input_dim :]
            else:
                gates = layer.bias_ih_l0 if self.states == 1 else layer.bias_ih_l0 + layer.bias_hh_l0
                extra, weight = self.dropout(after[-1][:, 0]), layer.weight_ih_l0
            if self.states == 2:
                weights = torch.cat((weight, layer.weight_hh_l0), 1)
                gates = gates + torch.cat((extra, hidden), 1) @ weights.t()
                enter, forget, candidate, leave = gates.chunk(4, 1)
                cell = torch.sigmoid(forget) * state[:, depth, 1] + torch.sigmoid(enter) * torch.tanh(candidate)
                after.append(torch.stack((torch.sigmoid(leave) * torch.tanh(cell), cell), 1))
            else:
                ours = (gates + extra @ weight.t()).chunk(3, 1)
                theirs = F.linear(hidden, layer.weight_hh_l0, layer.bias_hh_l0).chunk(3, 1)
                reset, update = torch.sigmoid(ours[0] + theirs[0]), torch.sigmoid(ours[1] + theirs[1])
                candidate = torch.tanh(ours[2] + reset * theirs[2])
                after.append((candidate + update * (hidden - candidate)).unsqueeze(1))
        return torch.stack(after, 1)
