"""A run that was broken off and resumed is the run that was not, to the last bit."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.batch import Batch
from seq2seq.data.corpus import Corpus
from seq2seq.training.fit import fit
from seq2seq.training.interruption import Interrupted

CLOCKS = ("seconds", "train/tokens_per_second")
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "plain": ([], {}),
    "workers": ([], {"data.workers": 2}),
    "accumulation": ([], {"trainer.accumulate_grad_batches": 2, "trainer.max_epochs": 3}),
    "ema": ([], {"training.averaging": "ema", "training.validate_every": 2, "training.ema_decay": 0.9}),
    "last": ([], {"training.averaging": "last", "training.validate_every": 3, "training.average_last": 2}),
    "plateau": (["schedule=plateau"], {"training.validate_every": 2, "training.patience": 3, "schedule.patience": 1}),
    "steps": ([], {"trainer.max_steps": 17, "trainer.max_epochs": -1}),
    "cosine": (["schedule=cosine"], {}),
    "generated": ([], {"training.metrics": ["chrf"], "training.monitor": "chrf", "training.validate_every": 5}),
}


def interrupting(corpus: Corpus, at: int, signum: int = signal.SIGINT) -> Corpus:
    """Sends a signal to this process when the ``at``-th batch of the sitting is asked for."""
    original, served = corpus.train_loader, iter(range(10**6))

    class Loader:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def __len__(self) -> int:
            return len(self.loader)

        def __iter__(self) -> Iterator[Batch]:
            for batch in self.loader:
                if next(served) == at:
                    os.kill(os.getpid(), signum)
                yield batch

    corpus.train_loader = lambda *args: Loader(original(*args))
    return corpus


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two checkpoints differ, clocks aside."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted({*a, *b}, key=str)
        return [d for k in keys if k not in CLOCKS for d in differences(a.get(k), b.get(k), f"{place}/{k}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.shape == b.shape and torch.equal(a, b) else [place]
    if isinstance(a, Sequence) and not isinstance(a, str) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{place}/{i}")]
    return [] if a == b else [f"{place}: {a} / {b}"]


def curves(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


@pytest.mark.parametrize("case", CASES)
def test_resumed_equals_uninterrupted(case: str, prepare: Callable[..., Any], tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    groups, keys = CASES[case]
    fit(*prepare(*groups, **keys), whole)
    resume, sittings = None, 0
    for at in (3, 5, 0, 4, None):
        config, corpus, model = prepare(*groups, **keys)
        try:
            fit(config, corpus if at is None else interrupting(corpus, at), model, broken, resume)
            break
        except Interrupted as stopped:
            assert stopped.code == 130
            resume, sittings = broken / "checkpoints" / "last.ckpt", sittings + 1
    assert sittings >= 2
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (whole, broken))
        assert differences(one, other) == []
    assert curves(whole) == curves(broken)
