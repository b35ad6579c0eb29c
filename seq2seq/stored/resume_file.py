"""``last.ckpt``: the checkpoint for ``resume``, a file of torch with a digest at its end.

Other programs can open the file too: torch finds the table of contents from the end, and skips the bytes after it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seq2seq.errors import UserError
from seq2seq.files.full_disk import told_as_os_error
from seq2seq.files.writing import writing

FORMAT = 1
NAME = "last.ckpt"
TRAILER = re.compile(rb"\nseq2seq checkpoint sha256 ([0-9a-f]{64})\n")
LENGTH = len(b"\nseq2seq checkpoint sha256 \n") + 64
NEEDED = (
    *("config", "tokenizers", "state_dict", "position", "loops", "optimizer_states", "lr_schedulers"),
    *("global_step", "epoch", "callbacks", "curves", "DataModule"),
)
_verified: dict[Path, tuple[int, int]] = {}  # (size, time) of the files that this process has verified


def write(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint with its digest, completely or not at all.

    Args:
        path: Checkpoint file.
        checkpoint: Content of the checkpoint.

    Raises:
        UserError: The file can't be written.
    """
    with writing(path) as temporary:
        with told_as_os_error(), temporary.open("wb") as file:
            torch.save({"format": FORMAT, **checkpoint}, file)
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with temporary.open("ab") as file:
            file.write(b"\nseq2seq checkpoint sha256 " + digest.encode() + b"\n")


def is_old(path: Path) -> bool:
    """Return whether a checkpoint has no digest; this was so before checkpoints had a format number.

    Args:
        path: Checkpoint file.
    """
    return _digest(path) is None


def read(path: Path) -> dict[str, Any]:
    """Verify a checkpoint, and return its content.

    Args:
        path: Checkpoint file.

    Returns:
        Dicts, lists, texts, numbers and tensors.

    Raises:
        UserError: The file is damaged, is not a checkpoint, or contains more than plain data.
    """
    # Verify the digest.
    sealed_digest = _digest(path)
    about = path.stat()
    state = (about.st_size, about.st_mtime_ns)
    if sealed_digest is not None and _verified.get(path.resolve()) != state:
        total, left = hashlib.sha256(), about.st_size - LENGTH
        with path.open("rb") as file:
            while left and (block := file.read(min(left, 1 << 20))):
                total.update(block)
                left -= len(block)
        if total.hexdigest() != sealed_digest:
            raise UserError(f"{path} is damaged: its content is not what was written")
        _verified[path.resolve()] = state
    # Read the content.
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is refused: it contains more than plain data, which could run code") from error
    except Exception as error:  # torch raises errors of many types for a damaged file
        raise UserError(f"{path} is not a checkpoint, or is not complete") from error
    # Check the form of the content.
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint of this application")
    if sealed_digest is None and "format" in content:
        raise UserError(f"{path} is damaged: its digest is missing")
    if sealed_digest is not None and content.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {content.get('format')}, but this version reads format {FORMAT}; update this program"
        )
    return content


def _digest(path: Path) -> str | None:
    """Return the digest at the end of a checkpoint, or None without one."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LENGTH))
            found = TRAILER.fullmatch(file.read())
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error
    return found[1].decode() if found else None
