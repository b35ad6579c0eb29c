"""Ranges of the numbers of options, for annotations: ``layers: Annotated[int, Range(1)]``.

The check of a config (``seq2seq.config.validate``) reads the ranges from signatures. ``OTHERS`` has the ranges of the
classes of other packages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

LARGEST = 2**53
"""Largest absolute value of an option: a float represents all integers up to it exactly."""


@dataclass(frozen=True)
class Range:
    """Range of numbers from ``low`` to ``high``.

    Args:
        low: Lower bound.
        high: Upper bound, which is in the range.
        above: Whether ``low`` itself is outside the range.
        also: Further number with a special meaning, such as -1 for no limit.
    """

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
"""{start of a class name: {option: type}} of classes of other packages whose own annotations have no ranges."""


def of_others(name: str) -> Mapping[str, Any]:
    """Return {option: type} of a class of another package, as far as ``OTHERS`` has it.

    Args:
        name: Dotted name of the class.
    """
    return next((types for start, types in OTHERS.items() if name.startswith(start)), {})
