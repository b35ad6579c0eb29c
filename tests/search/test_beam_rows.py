"""Test of the rows of beam search: each row follows its hypothesis when hypotheses split, finish and move."""

from __future__ import annotations

import random

import torch

from seq2seq.attention.types import Memory
from seq2seq.decoders.base import DecoderState
from seq2seq.search.beam_rows import BeamRows


def test_each_row_has_the_state_of_its_parent_and_its_own_source() -> None:
    """The rows store the numbers of their slots at each step; the numbers equal those of the parents."""
    choose = random.Random(0)
    regrouped = moved = 0
    for _ in range(50):
        size, width = 5, 3
        rows = BeamRows(size, width, torch.device("cpu"))
        sources = torch.arange(size).view(-1, 1, 1).double()
        memory = Memory.of(sources, torch.ones(size, 1, dtype=torch.bool))
        state = DecoderState((memory,), (), ({},), {"trail": torch.zeros(size, 0, dtype=torch.long)})
        trails: dict[tuple[int, int], list[int]] = {(b, 0): [] for b in range(size)}
        while True:
            trail = torch.cat((state.tensors["trail"], rows.slots.unsqueeze(1)), 1)  # each step adds the slots
            state = DecoderState(state.cross, (), ({},), {"trail": trail})
            trails = {(b, k): [*said, b * width + k] for (b, k), said in trails.items()}
            live = torch.zeros(size, width, dtype=torch.bool)
            parent = torch.zeros(size, width, dtype=torch.long)
            following = {}
            for b in range(size):
                have = [k for (owner, k) in trails if owner == b]
                most = min(width, 3 * len(have)) if len(next(iter(trails.values()))) < 3 else len(have)
                for k in choose.sample(range(width), most if choose.random() < 0.6 else max(0, most - 1)):
                    live[b, k], parent[b, k] = True, choose.choice(have)
                    following[b, k] = trails[b, int(parent[b, k])]
            move = rows.advance(live, parent)
            if move is None:
                assert not following
                break
            regrouped, moved = regrouped + move.regroup, moved + (not move.regroup)
            state, trails = move.state(state), following
            found = dict(zip(rows.slots.tolist(), state.tensors["trail"].tolist(), strict=True))
            assert all(found[b * width + k] == said for (b, k), said in trails.items())
            assert torch.equal(state.cross[0].values[:, 0, 0].long(), rows.sentence)
            assert len(rows.slots) * 0.9 <= len(trails) or len(rows.slots) == len(trails)
    assert regrouped > 20 and moved > 20
