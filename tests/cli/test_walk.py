"""Tests of the path from ``python train.py`` to the first training step: the objects built and the modules called."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import lightning
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from seq2seq.cli import commands
from seq2seq.cli import train as train_command
from seq2seq.data.corpus import Corpus
from seq2seq.loss import Criterion
from seq2seq.model import Seq2Seq
from seq2seq.run_directory import results
from seq2seq.training.module import Training
from tests.conftest import TINY

pytestmark = pytest.mark.usefixtures("logging_restored")


def modules_on_the_stack() -> list[str]:
    """Return the modules of seq2seq on the stack of this thread, each once, the outermost first."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("seq2seq") and name not in found:
            found.append(name)
        frame = frame.f_back
    return found[::-1]


class Watched:
    """Counter of the objects that a command builds."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        self.stack: list[str] = []
        self.patch = patch
        self.count(hydra, "compose", "compose")
        self.count(train_command, "check", "check")
        self.count(Criterion, "__init__", "criterion")
        self.count(Corpus, "__init__", "corpus")
        self.count(lightning.Trainer, "__init__", "trainer")
        self.count(Seq2Seq, "__init__", lambda: "meta model" if torch.empty(0).device.type == "meta" else "model")
        step = Training.training_step

        def first(module: Training, *args: Any) -> Any:
            if not self.stack:
                self.stack = modules_on_the_stack()
                self.at_first_step = Counter(self.counts)
            return step(module, *args)

        patch.setattr(Training, "training_step", first)

    def count(self, owner: Any, name: str, what: str | Callable[[], str]) -> None:
        """Count the calls of ``owner.name`` as ``what``."""
        original = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            self.counts[what if isinstance(what, str) else what()] += 1
            return original(*args, **kwargs)

        self.patch.setattr(owner, name, counting)


def test_one_command_builds_each_object_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [
        *TINY,
        "training.num_plots=0",
        "training.faithfulness_examples=2",
        f"data.cache={tmp_path / 'cache'}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    monkeypatch.setattr(sys, "argv", ["train.py", *options])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    GlobalHydra.instance().clear()
    watched = Watched(monkeypatch)
    commands.train()
    assert results(tmp_path / "run") is not None
    once = {"compose": 1, "check": 1, "meta model": 1, "model": 1, "criterion": 1, "corpus": 1, "trainer": 1}
    assert watched.at_first_step == once
    # scoring opens the stored model: it builds one on the meta device for the layout, then the model itself
    assert watched.counts == {**once, "meta model": 2, "model": 2}
    between = [name for name in watched.stack if name != commands.__name__]
    assert len(between) <= 5, watched.stack


def test_a_refused_command_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*TINY, "attention=multi_head", "attention.heads=3", f"hydra.run.dir={tmp_path / 'run'}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *options])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit, match=r"train.py: attention.heads=3 must divide the width 8"):
        commands.train()
    assert not list(tmp_path.iterdir())
