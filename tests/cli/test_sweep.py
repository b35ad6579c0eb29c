"""Tests of sweeps from the command line: a failed job does not end a sweep, and a finished job is not repeated."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from seq2seq.cli import compare, hydra_app
from seq2seq.cli import sweep as sweep_command
from seq2seq.comparison.packs import job_key
from seq2seq.comparison.runs import find, unfinished
from seq2seq.run_directory import claimed, held
from tests import commands
from tests.conftest import TINY
from tests.test_run_directory import snapshot

NAMES = ("results.json", "failed.txt")
SHORT = ["trainer.max_steps=1", "training.num_plots=0", "training.faithfulness_examples=0"]


def run_sweep(folder: Path, *axes: str, sweep: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a sweep of tiny runs in this process."""
    options = [
        *TINY,
        f"data.cache={folder / 'cache'}",
        *SHORT,
        f"hydra.sweep.dir={sweep or folder / 'sweep'}",
    ]
    return commands.train_here("-m", *axes, *options)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def first(base: Path) -> subprocess.CompletedProcess[str]:
    """Run a sweep of three jobs, of which the second fails."""
    return run_sweep(base, "attention=multi_head", "attention.heads=1,3,2")


def test_a_failed_job_does_not_end_the_sweep(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 1
    assert "job 1 (attention=multi_head, attention.heads=3" in first.stderr  # reported before the first job,
    assert "job 1 failed: attention.heads=3 must divide the width 8" in first.stderr  # when the job fails,
    assert first.stderr.rstrip().endswith("train.py: attention.heads=3 must divide the width 8")  # and at the end
    assert [(base / "sweep" / str(n) / "results.json").exists() for n in range(3)] == [True, False, True]
    assert "must divide" in (base / "sweep" / "1" / "failed.txt").read_text()


def test_a_run_stores_the_options_of_its_job(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    facets = [run.facets for run in find([base / "sweep"], "test")]
    assert {facet["attention"] for facet in facets} == {"multi_head"}
    assert {facet["attention.heads"] for facet in facets} == {"1", "2"}
    (note,) = unfinished([base / "sweep"])
    assert note.endswith("failed: attention.heads=3 must divide the width 8")


@pytest.mark.slow
def test_a_sweep_in_a_process_ends_like_one_in_this_process(
    base: Path, first: subprocess.CompletedProcess[str]
) -> None:
    options = [*TINY, *SHORT, f"data.cache={base / 'cache'}", f"hydra.sweep.dir={base / 'process'}"]
    done = commands.run("train.py", "-m", "attention=multi_head", "attention.heads=1,3,2", *options)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (first.returncode, first.stderr.splitlines()[-1])
    kept = [sorted(file.parent.name for file in (base / "process").glob(f"*/{name}")) for name in NAMES]
    assert kept == [["0", "2"], ["1"]]


def test_finished_jobs_are_found_by_their_config(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    before = {n: (base / "sweep" / n / "results.json").stat().st_mtime_ns for n in ("0", "2")}
    done = run_sweep(base, "attention=multi_head", "attention.heads=2,4,1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished before: ") == 2
    assert before == {n: (base / "sweep" / n / "results.json").stat().st_mtime_ns for n in before}
    assert (base / "sweep" / "1" / "results.json").exists()  # takes the place of the failed job
    assert not (base / "sweep" / "1" / "failed.txt").exists()


def test_a_stopped_job_is_resumed(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    results = base / "sweep" / "0" / "results.json"
    results.write_bytes(results.read_bytes()[:100])  # a kill during a write once left this
    done = run_sweep(base, "attention=multi_head", "attention.heads=1,2")
    assert done.returncode == 0, done.stderr
    assert f"resumed: {base / 'sweep' / '0'}" in done.stderr
    assert "run" in json.loads(results.read_text())


def test_a_job_that_is_already_running_is_skipped(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    """This happens if a sweep lists two synonyms and the job of one has begun."""
    results = base / "sweep" / "0" / "results.json"
    kept = results.read_text()
    results.unlink()
    with held(base / "sweep" / "0"):
        done = run_sweep(base, "attention=multi_head", "attention.heads=1,2")
    assert done.returncode == 0, done.stderr
    assert f"skipped: {base / 'sweep' / '0'} is in use" in done.stderr
    assert not results.exists() and not (base / "sweep" / "0" / "failed.txt").exists()
    results.write_text(kept)


def test_a_sweep_over_an_unknown_option_is_refused_before_it_starts(base: Path) -> None:
    done = run_sweep(base / "none", "encoder.dropot=0.1,0.2")
    assert done.returncode == 1
    assert done.stderr.startswith("train.py: encoder.dropot") and done.stderr.count("\n") == 1
    assert not (base / "none" / "sweep").exists()


def test_a_sweep_into_the_directory_of_a_run_is_refused(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    run = base / "sweep" / "0"
    before = snapshot(run)
    done = run_sweep(base, "attention=multi_head", "attention.heads=1,2", sweep=run)
    assert done.returncode == 1
    assert done.stderr.endswith("is the directory of a run (it has .hydra); choose another\n")
    assert done.stderr.count("\n") == 1 and snapshot(run) == before


def test_jobs_in_the_directory_of_another_job_are_refused(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    """Both jobs get the directory of a finished one: both are refused, and the directory does not change."""
    before = snapshot(base / "sweep" / "0")
    done = run_sweep(base, "attention=multi_head", "attention.heads=4,8", "hydra.sweep.subdir='0'")
    assert done.returncode == 1
    assert done.stderr.count("is the directory of another job; let hydra.sweep.subdir name one for each") == 3
    assert snapshot(base / "sweep" / "0") == before


def test_a_packed_job_counts_as_finished(base: Path, first: subprocess.CompletedProcess[str], tmp_path: Path) -> None:
    """On another machine without the runs and with another cache, only the job that is not packed is run."""
    (config,) = hydra_app.compose("compare", [f"runs={base / 'sweep' / '2'}", f"pack={tmp_path / 'results' / 'toy'}"])
    (file,) = compare.compare(config).iterdir()
    options = ["-m", "attention=multi_head", "attention.heads=2,4", *TINY, *SHORT]
    with contextlib.chdir(tmp_path):
        done = commands.train_here(*options, f"data.cache={tmp_path / 'elsewhere'}", "hydra.sweep.dir=multirun/toy")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished before: ") == 1
    assert f"finished before: results/toy/{file.name}" in done.stderr
    assert [path.name for path in (tmp_path / "multirun" / "toy").glob("*/")] == ["1"]
    assert (tmp_path / "multirun" / "toy" / "1" / "results.json").exists()


def test_the_key_of_a_job_changes_with_training_options_but_not_with_the_cache(
    base: Path, first: subprocess.CompletedProcess[str]
) -> None:
    composed = (base / "sweep" / "2" / ".hydra" / "config.yaml").read_text()
    key = job_key(composed)
    assert key == job_key(composed.replace(f"cache: {base / 'cache'}", "cache: elsewhere"))
    for change in (("seed: 1", "seed: 2"), ("path: null", "path: data"), ("init_from: null", "init_from: runs/a")):
        assert change[0] in composed and job_key(composed.replace(*change)) != key


def place_of(sweep: Path, number: int, **keys: object) -> str:
    """Return the directory in ``sweep`` that a job of these options gets."""
    return sweep_command.place(
        OmegaConf.create({**keys, "hydra": {"sweep": {"dir": str(sweep)}, "job": {"num": number}}})
    )


@pytest.mark.parametrize("name", [".hydra/config.yaml", "config.yaml"])
def test_a_job_is_identified_by_its_composed_config(tmp_path: Path, name: str) -> None:
    """Older runs store the composed config as config.yaml, newer ones as .hydra/config.yaml."""
    for number, seed in (("0", 7), ("1", 8)):
        file = tmp_path / number / name
        file.parent.mkdir(parents=True)
        file.write_text(OmegaConf.to_yaml(OmegaConf.create({"seed": seed, "again": "${seed}"})))
        (tmp_path / number / "config.yaml").touch()
    assert place_of(tmp_path, 0, seed=8, again="${seed}") == "1"
    assert place_of(tmp_path, 0, seed=9, again="${seed}") == "0_2"
    assert place_of(tmp_path, 2, seed=9, again="${seed}") == "2"


def test_failed_txt_is_not_written_into_the_run_of_another_job(tmp_path: Path, full_disk: Callable[[], Any]) -> None:
    mine, other = OmegaConf.create({"seed": 1}), OmegaConf.create({"seed": 2})
    sweep_command.fail(tmp_path / "new", mine, "why")
    assert (tmp_path / "new" / "failed.txt").read_text() == "why\n"
    with claimed(tmp_path / "run", other):
        pass
    sweep_command.fail(tmp_path / "run", mine, "why")
    assert not (tmp_path / "run" / "failed.txt").exists()
    with full_disk():  # the full disk does not hide the reason
        sweep_command.fail(tmp_path / "full", mine, "why")
