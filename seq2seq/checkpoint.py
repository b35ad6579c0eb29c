"""A trained model from what a run left, or a stranger sent: weights, config and tokenizers, as verified data.

Nothing but an encoder, a decoder and a codec is built of it, of classes that ``conf/`` names at their key, and only
once their sizes are known to be those of the weights. ``seq2seq.stored`` says how each file is opened.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from seq2seq.config.instantiate import at_key
from seq2seq.data.codec import Codec, build_codec
from seq2seq.data.record_policy import Policy
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq, build
from seq2seq.stored import config as stored
from seq2seq.stored import model_file, resume_file
from seq2seq.stored.model_file import Shapes
from seq2seq.stored.tuned_decoding import with_tuned

log = logging.getLogger(__name__)

OLD = ("best.ckpt", "last.ckpt")  # what runs left before there were model files, in the order of preference
MODEL = "model."  # where the LightningModule holds it
BACKBONE = "seq2seq.encoders.backbone.BackboneEncoder"
BUFFERS = 1 << 26  # numbers that a model may hold beside its weights


@dataclass(frozen=True)
class Checkpoint:
    """A model as it was stored: what evaluation, generation and ``training.init_from`` open."""

    path: Path
    config: DictConfig
    codec: Codec
    weights: dict[str, Tensor]

    def model(self) -> Seq2Seq:
        """Return the model with its weights, in evaluation mode."""
        model: Seq2Seq = stored.with_name(str(self.path), build, self.config, *self.codec.sizes)
        self.load_into(model)
        return model.eval()

    def load_into(self, model: Seq2Seq) -> None:
        """Give ``model`` the weights, which have to be its own kind's."""
        weights = dict(self.weights)
        for name, other in _shared(model).items():
            if name not in weights and other in weights:
                weights[name] = weights[other]
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(" ".join(str(error).split()).split(": ", 1)[-1:])[:200]
            raise UserError(f"{self.path}: the weights don't fit the config: {reason}") from error


def run_of(path: str | Path) -> Path:
    """Return the run directory that ``path``, a run directory, its ``checkpoints`` or a file there, belongs to."""
    path = Path(path)
    folder = path.parent if path.suffix in (".ckpt", ".safetensors") else path
    return folder.parent if folder.name == "checkpoints" else folder


def find(path: str | Path) -> Path:
    """Return the model file at ``path``, a file, a run directory or its ``checkpoints``.

    Raises:
        UserError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give a run directory (runs/DATA/MODEL/DATE_TIME) or its {model_file.NAME}"
        )
    for folder in (path / "checkpoints", path):
        for file in (folder / model_file.NAME, *(folder / name for name in OLD)):
            if file.is_file() and (file.suffix != ".ckpt" or resume_file.is_old(file)):
                return file
        if (folder / resume_file.NAME).is_file():
            raise UserError(
                f"{path} has no model yet, being stopped before its first validation: train.py resume={path} goes on"
            )
    raise UserError(f"{path} has no checkpoint: checkpoints/{model_file.NAME} is not there")


def find_last(path: str | Path) -> Path:
    """Return the file that ``resume=path`` goes on from.

    Raises:
        UserError: There is none, or ``path`` is a file of weights alone.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        raise UserError(f"resume={path} holds weights alone: resume=RUN goes on from checkpoints/{resume_file.NAME}")
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"resume={path} does not exist; give a run directory (runs/DATA/MODEL/DATE_TIME)")
    for folder in (path / "checkpoints", path):
        for name in (resume_file.NAME, "best.ckpt"):
            if (folder / name).is_file():
                return folder / name
    raise UserError(f"resume={path} has no checkpoint: checkpoints/{resume_file.NAME} is not there")


def load(path: str | Path) -> Checkpoint:
    """Open a model file, the run directory that has it, or its ``checkpoints``.

    Its config has the decoding options that were tuned for the run, if any were.

    Raises:
        UserError: Nothing is there; or it is damaged, no model of ours, or describes what no model can be. One line.
    """
    path = find(path)
    opened = _load_old(path) if path.suffix != ".safetensors" else _load(path)
    return replace(opened, config=with_tuned(opened.config, run_of(path)))


