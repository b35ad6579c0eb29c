"""Tests of small operations on tensors."""

from __future__ import annotations

import pytest
import torch

from seq2seq.layers.tensors import split_heads, widen
from tests.catalogue import noise


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64,) * 2,
    ],
)
def test_widen_returns_at_least_fp32(dtype: torch.dtype, wide: torch.dtype) -> None:
    x = torch.tensor([1.5], dtype=dtype)
    assert widen(x).dtype == wide
    assert widen(x).item() == 1.5


def test_heads_are_neighbouring_columns() -> None:
    x = noise(2, 3, 6)
    heads = split_heads(x, 2)
    assert torch.equal(heads[:, 0], x[..., :3])
    assert torch.equal(heads[:, 1], x[..., 3:])
