"""Tests of REINFORCE's advantage by hand: credit - credit of the expected costs - scalar baseline."""

from __future__ import annotations

import math

import pytest
import torch

from seq2seq.attention.components.selections import Credit
from seq2seq.loss.reinforce import reinforce

COSTS = torch.tensor([[1.0, 2.0, 3.0], [5.0, 7.0, 100.0]])
EXPECTED = torch.tensor([[0.5, 1.0, 1.0], [4.0, 4.0, 100.0]])
MASK = torch.tensor([[True, True, True], [True, True, False]])
LOG_PROB = torch.tensor([[0.5, 0.25, 2.0], [1.0, 3.0, 100.0]]).log()


@pytest.mark.parametrize(
    ("credit", "expected", "advantages"),
    [
        ("sentence", None, [5.75, 5.75, 5.75, 11.75, 11.75]),  # 6 - 1/4 and 12 - 1/4
        ("to_go", None, [5.75, 4.75, 2.75, 11.75, 6.75]),
        ("token", None, [0.75, 1.75, 2.75, 4.75, 6.75]),
        ("mean", None, [1.75, 1.75, 1.75, 5.75, 5.75]),
        ("sentence", EXPECTED, [3.25, 3.25, 3.25, 3.75, 3.75]),  # 6 - 2.5 - 1/4 and 12 - 8 - 1/4
        ("to_go", EXPECTED, [3.25, 2.75, 1.75, 3.75, 2.75]),
        ("token", EXPECTED, [0.25, 0.75, 1.75, 0.75, 2.75]),
    ],
)
def test_the_advantage_by_hand(credit: Credit, expected: torch.Tensor | None, advantages: list[float]) -> None:
    found = reinforce(COSTS, LOG_PROB, MASK, torch.tensor(0.25), expected, credit)
    probabilities = [0.5, 0.25, 2.0, 1.0, 3.0]
    by_hand = sum(a * math.log(p) for a, p in zip(advantages, probabilities, strict=True))
    assert found.term.item() == pytest.approx(by_hand, rel=1e-6)
