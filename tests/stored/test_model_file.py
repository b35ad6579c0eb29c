"""Tests of ``model.safetensors``: its weights can be read by other programs, and its digests detect changed bytes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seq2seq.errors import UserError
from seq2seq.stored import model_file

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a model, and return the path of its file."""
    files = model_file.write_beside(tmp_path, {"seed": 1, "trainer": {"x": 2}}, {"target": b"pieces"}, keep=False)
    about = {"files": files, "tokenizers": {"target": "word"}, "step": 3, "score": 0.5, "monitor": "nll"}
    model_file.write(tmp_path / model_file.NAME, {**WEIGHTS, "tied": WEIGHTS["a"]}, about)
    return tmp_path / model_file.NAME


def test_other_programs_read_the_weights(path: Path) -> None:
    stored = load_file(path)
    assert stored.keys() == WEIGHTS.keys() == model_file.weights(path).keys()  # tied weights are written once
    assert all(torch.equal(stored[name], WEIGHTS[name]) for name in WEIGHTS)


def test_digests_equal_those_of_the_bytes(path: Path) -> None:
    about = model_file.about(path)
    zeros = path.read_bytes().replace(about.digest.encode(), b"0" * 64)
    assert about.digest == hashlib.sha256(zeros).hexdigest()
    for name, digest in about.files.items():
        assert digest == hashlib.sha256((path.parent / name).read_bytes()).hexdigest()
    assert (about.step, about.score, about.monitor) == (3, 0.5, "nll")
    assert about.shapes == {"a": ("F32", (2, 3)), "b": ("I64", (2,))}


def test_config_of_a_model_has_no_options_of_the_trainer(path: Path) -> None:
    assert model_file.config_of(path, model_file.about(path)) == {"seed": 1}


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "target.model"])
def test_a_changed_byte_is_refused(path: Path, name: str) -> None:
    file = path.parent / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{re.escape(name)} is damaged: its content is not what was written"):
        model_file.about(path)
