"""Helper that selects which of many cases ``make test`` runs; it marks the others slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def mostly_slow(cases: Sequence[Any], every: int) -> list[Any]:
    """Mark all cases slow, except the first and each ``every``-th after it."""
    return [
        case if index % every == 0 else pytest.param(*_values(case), marks=pytest.mark.slow)
        for index, case in enumerate(cases)
    ]


def _values(case: Any) -> tuple[Any, ...]:
    """Return the arguments of a case as a tuple."""
    return case if isinstance(case, tuple) else (case,)
