"""Fixed draws for the golden tests, in place of random ones."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components import counter_rng
from seq2seq.evaluation import faithfulness
from seq2seq.metrics import extractive_baselines


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fix the draws: choices take the last item, permutations reverse, and uniform numbers fall with the place."""

    class Last:
        def __init__(self, seed: int) -> None:
            pass

        def choice(self, several: Sequence[Any]) -> Any:
            return several[-1]

    class Reversed:
        def __init__(self, seed: object) -> None:
            pass

        def permutation(self, count: int) -> list[int]:
            return list(reversed(range(count)))

    def falling(seed: Tensor, position: Tensor, heads: int, places: Tensor) -> Tensor:
        return (1 / (2 + torch.arange(places.shape[1]))).expand(len(seed), heads, position.shape[1], -1)

    monkeypatch.setattr(faithfulness, "Random", Last)
    monkeypatch.setattr(extractive_baselines, "np", SimpleNamespace(random=SimpleNamespace(default_rng=Reversed)))
    monkeypatch.setattr(counter_rng, "uniform", falling)
