"""``model.safetensors`` with its config and tokenizers: the files of a run that people share.

::

    checkpoints/model.safetensors   weights, with a description of the model in the metadata (``About``)
    checkpoints/config.yaml         config of the run, resolved, without trainer and loggers
    checkpoints/source.model        SentencePiece models of the sides that are text
    checkpoints/target.model

The metadata contain the SHA-256 of each file, so that any changed byte is detected. The SHA-256 of
``model.safetensors`` itself is computed with zeros in its own place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seq2seq.errors import UserError
from seq2seq.files.full_disk import told_as_os_error
from seq2seq.files.writing import sync, write_bytes, writing
from seq2seq.stored import plain

FORMAT = 1
NAME, NEXT, CONFIG = "model.safetensors", "model.next.safetensors", "config.yaml"
KEY = "seq2seq"  # key of the description in the metadata
BLANK = "0" * 64
LARGEST_HEADER = 64 << 20
BLOCK = 1 << 20
LEFT_OUT = ("trainer", "logger", "budget")  # keys of the config that describe training, not the model

Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""{tensor: (type, shape)}, with the types of safetensors: F32, I64, BOOL ..."""


@dataclass(frozen=True)
class About:
    """Description of a model in its metadata."""

    digest: str  # SHA-256 of the model file
    files: Mapping[str, str]  # {name: SHA-256} of the files beside the model file
    tokenizers: Mapping[str, str]  # {side: type}
    step: int  # update of the model
    score: float | None  # value of the monitored metric
    monitor: str  # name of the monitored metric
    shapes: Shapes


def side_file(side: str) -> str:
    """Return the name of the file with the tokenizer of a side.

    Args:
        side: source or target.
    """
    return f"{side}.model"


