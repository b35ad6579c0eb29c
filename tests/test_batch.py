"""Tests of ``Batch``: its masks, its shifted targets, and moving it to a device."""

from __future__ import annotations

import torch

from seq2seq.batch import BOS, EOS, PAD, Batch

SOURCE = torch.tensor([[5, 6, EOS], [7, EOS, PAD]])
TARGET = torch.tensor([[BOS, 8, EOS, PAD], [BOS, 9, 4, EOS]])


def test_masks_and_shifted_targets() -> None:
    batch = Batch(SOURCE, torch.tensor([3, 1]), TARGET, 5)
    assert len(batch) == 2
    assert batch.source_mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.target_in.tolist() == [[BOS, 8, EOS], [BOS, 9, 4]]
    assert batch.target_out.tolist() == [[8, EOS, PAD], [9, 4, EOS]]
    assert batch.target_mask.sum() == batch.target_tokens


def test_moving_a_batch_moves_all_tensors_and_keeps_the_rest() -> None:
    moved = Batch(SOURCE, torch.tensor([3, 1]), TARGET, 5).to("meta")
    assert {t.device.type for t in (moved.source, moved.index, moved.target)} == {"meta"}
    assert moved.target_tokens == 5
    assert Batch(SOURCE, torch.tensor([3, 1])).to("meta").target is None
