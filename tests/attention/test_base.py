"""Tests of the base class of all attention mechanisms."""

from __future__ import annotations

import torch

from seq2seq.attention.types import SourceSpec
from tests.catalogue import mechanism, memory


def test_extend_appends_to_the_memory() -> None:
    """The mask, keys and values are concatenated, and the extent counts the real positions."""
    past, new = memory(3, 2), memory(2, 2)
    attention = mechanism("self_attention", "multi_head", SourceSpec(8, causal=True))
    past, new = attention.prepare(past), attention.prepare(new)
    grown = attention.extend(attention.extend(None, past), new)
    assert grown.mask.tolist() == [[True] * 5, [True, True, False, True, True]]
    assert grown.extent.tolist() == [[5], [4]]
    for name in ("keys", "values"):
        assert torch.equal(grown.prepared[name], torch.cat((past.prepared[name], new.prepared[name]), 2))
