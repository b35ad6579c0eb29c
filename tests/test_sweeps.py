"""A sweep from the command line: what fails is left behind, what is finished is not done again."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.comparison.runs import find, unfinished
from seq2seq.errors import UserError
from seq2seq.sweeps import alone
from tests.conftest import TINY

ROOT = Path(__file__).parents[1]


def swept(folder: Path, *axes: str) -> subprocess.CompletedProcess[str]:
    options = [
        *TINY,
        f"data.cache={folder / 'cache'}",
        "training.faithfulness=0",
        f"hydra.sweep.dir={folder / 'sweep'}",
    ]
    line = [sys.executable, "train.py", "-m", *axes, *options]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def first(base: Path) -> subprocess.CompletedProcess[str]:
    return swept(base, "attention=multi_head", "attention.heads=1,3,2")


def test_a_failed_job_does_not_end_the_sweep(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 1
    assert "job 1 (attention=multi_head, attention.heads=3" in first.stderr  # told before anything runs,
    assert "job 1 failed: attention.heads=3 must divide the width 8" in first.stderr  # when it does,
    assert first.stderr.rstrip().endswith("train.py: attention.heads=3 must divide the width 8")  # and at the end
    assert [(base / "sweep" / str(n) / "results.json").exists() for n in range(3)] == [True, False, True]
    assert "must divide" in (base / "sweep" / "1" / "failed.txt").read_text()


def test_a_run_tells_how_its_config_came_about(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    facets = [run.facets for run in find([base / "sweep"], "test")]
    assert {facet["attention"] for facet in facets} == {"multi_head"}
    assert {facet["attention.heads"] for facet in facets} == {"1", "2"}
    (note,) = unfinished([base / "sweep"])
    assert note.endswith("failed: attention.heads=3 must divide the width 8")


def test_finished_jobs_are_found_by_their_config(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    before = {n: (base / "sweep" / n / "results.json").stat().st_mtime_ns for n in ("0", "2")}
    done = swept(base, "attention=multi_head", "attention.heads=2,4,1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished before: ") == 2
    assert before == {n: (base / "sweep" / n / "results.json").stat().st_mtime_ns for n in before}
    assert (base / "sweep" / "1" / "results.json").exists()  # where nothing was left but the word of the failed one
    assert not (base / "sweep" / "1" / "failed.txt").exists()


def test_a_stopped_job_goes_on(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    (base / "sweep" / "0" / "results.json").unlink()
    done = swept(base, "attention=multi_head", "attention.heads=1,2")
    assert done.returncode == 0, done.stderr
    assert f"goes on: {base / 'sweep' / '0'}" in done.stderr
    assert (base / "sweep" / "0" / "results.json").exists()


def test_a_job_that_is_at_work_already_is_left_to_whom_it_is_with(
    base: Path, first: subprocess.CompletedProcess[str]
) -> None:
    """As of two synonyms of which one has begun."""
    results = base / "sweep" / "0" / "results.json"
    kept = results.read_text()
    results.unlink()
    with alone(base / "sweep" / "0"):
        done = swept(base, "attention=multi_head", "attention.heads=1,2")
    assert done.returncode == 0, done.stderr
    assert f"left to whom it is with: {base / 'sweep' / '0'} is at work" in done.stderr
    assert not results.exists() and not (base / "sweep" / "0" / "failed.txt").exists()
    results.write_text(kept)


def test_a_sweep_of_mistakes_is_refused_at_once(base: Path) -> None:
    done = swept(base / "none", "encoder.dropot=0.1,0.2")
    assert done.returncode == 1
    assert done.stderr.startswith("train.py: encoder.dropot") and done.stderr.count("\n") == 1
    assert not (base / "none" / "sweep").exists()


def test_a_directory_at_work_is_left_alone(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "job"),
        pytest.raises(UserError, match="job is at work in process"),
        alone(tmp_path / "job"),
    ):
        pass
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (tmp_path / "job" / ".lock").write_text(f"{dead.stdout.strip()} {platform.node()}")
    with alone(tmp_path / "job"):  # what a dead process left is taken
        pass
    assert not (tmp_path / "job" / ".lock").exists()