def stored_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config in the checkpoint that a run goes on from, and the whole of its content, verified."""
    content = resume_file.read(path)
    if missing := [key for key in resume_file.NEEDED if key not in content]:
        raise UserError(f"{path} is not a checkpoint that a run can go on from: it lacks {missing[0]}")
    old = "format" not in content
    if old:
        _warn(path)
    return stored.opened(content["config"], str(path), old=old), content


def check_resumed(config: dict[str, Any], content: Mapping[str, Any], path: Path) -> None:
    """Refuse a run that goes on whose config describes another model than its checkpoint has weights of."""
    old, weights = "format" not in content, weights_of(content["state_dict"])
    shapes = _shapes(weights, path)
    _described(copy.deepcopy(config), tokenizers_of(content, path), shapes, path, old=old)
    _keep_to_itself(config, str(path), old=old, cache=str(Path(str(config["data"]["cache"])) / "encoder"))


def tokenizers_of(content: Mapping[str, Any], path: Path) -> dict[str, Tokenizer]:
    """Return the tokenizers of each side in the content of a checkpoint."""
    found = content.get("tokenizers")
    if not isinstance(found, Mapping) or not {"target"} <= set(found) <= {"source", "target"}:
        raise UserError(f"{path} is not a checkpoint of this application: it lacks tokenizers")
    if not all(isinstance(state, Tensor) and state.dtype == torch.uint8 for state in found.values()):
        raise UserError(f"{path} is refused: its tokenizers are no bytes")
    return {side: stored.with_name(f"{path}, {side}", Tokenizer.from_state, state) for side, state in found.items()}


def _load(path: Path) -> Checkpoint:
    about = model_file.about(path)
    name = str(path.parent / model_file.CONFIG)
    config = stored.opened(model_file.config_of(path, about), name)
    models = {
        side: model_file.beside(path, file := model_file.side_file(side), about.files[file])
        for side in about.tokenizers
    }
    tokenizers = {
        side: stored.with_name(str(path.parent / model_file.side_file(side)), Tokenizer, models[side], kind)
        for side, kind in about.tokenizers.items()
    }
    if (path.parent / model_file.NEXT).exists():
        log.warning(
            "%s: the run was stopped while it saved a newer model; python train.py resume=%s puts it there",
            *(path, run_of(path)),
        )
    opened, codec = _described(config, tokenizers, about.shapes, path, old=False)
    return Checkpoint(path, opened, codec, model_file.weights(path))


def _load_old(path: Path) -> Checkpoint:
    """Open a checkpoint of before there was a format number."""
    if path.name == resume_file.NAME and not resume_file.is_old(path):
        raise UserError(
            f"{path} serves resume= alone: give its run directory, or {path.parent / model_file.NAME}, the best model"
        )
    content = resume_file.read(path)
    if "format" in content:
        raise UserError(f"{path} serves resume= alone: give a run directory, or its checkpoints/{model_file.NAME}")
    for key in ("config", "tokenizers", "state_dict"):
        if not isinstance(content.get(key), Mapping):
            raise UserError(f"{path} is not a checkpoint of this application: it lacks '{key}'")
    _warn(path)
    weights = weights_of(content["state_dict"])
    shapes = _shapes(weights, path)
    config = stored.opened(content["config"], str(path), old=True)
    opened, codec = _described(config, tokenizers_of(content, path), shapes, path, old=True)
    return Checkpoint(path, opened, codec, weights)


def weights_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the model in a LightningModule's state."""
    return {name.removeprefix(MODEL): weight for name, weight in state.items() if name.startswith(MODEL)}


def _shapes(weights: Mapping[str, Any], path: Path) -> Shapes:
    """Return the shapes that a model file would give of ``weights``."""
    if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError(f"{path} is refused: its weights are no tensors")
    return {n: ("F" if t.is_floating_point() else "I", tuple(t.shape)) for n, t in weights.items()}


