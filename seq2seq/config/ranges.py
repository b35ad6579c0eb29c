"""Ranges of numbers that options may have, for annotations: ``layers: Annotated[int, Range(1)]``.

The check of a config (``seq2seq.config.validate``) reads them from signatures; those of other packages have theirs in
``OTHERS``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

LARGEST = 2**53
"""The largest whole number that every part of a run counts exactly."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, without ``low`` if ``above``; ``also`` is one with a meaning of its own."""

    low: float
    high: float = math.inf
    above: bool = False
    also: float | None = None

    def __contains__(self, value: float) -> bool:
        inside = self.low < value if self.above else self.low <= value
        return value == self.also or (inside and value <= self.high)

    def __str__(self) -> str:
        words = f"above {self.low}" if self.above else f"at least {self.low}"
        if self.high < math.inf:
            words += f" and at most {self.high}"
        return words if self.also is None else f"{words}, or {self.also}"


Count = Annotated[int, Range(1)]
CountOrZero = Annotated[int, Range(0)]
Width = Annotated[int, Range(1, 2**20)]
Layers = Annotated[int, Range(1, 1000)]
Positive = Annotated[float, Range(0, above=True)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]

_END = Annotated[int, Range(1, also=-1)]
_TRAINER: Mapping[str, Any] = {
    "max_epochs": _END | None,
    "max_steps": _END,
    "min_epochs": Count | None,
    "min_steps": Count | None,
    "accumulate_grad_batches": Count,
    "log_every_n_steps": Count | None,
    "num_nodes": Count,
    "limit_train_batches": Annotated[float, Range(0, above=True)] | None,
    "limit_val_batches": NonNegative | None,
    "limit_test_batches": Count | None,
    "gradient_clip_val": NonNegative | None,
    "gradient_clip_algorithm": Literal["norm", "value"] | None,
    "max_time": str | dict | None,
}
_OPTIMIZER = {name: NonNegative for name in ("lr", "weight_decay", "eps", "momentum", "initial_accumulator_value")}
OTHERS: Mapping[str, Mapping[str, Any]] = {"lightning.pytorch.trainer.": _TRAINER, "torch.optim.": _OPTIMIZER}
"""Types of options of other packages' classes, by the start of their names, where their annotations say less."""


def of_others(name: str) -> Mapping[str, Any]:
    """Return {option: type} of the class called ``name``, as far as ``OTHERS`` knows it."""
    return next((types for start, types in OTHERS.items() if name.startswith(start)), {})
