"""``last.ckpt``: torch reads it, its digest is that of its bytes, and no other bytes are taken for it."""

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
    resume_file.write(tmp_path / "last.ckpt", CONTENT)
    return tmp_path / "last.ckpt"


def test_torch_reads_what_is_written(path: Path) -> None:
    for content in (torch.load(path, weights_only=True), resume_file.read(path)):
        assert content["format"] == resume_file.FORMAT and content["global_step"] == 7
        assert torch.equal(content["state_dict"]["a"], torch.arange(3.0))


def test_the_digest_is_that_of_what_stands_before_it(path: Path) -> None:
    content, mark, digest = path.read_bytes().rpartition(b"\nseq2seq checkpoint sha256 ")
    assert mark and digest.decode().strip() == hashlib.sha256(content).hexdigest()
    assert not resume_file.is_old(path)


def test_other_bytes_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(UserError, match="its content is not what was written"):
        resume_file.read(path)
    path.write_bytes(whole[: -resume_file.LENGTH])
    with pytest.raises(UserError, match="its digest is missing"):
        resume_file.read(path)


def test_a_file_of_before_digests_is_old(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "old.ckpt")
    assert resume_file.is_old(tmp_path / "old.ckpt")
    assert resume_file.read(tmp_path / "old.ckpt")["global_step"] == 7
