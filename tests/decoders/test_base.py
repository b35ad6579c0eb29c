"""Tests of the state and the output of decoders."""

from __future__ import annotations

import torch

from seq2seq.attention.types import AttentionOutput
from seq2seq.decoders.base import Decoded, DecoderState
from tests.catalogue import memory, noise


def test_penalties_are_summed_over_layers() -> None:
    ones, context = torch.ones(2, 3), noise(2, 3, 4)
    slots = {
        "cross.0": AttentionOutput(context, noise(2, 1, 3, 5), {}, penalties={"coverage": ones}),
        "cross.1": AttentionOutput(context, noise(2, 1, 3, 5), {}, penalties={"coverage": 2 * ones, "span": ones}),
        "decoder_self.0": AttentionOutput(context, None, {}),
    }
    decoded = Decoded.of(context, slots)
    assert {name: value.unique().item() for name, value in decoded.penalties.items()} == {"coverage": 3, "span": 1}
    assert set(decoded.weights) == {"cross.0", "cross.1"}


def test_reorder_does_not_change_the_source() -> None:
    """``select`` reorders the source memory too; both reorder all other tensors."""
    source, past = memory(3, 2, 1), memory(2, 2, 2)
    state = DecoderState((source,), (past, None), ({"a": noise(3, 2)}, {}), {"h": noise(3, 4)}, position=2)
    index = torch.tensor([2, 0, 0])
    for moved in (state.reorder(index), state.select(index)):
        assert torch.equal(moved.past[0].values, past.values[index])
        assert moved.past[1] is None
        assert torch.equal(moved.attention[0]["a"], state.attention[0]["a"][index])
        assert torch.equal(moved.tensors["h"], state.tensors["h"][index])
        assert moved.position == 2
    assert state.reorder(index).cross[0] is source
    assert torch.equal(state.select(index).cross[0].values, source.values[index])
