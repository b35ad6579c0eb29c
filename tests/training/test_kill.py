"""Check that a run that is killed between two renames and resumed equals an uninterrupted run, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.errors import UserError
from seq2seq.stored import model_file, resume_file
from seq2seq.training.fit import fit

KEYS = {"training.validate_every": 3, "trainer.max_epochs": 1, "optimizer.lr": 0.03, "data.max_tokens": 128}
FILES = ("model.safetensors", "config.yaml", "source.model", "target.model")
CLOCKS = ("seconds", "train/tokens_per_second")


def killed_at(number: int, prepare: Callable[..., Any], run: Path) -> bool:
    """Fit in a process that is killed before rename number ``number``; return False if it ends before."""
    child = os.fork()
    if child == 0:
        try:
            renames = 0
            replace = Path.replace

            def counted(self: Path, target: Path) -> Path:
                nonlocal renames
                renames += 1
                if renames == number:
                    os._exit(9)
                return replace(self, target)

            Path.replace = counted  # type: ignore[method-assign,assignment]
            fit(*prepare(**KEYS), run)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def content(run: Path) -> dict[str, Any]:
    """Return the content of a run without times."""
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    last["curves"].pop("seconds")
    return {"last": last, **{name: (run / "checkpoints" / name).read_bytes() for name in FILES}}


def same(one: Any, other: Any) -> bool:
    """Return True if two values are equal, apart from times."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key not in CLOCKS)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


@pytest.mark.slow  # tests/cli/test_kills.py kills whole commands in the same way
def test_killed_between_any_two_renames_and_resumed(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """Resume each killed run to its end. The result equals that of an uninterrupted run.

    If a new best model awaits its rename, first resume the run only up to the step of last.ckpt. Its best model is then
    the one that last.ckpt names.
    """
    whole = tmp_path / "whole"
    result = fit(*prepare(**KEYS), whole)
    assert result.best_step > 3  # a second best model replaces the first
    number, endings = 1, 0
    while killed_at(number, prepare, run := tmp_path / str(number)):
        last = run / "checkpoints" / "last.ckpt"
        resume = last if last.exists() else None
        if resume is not None and (last.parent / model_file.NEXT).exists():
            step = resume_file.read(last)["global_step"]
            ended = fit(*prepare(**{**KEYS, "trainer.max_steps": step}), run, resume)
            assert ended.best_step == model_file.about(ended.best).step
            endings += 1
        fit(*prepare(**KEYS), run, resume)
        assert same(content(whole), content(run)), number
        assert not (run / "checkpoints" / model_file.NEXT).exists()
        number += 1
    assert number > 9 and endings == 3  # before both renames of a best model, and before last.ckpt names the second


def test_wrong_or_missing_best_model_is_refused_on_resume(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """The best model on disk is another one than last.ckpt names, or is missing."""
    fit(*prepare(**KEYS), tmp_path / "one")
    fit(*prepare(**{**KEYS, "optimizer.lr": 0.02}), tmp_path / "other")
    other = (tmp_path / "other" / "checkpoints" / "model.safetensors").read_bytes()
    folder = tmp_path / "one" / "checkpoints"
    (folder / "model.safetensors").write_bytes(other)
    with pytest.raises(UserError, match=r"last\.ckpt can't be resumed, because its best model is missing"):
        fit(*prepare(**KEYS), tmp_path / "one", folder / "last.ckpt")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"last\.ckpt can't be resumed, because its best model is missing"):
        fit(*prepare(**KEYS), tmp_path / "one", folder / "last.ckpt")
