"""Tests of the search for the k largest values of rows: by blocks, and plain."""

import pytest
import torch

from seq2seq.search.topk import blockwise_top, plain_top, top


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 500, 1000, 1024, 2049])
@pytest.mark.parametrize("k", [1, 3, 5, 20, 70])
@pytest.mark.parametrize("levels", [3, 10_000])  # 3: nearly all values are equal to others
def test_blockwise_top_equals_plain_top(size: int, k: int, levels: int) -> None:
    x = torch.randint(levels, (7, size)).double()
    x[torch.rand_like(x) < 0.1] = -torch.inf
    k = min(k, size)
    values, indices = plain_top(x, k)
    found = blockwise_top(x, k)
    assert torch.equal(found[0], values)
    real = values > -torch.inf
    assert torch.equal(found[1][real], indices[real])


@pytest.mark.parametrize("size", [500, 2049])
def test_the_last_entry_of_a_short_block_is_found_once(size: int) -> None:
    x = torch.randn(3, size)
    x[:, -1] = 100.0
    values, indices = blockwise_top(x, 3)
    assert indices[:, 0].tolist() == [size - 1] * 3
    assert torch.equal(values, plain_top(x, 3)[0])


def test_plain_top_by_hand() -> None:
    values, indices = plain_top(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 3)
    assert values.tolist() == [[3.0, 3.0, 2.0]]
    assert indices.tolist() == [[1, 3, 2]]


def test_first_indices_win_among_equal_values() -> None:
    assert top(torch.zeros(2, 3000), 4)[1].tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("size", [40, 544, 3000])
@pytest.mark.parametrize("finite", [0, 1, 2])
def test_no_index_is_returned_twice(size: int, finite: int) -> None:
    """At the length limit only </s> is allowed, so a row has one finite value, whose index is returned once."""
    x = torch.full((2, size), -torch.inf)
    x[:, 3 : 3 + finite] = -1.0
    values, indices = top(x, 5)
    assert all(len(set(row)) == 5 for row in indices.tolist())
    assert values.isfinite().sum(1).tolist() == [finite] * 2
    assert indices[:, :finite].tolist() == [list(range(3, 3 + finite))] * 2