def write_beside(
    folder: Path, config: Mapping[str, Any], tokenizers: Mapping[str, bytes], *, keep: bool
) -> dict[str, str]:
    """Write the config and the tokenizers of a model.

    Args:
        folder: Directory of the model file.
        config: Config of the run; the keys in ``LEFT_OUT`` are left out.
        tokenizers: {side: content of the SentencePiece model}.
        keep: Whether to keep files that exist.

    Returns:
        {name: SHA-256} of the files.
    """
    kept = {key: value for key, value in config.items() if key not in LEFT_OUT}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=1000)
    contents = {CONFIG: text.encode("utf-8"), **{side_file(side): model for side, model in tokenizers.items()}}
    digests = {}
    # Write each file, and compute its digest.
    for name, content in contents.items():
        if keep and (folder / name).is_file():
            content = (folder / name).read_bytes()
        else:
            write_bytes(folder / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Write a model file.

    Args:
        path: Model file.
        tensors: Weights. Tensors that share memory are written once, with the first of their names.
        about: Description of the model, for the metadata.

    Returns:
        SHA-256 of the file, computed with zeros in its own place.
    """
    # Find tensors that share memory.
    once: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        once.setdefault((tensor.data_ptr(), tensor.shape, tensor.dtype) if tensor.numel() else (name,), name)
    # Write the file with zeros as its digest, then replace the zeros by the digest.
    metadata = json.dumps({"format": FORMAT, **about, "sha256": BLANK}, sort_keys=True)
    with writing(path) as temporary:
        mode = temporary.stat().st_mode
        with told_as_os_error():
            save_file({n: tensors[n].detach().contiguous() for n in once.values()}, temporary, {KEY: metadata})
        temporary.chmod(mode)  # safetensors makes a file that only the owner can read
        start = _header(temporary).find(BLANK.encode())
        digest = _hash(temporary, None)
        with temporary.open("r+b") as file:
            file.seek(8 + start)
            file.write(digest.encode())
    return digest


def about(path: Path) -> About:
    """Verify a model file and the files beside it, and return its description.

    Args:
        path: Model file.

    Raises:
        UserError: The file is not a model of this application or has another format, or one of the files is damaged.
    """
    # Read the header.
    raw = _header(path)
    try:
        header = json.loads(raw)
        header_text = header.pop("__metadata__")[KEY]
        content = json.loads(header_text)
        digest = content["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if KEY.encode() not in raw and isinstance(error, KeyError):
            raise UserError(f"{path} is not a model of this application: its metadata do not describe it") from error
        raise UserError(f"{path} is damaged: its header can't be read; copy it again") from error
    # Verify the digest and the format.
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest) or raw.count(digest.encode()) != 1:
        raise UserError(f"{path} is damaged: its header has no digest; copy it again")
    if _hash(path, digest) != digest:
        raise UserError(f"{path} is damaged: its content is not what was written; copy it again")
    if content.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {content.get('format')}, but this version reads format {FORMAT}; update this program"
        )
    # Read the description.
    try:
        shapes = {str(name): (str(t["dtype"]), tuple(map(int, t["shape"]))) for name, t in header.items()}
        found = About(
            digest,
            {str(name): str(value) for name, value in content["files"].items()},
            {str(side): str(kind) for side, kind in content["tokenizers"].items()},
            int(content["step"]),
            content["score"],
            str(content["monitor"]),
            shapes,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is refused: its metadata have another form: {str(error)[:200]}") from error
    # Verify the files beside the model.
    sides = set(found.tokenizers)
    if not {"target"} <= sides <= {"source", "target"} or set(found.files) != {CONFIG, *map(side_file, sides)}:
        raise UserError(f"{path} is refused: its metadata name other files than config.yaml and its tokenizers")
    for name, value in found.files.items():
        beside(path, name, value)
    return found


def beside(path: Path, name: str, digest: str) -> bytes:
    """Return the verified content of a file beside a model file.

    Args:
        path: Model file.
        name: Name of the other file.
        digest: SHA-256 of the other file.

    Raises:
        UserError: The other file can't be read, or is damaged.
    """
    file = path.parent / name
    try:
        # Do not read a device or a huge file.
        found = file.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_HEADER:
            raise UserError(f"{file} is damaged: it is not a file, or is larger than any config or tokenizer")
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file} can't be read ({error.strerror}); a model is the whole folder of {NAME}: copy all of it"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"{file} is damaged: its content is not what was written; copy it again")
    return content


def weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a verified model file.

    Args:
        path: Model file.

    Raises:
        UserError: A tensor can't be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is refused: its tensors can't be read: {str(error)[:200]}") from error


def best_of(folder: Path, digest: str | None) -> Path | None:
    """Return the file of the best model of a run.

    Args:
        folder: Directory of the checkpoints.
        digest: Digest of the best model; None if the run has no best model yet.

    Returns:
        ``model.safetensors``, or ``model.next.safetensors`` if the run was killed before it was renamed; None without
        a digest.

    Raises:
        UserError: Neither file has this digest.
    """
    if digest is None:
        return None
    # Look under both names, and collect the reasons why a file is refused.
    reasons = []
    for file in (folder / NAME, folder / NEXT):
        try:
            if file.exists() and about(file).digest == digest:
                return file
        except UserError as error:
            reasons.append(str(error))
    why = reasons[0] if reasons else f"{folder / NAME} does not exist, or belongs to another update"
    raise UserError(f"{folder / 'last.ckpt'} can't be resumed, because its best model is missing: {why}")


def settle(folder: Path, digest: str | None) -> None:
    """Rename ``model.next.safetensors`` if a run was killed before it did so, and remove it if it is not needed.

    Args:
        folder: Directory of the checkpoints.
        digest: Digest of the best model; None if the run has no best model yet.

    Raises:
        UserError: The best model is missing.
    """
    best, waiting = best_of(folder, digest), folder / NEXT
    if best == waiting:
        best.replace(folder / NAME)
        sync(folder)
    waiting.unlink(missing_ok=True)


def _header(path: Path) -> bytes:
    """Return the JSON at the start of a safetensors file."""
    try:
        with path.open("rb") as file:
            # The first 8 bytes are the length of the header.
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= min(LARGEST_HEADER, os.fstat(file.fileno()).st_size - 8):
                raise UserError(f"{path} is not a model file, or is damaged: it has no header of safetensors")
            return file.read(size)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error


def _hash(path: Path, digest: str | None) -> str:
    """Return the SHA-256 of a file, with zeros in place of its own ``digest``."""
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = int.from_bytes(head := file.read(8), "little")
            text = file.read(size)
            total.update(head)
            total.update(text if digest is None else text.replace(digest.encode(), BLANK.encode()))
            while block := file.read(BLOCK):
                total.update(block)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error
    return total.hexdigest()


def config_of(path: Path, found: About) -> Any:
    """Return the config beside a model file as plain data.

    Args:
        path: Model file.
        found: Description of the model.

    Raises:
        UserError: The config can't be read, or is damaged.
    """
    return plain.parse_yaml(beside(path, CONFIG, found.files[CONFIG]), str(path.parent / CONFIG))
