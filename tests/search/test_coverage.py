"""Test of the coverage penalty, against equation 14 of Wu 2016."""

from __future__ import annotations

import math

import pytest
import torch

from seq2seq.search.coverage import CoveragePenalty


def test_penalty_of_two_tokens_by_hand() -> None:
    penalty = CoveragePenalty(torch.tensor([[True, True, True], [True, True, False]]))
    first = penalty.add(torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]]))
    assert first.tolist() == pytest.approx([2 * math.log(0.5) + math.log(1e-6), math.log(0.2) + math.log(0.8)])
    second = penalty.add(torch.tensor([[0.25, 0.5, 0.25], [0.8, 0.9, 0.0]]))
    assert second.tolist() == pytest.approx([math.log(0.75) + math.log(0.25), 0.0], abs=1e-6)  # sums above 1 count as 1
