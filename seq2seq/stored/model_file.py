"""``model.safetensors`` with its config and tokenizers beside it: what people share of a run.

::

    checkpoints/model.safetensors   the weights; what else the model is stands in its metadata (``About``)
    checkpoints/config.yaml         the run's config, resolved, without trainer and loggers
    checkpoints/source.model        SentencePiece models of the sides that are text
    checkpoints/target.model

The metadata hold a SHA-256 of every file, of this one with the digest itself written as zeros: no byte can change
unnoticed.
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
KEY = "seq2seq"  # of the metadata
BLANK = "0" * 64
LARGEST_HEADER = 64 << 20
BLOCK = 1 << 20
LEFT_OUT = ("trainer", "logger", "budget")  # how training went is no part of a model

Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""{tensor: (kind, shape)}, a kind as safetensors write it: F32, I64, BOOL ..."""


@dataclass(frozen=True)
class About:
    """What a model file says of itself."""

    digest: str
    files: Mapping[str, str]  # {name: SHA-256} of what lies beside it
    tokenizers: Mapping[str, str]  # {side: type}
    step: int
    score: float | None
    monitor: str
    shapes: Shapes


def side_file(side: str) -> str:
    """Return the name of the tokenizer's file of a side."""
    return f"{side}.model"


def write_beside(
    folder: Path, config: Mapping[str, Any], tokenizers: Mapping[str, bytes], *, keep: bool
) -> dict[str, str]:
    """Write config and tokenizers once; ``keep`` leaves those that are there. Return the digest of each."""
    kept = {key: value for key, value in config.items() if key not in LEFT_OUT}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=1000)
    contents = {CONFIG: text.encode("utf-8"), **{side_file(side): model for side, model in tokenizers.items()}}
    digests = {}
    for name, content in contents.items():
        if keep and (folder / name).is_file():
            content = (folder / name).read_bytes()
        else:
            write_bytes(folder / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Write the weights with what ``about`` says of them, and return the digest of the file.

    Tensors that share their memory are written once, under the first of their names.
    """
    once: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        once.setdefault((tensor.data_ptr(), tensor.shape, tensor.dtype) if tensor.numel() else (name,), name)
    metadata = json.dumps({"format": FORMAT, **about, "sha256": BLANK}, sort_keys=True)
    with writing(path) as temporary:
        mode = temporary.stat().st_mode
        with told_as_os_error():
            save_file({n: tensors[n].detach().contiguous() for n in once.values()}, temporary, {KEY: metadata})
        temporary.chmod(mode)  # safetensors makes a file for the owner alone
        start = _header(temporary).find(BLANK.encode())
        digest = _hash(temporary, None)
        with temporary.open("r+b") as file:
            file.seek(8 + start)
            file.write(digest.encode())
    return digest


def about(path: Path) -> About:
    """Return what the model file ``path`` says of itself, once its bytes and those of the files beside it are verified.

    Raises:
        UserError: It is no model of this application, of a later format, or it or a file beside it is damaged.
    """
    raw = _header(path)
    try:
        header = json.loads(raw)
        header_text = header.pop("__metadata__")[KEY]
        content = json.loads(header_text)
        digest = content["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if KEY.encode() not in raw and isinstance(error, KeyError):
            raise UserError(f"{path} is not a model of this application: it does not say what it is") from error
        raise UserError(f"{path} is damaged: its header can't be read; take it from where it was copied") from error
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest) or raw.count(digest.encode()) != 1:
        raise UserError(f"{path} is damaged: its header has no digest; take it from where it was copied")
    if _hash(path, digest) != digest:
        raise UserError(f"{path} is damaged: its content is not what was written; take it from where it was copied")
    if content.get("format") != FORMAT:
        raise UserError(f"{path} is of format {content.get('format')}, and this version reads {FORMAT}: update it")
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
        raise UserError(f"{path} is refused: its metadata are not ours: {str(error)[:200]}") from error
    sides = set(found.tokenizers)
    if not {"target"} <= sides <= {"source", "target"} or set(found.files) != {CONFIG, *map(side_file, sides)}:
        raise UserError(f"{path} is refused: its metadata name other files than config.yaml and its tokenizers")
    for name, value in found.files.items():
        beside(path, name, value)
    return found


def beside(path: Path, name: str, digest: str) -> bytes:
    """Return the verified content of the file ``name`` beside the model file ``path``."""
    file = path.parent / name
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_HEADER:
            raise UserError(f"{file} is damaged: it is no file, or larger than any config or tokenizer")
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file} can't be read ({error.strerror}): a model is the whole folder of {NAME}, copy all of it"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"{file} is damaged: its content is not what was written; take it from where it was copied")
    return content


def weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a verified model file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is refused: its tensors can't be read: {str(error)[:200]}") from error


def best_of(folder: Path, digest: str | None) -> Path | None:
    """Return the file in ``folder`` that is the best model with ``digest``, in its place or beside it; None if none is.

    Raises:
        UserError: Neither is that model.
    """
    if digest is None:
        return None
    reasons = []
    for file in (folder / NAME, folder / NEXT):
        try:
            if file.exists() and about(file).digest == digest:
                return file
        except UserError as error:
            reasons.append(str(error))
    why = reasons[0] if reasons else f"{folder / NAME} is not there, or of another moment"
    raise UserError(f"{folder / 'last.ckpt'} goes on from a run whose best model is missing: {why}")


def settle(folder: Path, digest: str | None) -> None:
    """Put the best model with ``digest`` into its place, where a run was killed before it did."""
    best, waiting = best_of(folder, digest), folder / NEXT
    if best == waiting:
        best.replace(folder / NAME)
        sync(folder)
    waiting.unlink(missing_ok=True)


def _header(path: Path) -> bytes:
    """Return the JSON at the start of a safetensors file."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= min(LARGEST_HEADER, os.fstat(file.fileno()).st_size - 8):
                raise UserError(f"{path} is not a model file, or damaged: it has no header of safetensors")
            return file.read(size)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error


def _hash(path: Path, digest: str | None) -> str:
    """Return the SHA-256 of a file whose own ``digest`` is taken for zeros."""
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
    """Return the content of the config beside a model file, as plain data."""
    return plain.parse_yaml(beside(path, CONFIG, found.files[CONFIG]), str(path.parent / CONFIG))
