"""The rules that a task learns from its training split, as a row beside the runs (``metrics.edits.RULES``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from seq2seq.attention_store import AttentionRecord
from seq2seq.comparison.external import SYSTEM
from seq2seq.comparison.record_digests import RecordDigests
from seq2seq.comparison.runs import Run
from seq2seq.comparison.systems import System
from seq2seq.metrics.edits import RULES

NAME = "rules"
"""Name of the row."""


@dataclass(frozen=True)
class RuleRun(Run):
    """The outputs of rules, read from the figures of a run that measured them."""

    run: Run | None = None  # the run that measured them

    @staticmethod
    def of(run: Run) -> RuleRun | None:
        """Return the rules that a run measured, or None if it measured none.

        Args:
            run: A run or a pack.
        """
        # The signature begins with the kind of the rules.
        results = {
            name.removesuffix(RULES): {**figure, "signature": str(figure["signature"]).partition("|")[2]}
            for name, figure in run.results.items()
            if name.endswith(RULES)
        }
        if not results or run.control:
            return None
        return RuleRun(
            run.path, run.split, run.dataset, None, {SYSTEM: NAME}, NAME, results, images=run.images, run=run
        )

    @property
    def _measured(self) -> Run:
        """The run that measured the rules."""
        assert self.run is not None
        return self.run

    @property
    @override
    def has_text(self) -> bool:
        return False

    @property
    @override
    def size(self) -> int:
        return self._measured.size

    @cached_property
    @override
    def groups(self) -> NDArray[np.int64] | None:
        return self._measured.groups

    @property
    @override
    def attended(self) -> int:
        return 0

    @cached_property
    @override
    def digests(self) -> Mapping[str, RecordDigests]:
        return self._measured.digests

    @cached_property
    @override
    def word_hits(self) -> None:
        return None

    @cached_property
    @override
    def attention_records(self) -> list[AttentionRecord]:
        return []

    @cached_property
    @override
    def curves(self) -> list[dict[str, float]]:
        return []

    @override
    def rows(self, metric: str) -> NDArray[np.float64] | None:
        return self._measured.rows(metric + RULES)


def with_rules(systems: Sequence[System], metric: str) -> list[System]:
    """Return the systems of one dataset, with the rules as the last one if a run measured them.

    Args:
        systems: Systems of one dataset.
        metric: Metric that the rules must have, such as the main one of a comparison.
    """
    measured = (RuleRun.of(run) for system in systems for run in system.runs)
    rules = next((found for found in measured if found is not None and metric in found.results), None)
    return [*systems, *([] if rules is None else [System(NAME, [rules])])]


def has_rules(runs: Sequence[Run], metric: str | None) -> bool:
    """Return whether a run measured rules.

    Args:
        runs: Runs of any datasets.
        metric: Metric that the rules must have; None for any.
    """
    return any(metric in (None, *rules.results) for run in runs if (rules := RuleRun.of(run)) is not None)