def _warn(path: Path) -> None:
    log.warning("%s was written before checkpoints had a format number: damage to it can't be noticed", path)


def _described(
    config: dict[str, Any], tokenizers: Mapping[str, Tokenizer], shapes: Shapes, path: Path, *, old: bool
) -> tuple[DictConfig, Codec]:
    """Config and codec of a model that is known to have weights of just these shapes."""
    name = str(path)
    stored.check_model(config, name)
    _keep_to_itself(config, name, old=old)
    if (config["data"].get("images") is None) != ("source" in tokenizers):
        raise UserError(f"{name}: data.images and a tokenizer of sources exclude each other")
    with at_key("data"):
        policy = Policy(**{key: config["data"].get(key) for key in stored.WHOLE})
    opened = OmegaConf.create(config)
    codec = stored.with_name(name, build_codec, opened.data, tokenizers, policy)
    _check_fits(opened, codec.sizes, shapes, name)
    return opened, codec


def _keep_to_itself(config: dict[str, Any], name: str, *, old: bool, cache: str | None = None) -> None:
    """Change the encoder's options so that it fetches no network, and keeps files in ``cache`` or nowhere."""
    waiting = [config["encoder"]]
    while waiting:
        node = waiting.pop()
        waiting += [below for below in node.values() if isinstance(below, dict)]
        if node.get("_target_") == BACKBONE:
            if not node.get("architecture") and not old:
                raise UserError(f"{name}: encoder.architecture is missing: a network is not fetched by its name")
            node |= {"cache": cache if node.get("cache") is not None else None, "fetch": False}


def _check_fits(config: DictConfig, sizes: tuple[int, int], shapes: Shapes, name: str) -> None:
    """Refuse a config whose model would have other weights than ``shapes``, before it takes memory or time."""
    with _bounded(2 * len(shapes) + 200, 40 * len(shapes) + 4000), torch.device("meta"):
        model = stored.with_name(name, build, config, *sizes)
    own = {key: weight for key, weight in model.state_dict().items() if isinstance(weight, Tensor)}
    shared = _shared(model)
    if missing := sorted(key for key in own if key not in shapes and shared.get(key) not in shapes):
        raise UserError(f"{name}: the weights don't fit the config: {missing[0]} is missing")
    if more := sorted(set(shapes) - set(own)):
        raise UserError(f"{name}: the weights don't fit the config: it has no {more[0][:200]}")
    for key, (kind, shape) in shapes.items():
        if tuple(own[key].shape) != shape:
            raise UserError(
                f"{name}: the weights don't fit the config: {key} is {shape}, and by the config {tuple(own[key].shape)}"
            )
        if own[key].is_floating_point() != kind.startswith(("F", "BF")):
            raise UserError(f"{name}: the weights don't fit the config: {key} is of kind {kind}")
    beside = sum(buffer.numel() for key, buffer in model.named_buffers() if key not in own)
    if beside > BUFFERS:
        raise UserError(f"{name}: the config asks for {beside} numbers beside its weights, which no model needs")


def _shared(model: nn.Module) -> dict[str, str]:
    """Return {name of a weight: another name of the same} of what a file holds once."""
    names: dict[int, list[str]] = {}
    for name, tensor in [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]:
        names.setdefault(id(tensor), []).append(name)
    return {name: same[not place] for same in names.values() if len(same) > 1 for place, name in enumerate(same)}


@contextmanager
def _bounded(parameters: int, modules: int) -> Iterator[None]:
    """Refuse to build more than a file's weights can be of, such as ten million layers."""
    counts, me = {"parameters": 0, "modules": 0}, threading.get_ident()

    def counted(what: str, most: int) -> Any:
        def count(*_: Any) -> None:
            counts[what] += threading.get_ident() == me
            if counts[what] > most:
                raise UserError("the config describes a larger model than the file has weights of")

        return count

    handles = [
        hooks.register_module_parameter_registration_hook(counted("parameters", parameters)),
        hooks.register_module_module_registration_hook(counted("modules", modules)),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
