"""A sweep from the command line: what fails is left behind, what is finished is not done again."""

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


def swept(folder: Path, *axes: str, sweep: Path | None = None) -> subprocess.CompletedProcess[str]:
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


@pytest.mark.slow
def test_a_process_ends_as_the_command_does_here(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    options = [*TINY, *SHORT, f"data.cache={base / 'cache'}", f"hydra.sweep.dir={base / 'process'}"]
    done = commands.run("train.py", "-m", "attention=multi_head", "attention.heads=1,3,2", *options)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (first.returncode, first.stderr.splitlines()[-1])
    kept = [sorted(file.parent.name for file in (base / "process").glob(f"*/{name}")) for name in NAMES]
    assert kept == [["0", "2"], ["1"]]


def test_finished_jobs_are_found_by_their_config(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    before = {n: (base / "sweep" / n / "results.json").stat().st_mtime_ns for n in ("0", "2")}
    done = swept(base, "attention=multi_head", "attention.heads=2,4,1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished before: ") == 2
    assert before == {n: (base / "sweep" / n / "results.json").stat().st_mtime_ns for n in before}
    assert (base / "sweep" / "1" / "results.json").exists()  # where nothing was left but the word of the failed one
    assert not (base / "sweep" / "1" / "failed.txt").exists()


def test_a_stopped_job_goes_on(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    results = base / "sweep" / "0" / "results.json"
    results.write_bytes(results.read_bytes()[:100])  # as a kill in the middle of a write left it once
    done = swept(base, "attention=multi_head", "attention.heads=1,2")
    assert done.returncode == 0, done.stderr
    assert f"resumed: {base / 'sweep' / '0'}" in done.stderr
    assert "run" in json.loads(results.read_text())


def test_a_job_that_is_at_work_already_is_skipped(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    """As of two synonyms of which one has begun."""
    results = base / "sweep" / "0" / "results.json"
    kept = results.read_text()
    results.unlink()
    with held(base / "sweep" / "0"):
        done = swept(base, "attention=multi_head", "attention.heads=1,2")
    assert done.returncode == 0, done.stderr
    assert f"skipped: {base / 'sweep' / '0'} is in use" in done.stderr
    assert not results.exists() and not (base / "sweep" / "0" / "failed.txt").exists()
    results.write_text(kept)


def test_a_sweep_of_mistakes_is_refused_at_once(base: Path) -> None:
    done = swept(base / "none", "encoder.dropot=0.1,0.2")
    assert done.returncode == 1
    assert done.stderr.startswith("train.py: encoder.dropot") and done.stderr.count("\n") == 1
    assert not (base / "none" / "sweep").exists()


def test_a_sweep_does_not_go_into_a_run(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    run = base / "sweep" / "0"
    before = snapshot(run)
    done = swept(base, "attention=multi_head", "attention.heads=1,2", sweep=run)
    assert done.returncode == 1
    assert done.stderr.endswith("is the directory of a run (it has .hydra); choose another\n")
    assert done.stderr.count("\n") == 1 and snapshot(run) == before


def test_a_job_never_gets_the_directory_of_another(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    """All jobs in one directory, which is a finished one's: both are refused, and it does not change."""
    before = snapshot(base / "sweep" / "0")
    done = swept(base, "attention=multi_head", "attention.heads=4,8", "hydra.sweep.subdir='0'")
    assert done.returncode == 1
    assert done.stderr.count("is the directory of another job; let hydra.sweep.subdir name one for each") == 3
    assert snapshot(base / "sweep" / "0") == before


def test_a_packed_job_is_finished(base: Path, first: subprocess.CompletedProcess[str], tmp_path: Path) -> None:
    """On another machine, where the runs are gone and caches lie elsewhere; a job that is not packed is run."""
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


def test_a_packed_job_is_known_by_what_is_learnt(base: Path, first: subprocess.CompletedProcess[str]) -> None:
    composed = (base / "sweep" / "2" / ".hydra" / "config.yaml").read_text()
    key = job_key(composed)
    assert key == job_key(composed.replace(f"cache: {base / 'cache'}", "cache: elsewhere"))
    for change in (("seed: 1", "seed: 2"), ("path: null", "path: data"), ("init_from: null", "init_from: runs/a")):
        assert change[0] in composed and job_key(composed.replace(*change)) != key


def place_of(sweep: Path, number: int, **keys: object) -> str:
    return sweep_command.place(
        OmegaConf.create({**keys, "hydra": {"sweep": {"dir": str(sweep)}, "job": {"num": number}}})
    )


@pytest.mark.parametrize("name", [".hydra/config.yaml", "config.yaml"])
def test_a_job_is_known_by_its_composed_config(tmp_path: Path, name: str) -> None:
    """Which older runs kept as config.yaml, newer ones in .hydra beside the resolved one."""
    for number, seed in (("0", 7), ("1", 8)):
        file = tmp_path / number / name
        file.parent.mkdir(parents=True)
        file.write_text(OmegaConf.to_yaml(OmegaConf.create({"seed": seed, "again": "${seed}"})))
        (tmp_path / number / "config.yaml").touch()
    assert place_of(tmp_path, 0, seed=8, again="${seed}") == "1"
    assert place_of(tmp_path, 0, seed=9, again="${seed}") == "0_2"
    assert place_of(tmp_path, 2, seed=9, again="${seed}") == "2"


def test_word_of_a_failure_does_not_go_into_another_s_run(tmp_path: Path, full_disk: Callable[[], Any]) -> None:
    mine, other = OmegaConf.create({"seed": 1}), OmegaConf.create({"seed": 2})
    sweep_command.fail(tmp_path / "new", mine, "why")
    assert (tmp_path / "new" / "failed.txt").read_text() == "why\n"
    with claimed(tmp_path / "run", other):
        pass
    sweep_command.fail(tmp_path / "run", mine, "why")
    assert not (tmp_path / "run" / "failed.txt").exists()
    with full_disk():  # the reason was told already, and is not hidden by another
        sweep_command.fail(tmp_path / "full", mine, "why")
