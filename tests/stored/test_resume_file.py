"""Tests of ``last.ckpt``: torch can read it, and its digest detects changed bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from seq2seq.errors import UserError
from seq2seq.stored import resume_file

CONTENT = {"global_step": 7, "state_dict": {"a": torch.arange(3.0)}, "epoch": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a checkpoint, and return its path."""
    resume_file.write(tmp_path / "last.ckpt", CONTENT)
    return tmp_path / "last.ckpt"


def test_torch_reads_what_is_written(path: Path) -> None:
    for content in (torch.load(path, weights_only=True), resume_file.read(path)):
        assert content["format"] == resume_file.FORMAT and content["global_step"] == 7
        assert torch.equal(content["state_dict"]["a"], torch.arange(3.0))


def test_the_digest_covers_all_bytes_before_it(path: Path) -> None:
    content, mark, digest = path.read_bytes().rpartition(b"\nseq2seq checkpoint sha256 ")
    assert mark and digest.decode().strip() == hashlib.sha256(content).hexdigest()
    assert not resume_file.is_old(path)


def test_changed_bytes_and_missing_digests_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(UserError, match="its content is not what was written"):
        resume_file.read(path)
    path.write_bytes(whole[: -resume_file.LENGTH])
    with pytest.raises(UserError, match="its digest is missing"):
        resume_file.read(path)


def test_a_file_from_before_digests_is_read(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "old.ckpt")
    assert resume_file.is_old(tmp_path / "old.ckpt")
    assert resume_file.read(tmp_path / "old.ckpt")["global_step"] == 7
