"""Check that the function, the entry and the test of ``docs/how-to/add_a_metric.md`` work together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from seq2seq.metrics import MetricResult
from seq2seq.metrics.metric import Metric
from seq2seq.metrics.table import METRICS
from seq2seq.metrics.translation import check
from tests.pages import ROOT, blocks

FUNCTION, ENTRY, TEST = (block.text for block in blocks(ROOT / "docs" / "how-to" / "add_a_metric.md", "python"))


def test_the_metric_of_the_page_passes_the_test_of_the_page() -> None:
    names = {"Sequence": Sequence, "MetricResult": MetricResult, "Metric": Metric, "check": check, "pytest": pytest}
    exec(FUNCTION, names)
    exec(ENTRY, names)
    *_, entry = names["METRICS"]  # type: ignore[misc]
    assert entry.scorer is names["length_error"] and entry.name not in {metric.name for metric in METRICS}
    exec(TEST, names)
    names["test_length_error_by_hand"]()  # type: ignore[operator]
