"""Tests of kills: a run that is killed and started again leaves the same bits as an uninterrupted run.

Each run is a fork of the test's process, so hundreds of runs take only minutes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from seq2seq.cli import hydra_app, train
from seq2seq.run_directory import has_checkpoint, results
from tests.conftest import TINY
from tests.training.test_resume import curves, differences

CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
"""Audit events that change a directory. Opening a file to write is another one."""
RENAMES = ("os.rename", "os.link")
REPEATED = ("best_score", "best_step", "steps", "epochs", "tokens", "skipped", "stopped_early", "monitor")
"""Figures of training in results.json that are no time, speed, path or size in memory: they must be equal."""


def composed(cache: Path, *options: str) -> DictConfig:
    """Compose the config of four updates, with validation after each second one."""
    few = ["trainer.max_steps=4", "training.validate_every=2", "trainer.log_every_n_steps=1", "training.metrics=[]"]
    small = [
        "training.num_plots=0",
        "training.save_attention=1",
        "training.faithfulness_examples=0",
        "enable_progress_bar=false",
    ]
    typed = [*TINY, *few, *small[:-1], f"trainer.{small[-1]}", f"data.cache={cache}", *options]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(option) for option in typed])
    return config


def start(config: DictConfig, folder: Path) -> None:
    """Do what the command does in ``folder``: resume a run that has a checkpoint, else start one."""
    if has_checkpoint(folder):
        # a resumed run uses the folder of caches only if it is typed
        train.train(OmegaConf.create({"resume": str(folder), "data": {"cache": config.data.cache}}), folder)
    else:
        train.train(config, folder)


def forked(work: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> int:
    """Fork a process that does ``work`` silently, and return its id."""
    child = os.fork()
    if not child:
        code = 1
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            before()
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Wait for a process to end and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_before_change(folder: Path, events: tuple[str, ...], at: int, opens: bool) -> Callable[[], None]:
    """Return a function that ends the process, like a kill, before its ``at``-th change of ``folder``."""
    left = [at]
    place = str(folder)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in events or (opens and writes)) and str(args[0]).startswith(place):
            if not left[0]:
                os._exit(9)
            left[0] -= 1

    return lambda: sys.addaudithook(hook)


def assert_same(one: Path, other: Path) -> None:
    """Check that two runs left the same checkpoints, curves, results and outputs."""
    names = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        files = [run / "checkpoints" / name for run in (one, other)]
        if name.endswith(".ckpt"):
            assert differences(*(torch.load(file, weights_only=True) for file in files)) == [], name
        elif name.endswith(".safetensors"):
            assert differences(*map(load_file, files)) == [], name
    assert curves(one) == curves(other)
    first, second = results(one), results(other)
    assert first is not None and second is not None
    training = [{name: found["run"]["training"][name] for name in REPEATED} for found in (first, second)]
    assert training[0] == training[1]
    assert {**first, "run": None} == {**second, "run": None}
    for name in ("outputs/test.jsonl", "outputs/test.pharaoh", "frequencies.json", "config.yaml"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    hidden = [path.name for path in other.rglob("*") if path.name.startswith(".writing-") or ".partial" in path.name]
    assert hidden == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DictConfig, Path]]:
    """Yield a config and an uninterrupted run of it; skip the measurement of costs, which takes most of the time."""
    base = tmp_path_factory.mktemp("kills")
    config = composed(base / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "cost", lambda *args: {})
        patch.setattr(train, "update_memory", lambda *args: None)
        start(config, base / "whole")  # in this process: the forks then import nothing
        yield config, base / "whole"


def kill_before_each_change(whole: tuple[DictConfig, Path], base: Path, events: tuple[str, ...], opens: bool) -> int:
    """Kill a run before its n-th change, for each n, and resume it; return the number of changes."""
    config, uninterrupted = whole
    for n in range(1000):
        folder = base / str(n)
        first = ended(forked(lambda folder=folder: start(config, folder), die_before_change(folder, events, n, opens)))  # type: ignore[misc]
        if first == 0:
            return n
        assert first == 9
        assert ended(forked(lambda folder=folder: start(config, folder))) == 0, n  # type: ignore[misc]
        assert_same(uninterrupted, folder)
    raise AssertionError("the run makes 1000 changes or more")


@pytest.mark.slow
def test_a_run_killed_before_each_rename_can_be_resumed(whole: tuple[DictConfig, Path], tmp_path: Path) -> None:
    assert kill_before_each_change(whole, tmp_path, RENAMES, opens=False) > 8


@pytest.mark.slow
def test_a_run_killed_before_each_change_can_be_resumed(whole: tuple[DictConfig, Path], tmp_path: Path) -> None:
    assert kill_before_each_change(whole, tmp_path, CHANGES, opens=True) > 30


@pytest.mark.slow
def test_a_run_killed_at_random_moments_can_be_resumed(whole: tuple[DictConfig, Path], tmp_path: Path) -> None:
    """A hundred kills; many of them hit a run that was killed before."""
    config, uninterrupted = whole
    began = time.monotonic()
    assert ended(forked(lambda: start(config, tmp_path / "timed"))) == 0
    usual, draw, kills, run = time.monotonic() - began, random.Random(1), 0, 0
    while kills < 100:
        folder = tmp_path / str(run)
        while results(folder) is None:
            child = forked(lambda folder=folder: start(config, folder))  # type: ignore[misc]
            time.sleep(draw.uniform(0, usual))
            os.kill(child, signal.SIGKILL)
            code = ended(child)
            assert code in (0, -signal.SIGKILL), (run, kills)
            kills += code != 0
        assert_same(uninterrupted, folder)
        run += 1
