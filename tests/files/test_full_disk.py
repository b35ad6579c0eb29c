"""Tests of a full disk: it is reported in one line, and old files keep their content."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from seq2seq.errors import UserError
from seq2seq.stored import model_file, resume_file

WEIGHTS = {"a": torch.arange(100_000.0)}
ABOUT = {"files": {}, "tokenizers": {"target": "word"}, "step": 1, "score": 1.0, "monitor": "nll"}
WRITES: dict[str, Callable[[Path], object]] = {
    "model.safetensors": lambda folder: model_file.write(folder / "model.safetensors", WEIGHTS, ABOUT),
    "last.ckpt": lambda folder: resume_file.write(folder / "last.ckpt", WEIGHTS),
    "config.yaml": lambda folder: model_file.write_beside(folder, {"x": "y" * 100_000}, {}, keep=False),
}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Limit the size of files that can be written to ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_is_reported_and_old_files_are_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"before")
    with file_size_limit(50_000), pytest.raises(UserError, match=rf"{name} can't be written") as caught:
        WRITES[name](tmp_path)
    assert "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {name: b"before"}


def test_weights_that_share_their_memory_are_written_once(tmp_path: Path) -> None:
    weights = {"a": WEIGHTS["a"], "b": WEIGHTS["a"], "c": torch.ones(2)}
    digest = model_file.write(tmp_path / "one", weights, ABOUT)
    assert sorted(model_file.weights(tmp_path / "one")) == ["a", "c"]
    assert digest == model_file.write(tmp_path / "other", weights, ABOUT)  # equal models have equal bytes
