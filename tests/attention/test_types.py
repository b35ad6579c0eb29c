"""Tests of the types that decoders and mechanisms exchange."""

from __future__ import annotations

from dataclasses import replace

import torch

from seq2seq.attention.types import Alternatives, AttentionOutput, Memory, select_rows
from tests.catalogue import memory, noise


def test_memory_along_time() -> None:
    """``Memory.of`` numbers the positions and counts the real ones."""
    values, mask = noise(2, 4, 3), torch.tensor([[True] * 4, [True, True, False, False]])
    made = Memory.of(values, mask)
    assert made.positions.tolist() == [[[0], [1], [2], [3]]] * 2
    assert made.extent.tolist() == [[4], [2]]


def test_select_applies_to_every_tensor_of_a_memory() -> None:
    whole = memory(4, 2, 3)
    sections = memory(2, 1, 2, width=3)
    segments = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1]])
    whole = replace(whole, segments=segments, sections=sections, prepared={"keys": noise(3, 5)})
    index = torch.tensor([2, 0, 0])
    picked = whole.select(index)
    pairs = [
        (getattr(picked, name), getattr(whole, name)) for name in ("values", "mask", "positions", "extent", "segments")
    ]
    pairs += [(picked.sections.values, sections.values), (picked.prepared["keys"], whole.prepared["keys"])]
    assert all(torch.equal(ours, theirs[index]) for ours, theirs in pairs)
    assert torch.equal(select_rows({"a": index}, torch.tensor([1]))["a"], torch.tensor([0]))


def test_a_gate_scales_the_context_and_every_alternative() -> None:
    share, context, contexts = noise(2, 3, 1), noise(2, 3, 4), noise(2, 3, 5, 4)
    log_weights = noise(2, 3, 5)
    plain = AttentionOutput(context, None, {}).gated(share)
    torch.testing.assert_close(plain.context, context * share)
    assert plain.alternatives is None
    offered = AttentionOutput(context, None, {}, alternatives=Alternatives(contexts, log_weights)).gated(share)
    assert offered.alternatives is not None
    torch.testing.assert_close(offered.alternatives.contexts, torch.einsum("btjc,bt->btjc", contexts, share[..., 0]))
    assert torch.equal(offered.alternatives.log_weights, log_weights)
