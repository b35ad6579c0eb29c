"""Opening a checkpoint without running anybody's code: weights, config and tokenizers, as plain data.

The file is a Lightning checkpoint that also carries ``config`` (a plain dict) and ``tokenizers`` (uint8 tensors).
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from seq2seq.config import build_node, plain
from seq2seq.data.codec import Codec, ImageCodec, TextCodec
from seq2seq.data.records import Policy
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq, build

CHECKPOINTS = ("best.ckpt", "last.ckpt")  # in the order of preference
MODEL = "model."  # where the LightningModule holds it


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds for evaluation and generation; the optimiser's part is left on the disk."""

    path: Path
    config: DictConfig
    codec: Codec
    weights: dict[str, Tensor]

    @property
    def run(self) -> Path:
        """The directory of the run that made it."""
        return run_of(self.path)

    def model(self) -> Seq2Seq:
        """The model with its weights, in evaluation mode."""
        model = build(self.config, *self.codec.sizes)
        self.load_into(model)
        return model.eval()

    def load_into(self, model: Seq2Seq) -> None:
        """Gives ``model`` the weights, which have to be its own kind's."""
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            reason = " ".join(" ".join(str(error).split()).split(": ", 1)[-1:])[:200]
            raise UserError(f"{self.path}: the weights don't fit the config: {reason}") from error


def run_of(path: str | Path) -> Path:
    """The run directory that ``path``, a run directory or one of its checkpoints, belongs to."""
    path = Path(path)
    if path.suffix != ".ckpt":
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def find(path: str | Path, names: tuple[str, ...] = CHECKPOINTS) -> Path:
    """The checkpoint file at ``path``, or the first of ``names`` in the run directory at ``path``."""
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"{path} does not exist; give a run directory (runs/DATA/MODEL/DATE_TIME) or a .ckpt file")
    for name in names:
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    raise UserError(f"{path} has no checkpoint: neither checkpoints/{' nor checkpoints/'.join(names)} is there")


def load(path: str | Path) -> Checkpoint:
    """Opens a run directory (its best checkpoint) or a checkpoint file.

    Raises:
        UserError: nothing is there, or the file is no checkpoint of ours, or holds more than plain data.
    """
    path = find(path)
    content = read(path)
    try:
        config, tokenizers, state = content["config"], content["tokenizers"], content["state_dict"]
        weights = {name.removeprefix(MODEL): w for name, w in state.items() if name.startswith(MODEL)}
        opened = {side: Tokenizer.from_state(state) for side, state in tokenizers.items()}
        target = opened["target"]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a checkpoint of this application: it lacks {error}") from error
    composed = OmegaConf.create(config)
    data = {name: value for name, value in plain(composed.data).items() if value is not None}
    limits: dict[str, Any] = {
        name: data.get(name) for name in ("max_source_tokens", "max_source_sentences", "max_target_tokens")
    }
    policy = Policy(**limits)
    codec: Codec
    if "source" not in opened:
        codec = ImageCodec(build_node(data["images"]), target, policy)
    else:
        codec = TextCodec(opened["source"], target, data.get("documents", False), data.get("copy", False), policy)
    return Checkpoint(path, composed, codec, weights)


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file: dicts, strings, numbers and tensors, or a refusal."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is refused: it holds more than plain data, which could run code") from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint, or not a whole one") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint of this application")
    return content
