"""Score a written model as a run does, and compute the expected figures on paper.

The test of each task writes down two records and the weights. The expected values are arithmetic on these numbers
alone; none is copied from the output of the program. Random draws are fixed too (``conftest.drawn``): a choice takes
the last item of a list, and a permutation reverses a list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

import pytest

from seq2seq.comparison import runs
from seq2seq.data.records import Record
from seq2seq.evaluation import results
from seq2seq.evaluation.evaluate import score_records
from seq2seq.evaluation.faithfulness import faithfulness
from seq2seq.generation.generator import TrainedModel
from seq2seq.metrics import MetricResult, resampling
from seq2seq.metrics.table import get_metric
from seq2seq.run_directory import claimed
from seq2seq.search.greedy import Greedy
from seq2seq.tasks.base import Task

LN2 = log(2)
QUARTER = 3 / 4 * log(4 / 3) + 1 / 4 * log(4)  # the entropy of 3/4 and 1/4
SPREAD = exp(QUARTER)


def run(
    folder: Path,
    model: TrainedModel,
    records: Sequence[Record],
    task: Task,
    *,
    faithful: bool = True,
    plots: int = 0,
) -> dict[str, float]:
    """Score the records as a run does, and return the figures of results.json."""
    found = score_records(
        model, records, Greedy(max_length=5), task, max_tokens=4096, plots=plots, examples=len(records)
    )
    if faithful:
        found.add(faithfulness(model, records, max_tokens=4096))
    with claimed(folder, model.config):
        results.save_split(folder, "test", records, found, task)
        results.save_results(folder / "results.json", {"test": found.metrics}, {"seed": 1, "training": {}})
    stored = json.loads((folder / "results.json").read_text(encoding="utf-8"))["test"]
    figures = {name: float(figure["score"]) for name, figure in stored.items()}
    in_table(found.metrics, records)
    left = runs.read(folder, "test")
    for name in figures:  # the statistics of each output, which compare.py reads, give the same figure
        if (rows := left.rows(name)) is not None:
            again = rows[:, 0].mean() if name.startswith("attention_") else resampling.score(name, rows.sum(0))
            assert again == pytest.approx(figures[name], rel=1e-3, abs=1e-4), name  # statistics are stored in 4 digits
    return figures


def in_table(figures: Mapping[str, MetricResult], records: Sequence[Record]) -> None:
    """Check each figure against the table: is it listed, does it follow from sums, which annotations does it need."""
    known = {key for record in records for key in record} | {"documents", "images"}
    for name, figure in figures.items():
        metric = get_metric(name)
        assert set(filter(None, metric.needs.split(", "))) <= known, name
        statistic = metric.group == "attention"  # stored with each output, but not as sums
        assert (figure.per_record is not None) == (metric.from_sums is not None and not statistic), name


def outputs(folder: Path) -> list[dict[str, Any]]:
    """Return the records of outputs/test.jsonl."""
    lines = (folder / "outputs" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def texts(folder: Path) -> list[str]:
    return [record["hypothesis"] for record in outputs(folder)]


def drawings(folder: Path) -> set[str]:
    return {path.name for path in (folder / "attention" / "test").iterdir()}


def same(found: Mapping[str, float], expected: Mapping[str, float]) -> None:
    """Check that the names and the figures are equal."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def nats(probabilities: Sequence[Sequence[float]]) -> float:
    """Return -log p of all words together."""
    return -sum(log(each) for sentence in probabilities for each in sentence)


def counted(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> list[list[float]]:
    """Cut each sentence of ``before`` to the number of steps that ``after`` has."""
    return [sentence[: len(other)] for sentence, other in zip(before, after, strict=True)]


def mean(*values: float) -> float:
    return sum(values) / len(values)
