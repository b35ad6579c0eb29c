"""Tests of random numbers that depend on their place: they are uniform and independent of each other."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components import counter_rng
from seq2seq.attention.components.selections import gumbel

CPU = torch.device("cpu")
B, H, T, S = 8, 4, 50, 60


def places(count: int, batch: int = B) -> Tensor:
    """Return the places 0 .. count - 1 for each sentence."""
    return torch.arange(count).expand(batch, -1)


@pytest.fixture(scope="module")
def draws() -> Tensor:
    """Draw numbers (B, H, T, S)."""
    torch.manual_seed(0)
    return counter_rng.uniform(counter_rng.seeds(B, CPU), places(T), H, places(S).unsqueeze(-1)).double()


def test_uniform(draws: Tensor) -> None:
    """Mean and variance are those of U(0, 1), and a Kolmogorov-Smirnov test passes at a level of 0.001."""
    count = draws.numel()
    assert draws.shape == (B, H, T, S)
    assert draws.mean().item() == pytest.approx(1 / 2, abs=4 / math.sqrt(12 * count))
    assert draws.var().item() == pytest.approx(1 / 12, abs=4 / math.sqrt(180 * count))
    ordered = draws.flatten().sort().values
    distance = (ordered - torch.arange(1, count + 1) / count).abs().max()
    assert distance < 1.95 / math.sqrt(count)


def test_independent_of_neighbours(draws: Tensor) -> None:
    """Numbers 1, 2 or 3 sequences, heads, queries or places apart are not correlated."""
    centred = draws - 0.5
    for dim in range(4):
        for apart in (1, 2, 3):
            pairs = draws.shape[dim] - apart
            one, other = centred.narrow(dim, 0, pairs), centred.narrow(dim, apart, pairs)
            assert abs(12 * (one * other).mean().item()) < 4 / math.sqrt(one.numel())
    assert len(draws.flatten().unique()) > 0.99 * draws.numel()


def test_query_and_place_are_not_interchangeable(draws: Tensor) -> None:
    """u(t, s) differs from u(s, t) and is not a function of s - t."""
    square = draws[..., :T]
    assert not (square == square.mT)[:, :, ~torch.eye(T, dtype=torch.bool)].any()
    diagonals = [torch.stack(list(square.diagonal(k, 2, 3).unbind(-1))) for k in (0, 1)]
    assert all((one != other).all() for diagonal in diagonals for one, other in pairwise(diagonal))


def test_parts_draw_the_numbers_of_the_whole() -> None:
    """Any split of the queries, order of the places, choice of sequences or number of heads gives the same numbers."""
    torch.manual_seed(1)
    seeds, memory = counter_rng.seeds(B, CPU), places(S).unsqueeze(-1)
    whole = counter_rng.uniform(seeds, places(T), H, memory)
    queries = [counter_rng.uniform(seeds, part, H, memory) for part in places(T).split((1, 7, 42), 1)]
    assert torch.equal(torch.cat(queries, 2), whole)
    order = torch.randperm(S)
    assert torch.equal(counter_rng.uniform(seeds, places(T), H, memory[:, order]), whole[..., order])
    index = torch.tensor([3, 3, 0])
    assert torch.equal(counter_rng.uniform(seeds[index], places(T, 3), H, places(S, 3).unsqueeze(-1)), whole[index])
    assert torch.equal(counter_rng.uniform(seeds, places(T), 2, memory), whole[:, :2])


def test_places_on_a_grid() -> None:
    """(2, 3) and (3, 2) get different numbers, and so do negative places."""
    torch.manual_seed(0)
    seeds = counter_rng.seeds(1, CPU)
    grid = torch.cartesian_prod(torch.arange(-1, 9), torch.arange(-1, 9))[None]
    assert len(counter_rng.uniform(seeds, places(1, 1), 1, grid).unique()) == 100


def test_never_0_or_1() -> None:
    """The smallest number, (1/2) / 2^bits, and the largest, (2^bits - 1/2) / 2^bits, have finite Gumbel noise."""
    ends = (torch.tensor([0, 2**counter_rng.BITS - 1]).to(torch.float32) + 0.5) * 2.0**-counter_rng.BITS
    assert ends[0] > 0
    assert ends[1] < 1
    assert gumbel(ends).isfinite().all()


def test_seeds_come_from_torchs_generator() -> None:
    """Seeds differ between calls, and ``torch.manual_seed`` repeats them."""
    torch.manual_seed(0)
    first, second = counter_rng.seeds(100, CPU), counter_rng.seeds(100, CPU)
    assert len(torch.cat((first, second)).unique()) == 200
    torch.manual_seed(0)
    assert torch.equal(counter_rng.seeds(100, CPU), first)


def test_hash_is_splitmix64() -> None:
    """Known answers: the first five numbers of the generator with seed 1234567."""
    golden = 0x9E3779B97F4A7C15
    steps = [(1234567 + k * golden) % 2**64 for k in range(1, 6)]
    signed = torch.tensor([step - 2**64 if step >= 2**63 else step for step in steps])
    assert [number % 2**64 for number in counter_rng._mix(signed).tolist()] == [
        *(6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821),
    ]
