import pytest
import torch

from seq2seq.search.top import top


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 500, 1000, 1024, 2049])
@pytest.mark.parametrize("k", [1, 3, 5, 20, 70])
@pytest.mark.parametrize("levels", [3, 10_000])  # 3: nearly everything is tied
def test_equals_a_stable_sort(size: int, k: int, levels: int) -> None:
    x = torch.randint(levels, (7, size)).double()
    x[torch.rand_like(x) < 0.1] = -torch.inf
    k = min(k, size)
    values, indices = torch.sort(x, dim=1, descending=True, stable=True)
    found = top(x, k)
    assert torch.equal(found[0], values[:, :k])
    real = values[:, :k] > -torch.inf
    assert torch.equal(found[1][real], indices[:, :k][real])


def test_one_number_everywhere_gives_the_first() -> None:
    assert top(torch.zeros(2, 3000), 4)[1].tolist() == [[0, 1, 2, 3]] * 2
