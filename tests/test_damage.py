"""Tests of damaged checkpoint files: 240 random cases of flipped, cut, zeroed and exchanged bytes are all detected."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq import checkpoint
from seq2seq.cli import train
from seq2seq.errors import UserError
from seq2seq.stored import model_file

CASES = 12  # for each kind of damage and each file


def flipped(content: bytearray, draw: random.Random) -> None:
    """Flip one bit of ``content``, in place."""
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def cut(content: bytearray, draw: random.Random) -> None:
    """Cut the end of ``content``, in place."""
    del content[draw.randrange(len(content)) :]


def zeroed(content: bytearray, draw: random.Random) -> None:
    """Set 512 bytes of ``content`` to zero, in place."""
    start = draw.randrange(len(content))
    content[start : start + 512] = bytes(len(content[start : start + 512]))


def exchanged(content: bytearray, draw: random.Random) -> None:
    """Exchange two blocks of 16 bytes, in place."""
    one, other = sorted(draw.sample(range(len(content) // 16), 2))
    first, second = content[16 * one : 16 * one + 16], content[16 * other : 16 * other + 16]
    content[16 * one : 16 * one + 16], content[16 * other : 16 * other + 16] = second, first


DAMAGES: dict[str, Callable[[bytearray, random.Random], None]] = {
    damage.__name__: damage for damage in (flipped, cut, zeroed, exchanged)
}
FILES = ("model.safetensors", "config.yaml", "source.model", "target.model", "last.ckpt")


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """Copy the checkpoints of a run and return their folder."""
    return Path(shutil.copytree(run / "checkpoints", tmp_path / "run" / "checkpoints"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_file_is_refused_in_one_line(name: str, kind: str, folder: Path) -> None:
    draw, file = random.Random(f"{name} {kind}"), folder / name
    whole = file.read_bytes()
    for _ in range(CASES):
        content = bytearray(whole)
        while content == whole:  # the damage may change nothing, for example zeros to zeros
            content = bytearray(whole)
            DAMAGES[kind](content, draw)
        file.write_bytes(content)
        with pytest.raises(UserError, match=name) as caught:
            if name == "last.ckpt":
                train.check(OmegaConf.create({"resume": str(folder.parent)}))
            else:
                checkpoint.load(folder)
        assert "\n" not in str(caught.value)
        assert any(word in str(caught.value) for word in ("damaged", "not a model file", "not a checkpoint"))


@pytest.mark.parametrize("name", FILES[:4])
def test_run_with_a_damaged_best_model_is_not_resumed(name: str, folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    flipped(content, random.Random(name))
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"best model is missing: .*{name}.* is damaged"):
        train.check(OmegaConf.create({"resume": str(folder.parent)}))


def test_files_of_another_model_are_refused_as_damaged(folder: Path, tmp_path: Path) -> None:
    opened, other = checkpoint.load(folder), tmp_path / "other"
    models = {side: tokenizer.model for side, tokenizer in opened.codec.tokenizers.items()}
    files = model_file.write_beside(other, {**OmegaConf.to_object(opened.config), "seed": 9}, models, keep=False)
    about = {
        "files": files,
        "tokenizers": {side: tokenizer.type for side, tokenizer in opened.codec.tokenizers.items()},
        "step": 1,
        "score": 1.0,
        "monitor": "nll",
    }
    model_file.write(other / "model.safetensors", opened.weights, about)
    assert checkpoint.load(other).config.seed == 9
    for name in ("config.yaml", "model.safetensors"):
        own = (folder / name).read_bytes()
        shutil.copy(other / name, folder / name)
        with pytest.raises(UserError, match="is damaged"):
            checkpoint.load(folder)
        (folder / name).write_bytes(own)
    checkpoint.load(folder)
