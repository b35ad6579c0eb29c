"""Tests of runs of older versions: they load, give the same scores, resume, and compare with new runs.

``runs_0.1`` were written by version 0.1. ``runs_format_1`` have the first models with a format number; they were
written before the modules moved.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

import seq2seq
from seq2seq.cli import compare, evaluate, hydra_app, train

FIXTURES = Path(__file__).parent / "fixtures"
GENERATIONS = ("runs_0.1", "runs_format_1")
TASKS = ("translation", "summarisation", "captioning")
STEADY = ("perplexity", "accuracy", "aer", "aer_uniform", "sentence_recall", "pointing", "bleu", "rougeL", "cider")
"""Scores that do not depend on random draws or on ties."""


RESUMED = [
    pytest.param(
        (generation, task), id=f"{generation}-{task}", marks=[pytest.mark.slow] if task != "translation" else []
    )
    for task in TASKS
    for generation in GENERATIONS
]


@pytest.fixture(params=[(generation, task) for generation in GENERATIONS for task in TASKS], ids="-".join)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Copy a stored run and return the directory of the copy."""
    generation, task = request.param
    return Path(shutil.copytree(FIXTURES / generation / task, tmp_path / task))


def results(folder: Path) -> dict[str, Any]:
    """Return the content of results.json of a run."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def composed(name: str, *typed: str) -> Any:
    """Return the config of a command with options."""
    (config,) = hydra_app.compose(name, [hydra_app.as_override(option) for option in typed])
    return config


def test_evaluation_of_old_runs_gives_the_same_scores(old: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    evaluate.evaluate(
        composed(
            "evaluate", f"checkpoint={old}", f"output={out}", "num_plots=0", "faithfulness_examples=0", "device=cpu"
        )
    )
    before, now = results(old)["test"], results(out)["test"]
    steady = [name for name in STEADY if name in before]
    assert len(steady) >= 4
    for name in steady:
        assert now[name]["score"] == pytest.approx(before[name]["score"], rel=1e-4, abs=1e-6), name
    hypotheses = [
        [json.loads(line)["hypothesis"] for line in (folder / "outputs" / "test.jsonl").read_text("utf-8").splitlines()]
        for folder in (old, out)
    ]
    assert hypotheses[0] == hypotheses[1]


def test_old_models_load_in_python(old: Path) -> None:
    if old.name != "captioning":  # captioning needs an image as the source
        assert isinstance(seq2seq.load(old).generate(["the old woman saw the bird ."])[0].text, str)


@pytest.mark.parametrize("old", RESUMED, indirect=True)
def test_old_runs_can_be_resumed(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the run looks for its cache here
    (old / "results.json").unlink()
    train.train(composed("resume", f"resume={old}", "trainer.max_steps=5", "logger=csv"), old)
    assert results(old)["run"]["training"]["steps"] == 5


def test_old_runs_are_compared_with_a_new_run(run: Path, tmp_path: Path) -> None:
    olds = {name: FIXTURES / name / "translation" for name in GENERATIONS}
    runs = {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in (olds | {"today": run}).items()}
    for name in GENERATIONS:  # scores of different versions of sacreBLEU are not compared
        file = runs[name] / "results.json"
        text = re.sub(r"version:2\.\d+\.\d+", f"version:{sacrebleu.__version__}", file.read_text(encoding="utf-8"))
        file.write_text(text, encoding="utf-8")
    out = tmp_path / "report"
    listed = ",".join(map(str, runs.values()))
    compare.compare(composed("compare", f"runs=[{listed}]", f"output={out}", "samples=100"))
    (summary,) = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["datasets"].values()
    for metric in ("bleu", "perplexity", "aer"):
        compared = sorted(row["score"] for row in summary["estimates"][metric].values())
        assert compared == pytest.approx(sorted(results(path)["test"][metric]["score"] for path in runs.values()))
