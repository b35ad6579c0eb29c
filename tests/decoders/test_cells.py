"""Tests of the recurrent stack: single steps equal a full run, and both equal PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq.decoders.cells import RecurrentStack
from tests.attention.walk import close
from tests.catalogue import noise, randomise

B, T, E, F, D = 3, 5, 4, 2, 6
kinds = pytest.mark.parametrize("cell", ["lstm", "gru"])
depths = pytest.mark.parametrize("layers", [1, 2])


def stack(cell: str, layers: int, fed: int = F, dropout: float = 0.0) -> RecurrentStack:
    """Build a recurrent stack with random parameters."""
    return randomise(RecurrentStack(cell, E, fed, D, layers, dropout).double()).eval()


@kinds
@depths
@pytest.mark.parametrize("fed", [F, 0])
def test_single_steps_equal_a_full_run(cell: str, layers: int, fed: int) -> None:
    ours = stack(cell, layers, fed)
    x, feed, start = noise(B, T, E), noise(B, T, fed, seed=1), noise(B, layers, ours.states, D, seed=2)
    tops, last, cells = ours(torch.cat((x, feed), -1), start)
    stepper = ours.stepper(x, start)
    close(stepper.state(), start)
    for t in range(T):
        stepper.step(t, feed[:, t] if fed else None)
        close(stepper.hidden, tops[:, t])
        if cells is not None:
            close(stepper.cell, cells()[:, t])
    close(stepper.state(), last)
    assert (cells is None) == (cell == "gru")
    assert stepper.cell is None if cell == "gru" else torch.equal(stepper.cell, stepper.state()[:, -1, 1])


@kinds
@depths
def test_equals_pytorch(cell: str, layers: int) -> None:
    ours = stack(cell, layers)
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](E + F, D, layers, batch_first=True).double()
    states = [layer.state_dict().items() for layer in ours.layers]
    theirs.load_state_dict({k.replace("l0", f"l{i}"): v for i, items in enumerate(states) for k, v in items})
    x, start = noise(B, T, E + F), noise(B, layers, ours.states, D, seed=2)
    first = start.permute(2, 1, 0, 3).contiguous()  # (states, L, B, D)
    tops, last = theirs(x, tuple(first) if cell == "lstm" else first[0])
    close(ours(x, start)[0], tops)
    close(ours(x, start)[1], torch.stack(last if cell == "lstm" else (last,), 2).transpose(0, 1))


@kinds
def test_dropout_between_layers_only(cell: str) -> None:
    x, feed = noise(B, T, E), noise(B, F, seed=1)
    for layers, varies in ((1, False), (2, True)):
        ours = stack(cell, layers, dropout=0.5).train()
        start = noise(B, layers, ours.states, D, seed=2)
        tops = []
        for _ in range(2):
            stepper = ours.stepper(x, start)
            stepper.step(0, feed)
            tops.append(stepper.hidden)
        assert torch.equal(*tops) != varies
