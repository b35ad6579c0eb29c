"""Loading of trained models: weights, config and tokenizers, verified because a file may come from a stranger.

Only an encoder, a decoder and a codec are built from a file. Their classes must be named in ``conf/`` for their key,
and their sizes are compared with the weights before anything large is built. ``seq2seq.stored`` opens the files.
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

from seq2seq.config.extensions import command
from seq2seq.config.instantiate import at_key
from seq2seq.data.codec import Codec, build_codec
from seq2seq.data.record_policy import Policy
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq, build, without_memory
from seq2seq.stored import config as stored
from seq2seq.stored import model_file, resume_file
from seq2seq.stored.model_file import Shapes
from seq2seq.stored.tuned_decoding import with_tuned

log = logging.getLogger(__name__)

OLD = ("best.ckpt", "last.ckpt")  # checkpoints of runs before there were model files, in order of preference
MODEL = "model."  # prefix of the model's weights in the state of the LightningModule
BACKBONE = "seq2seq.encoders.backbone.BackboneEncoder"
BUFFERS = 1 << 26  # most numbers in buffers that are not stored


@dataclass(frozen=True)
class Checkpoint:
    """A stored model, for evaluation, generation and ``training.init_from``."""

    path: Path  # the file of the weights
    config: DictConfig
    codec: Codec  # its tokenizers
    weights: dict[str, Tensor]  # {name: weight}

    def model(self) -> Seq2Seq:
        """Return the model with its weights, in evaluation mode."""
        model: Seq2Seq = stored.with_name(str(self.path), build, self.config, *self.codec.sizes)
        self.load_into(model)
        return model.eval()

    def weights_for(self, model: Seq2Seq) -> dict[str, Tensor]:
        """Return the weights, also under the names of weights that are shared: a file stores them under one name.

        Args:
            model: Model that shares weights.
        """
        weights = dict(self.weights)
        for name, other in _shared(model).items():
            if name not in weights and other in weights:
                weights[name] = weights[other]
        return weights

    def load_into(self, model: Seq2Seq) -> None:
        """Load the weights into a model.

        Args:
            model: A model with the architecture of the config.

        Raises:
            UserError: The weights do not fit the model.
        """
        weights = self.weights_for(model)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(" ".join(str(error).split()).split(": ", 1)[-1:])[:200]
            raise UserError(f"{self.path}: the weights do not fit the config: {reason}") from error


def run_of(path: str | Path) -> Path:
    """Return the directory of a run.

    Args:
        path: A run directory, its ``checkpoints``, or a file in one of them.
    """
    path = Path(path)
    folder = path.parent if path.suffix in (".ckpt", ".safetensors") else path
    return folder.parent if folder.name == "checkpoints" else folder


def find(path: str | Path) -> Path:
    """Find a model file.

    Args:
        path: The file, a run directory, or its ``checkpoints``.

    Returns:
        The model file or, for an old run, its checkpoint.

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
        # A stopped run may have a checkpoint for resuming but no model.
        if (folder / resume_file.NAME).is_file():
            raise UserError(
                f"{path} has no model yet: it was stopped before its first validation; continue with "
                f"{command('train')} resume={path}"
            )
    raise UserError(f"{path} has no checkpoint: checkpoints/{model_file.NAME} is missing")


def find_last(path: str | Path) -> Path:
    """Find the checkpoint from which a run is resumed.

    Args:
        path: The checkpoint, a run directory, or its ``checkpoints``.

    Raises:
        UserError: There is none, or ``path`` is a file with weights only.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        raise UserError(
            f"resume={path} holds only weights; give the run directory, which has checkpoints/{resume_file.NAME}"
        )
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"resume={path} does not exist; give a run directory (runs/DATA/MODEL/DATE_TIME)")
    for folder in (path / "checkpoints", path):
        for name in (resume_file.NAME, "best.ckpt"):
            if (folder / name).is_file():
                return folder / name
    raise UserError(f"resume={path} has no checkpoint: checkpoints/{resume_file.NAME} is missing")


def load(path: str | Path) -> Checkpoint:
    """Load a stored model. Its config has the decoding options that were tuned for the run, if any.

    Args:
        path: A model file, a run directory, or its ``checkpoints``.

    Raises:
        UserError: There is no model; or it is damaged, not of this application, or invalid. The message has one line.
    """
    path = find(path)
    opened = _load_old(path) if path.suffix != ".safetensors" else _load(path)
    return replace(opened, config=with_tuned(opened.config, run_of(path)))


def stored_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint for resuming, and verify it.

    Args:
        path: The checkpoint.

    Returns:
        The config, and the whole content.

    Raises:
        UserError: The checkpoint is damaged or incomplete.
    """
    content = resume_file.read(path)
    if missing := [key for key in resume_file.NEEDED if key not in content]:
        raise UserError(f"{path} is not a checkpoint for resume=: it lacks {missing[0]}")
    old = "format" not in content
    if old:
        _warn(path)
    return stored.opened(content["config"], str(path), old=old), content


def check_resumed(config: dict[str, Any], content: Mapping[str, Any], path: Path) -> None:
    """Refuse to resume a run whose config describes another model than its checkpoint holds.

    Args:
        config: Config of the run; its encoder's options are changed so that it uses only local files.
        content: Content of the checkpoint.
        path: The checkpoint.

    Raises:
        UserError: The weights do not fit the config.
    """
    old, weights = "format" not in content, weights_of(content["state_dict"])
    shapes = _shapes(weights, path)
    # The check changes its config, so it gets a copy.
    _described(copy.deepcopy(config), tokenizers_of(content, path), shapes, path, old=old)
    _keep_to_itself(config, str(path), old=old, cache=str(Path(str(config["data"]["cache"])) / "encoder"))


def tokenizers_of(content: Mapping[str, Any], path: Path) -> dict[str, Tokenizer]:
    """Return the tokenizers in a checkpoint.

    Args:
        content: Content of the checkpoint.
        path: The checkpoint, for messages.

    Returns:
        {"source": ..., "target": ...}; images have no source tokenizer.

    Raises:
        UserError: The tokenizers are missing or invalid.
    """
    found = content.get("tokenizers")
    if not isinstance(found, Mapping) or not {"target"} <= set(found) <= {"source", "target"}:
        raise UserError(f"{path} is not a checkpoint of this application: it lacks tokenizers")
    if not all(isinstance(state, Tensor) and state.dtype == torch.uint8 for state in found.values()):
        raise UserError(f"{path} is refused: its tokenizers are not byte tensors")
    return {side: stored.with_name(f"{path}, {side}", Tokenizer.from_state, state) for side, state in found.items()}


def _load(path: Path) -> Checkpoint:
    """Open a model file with the config and the tokenizers beside it."""
    # Read the config and the tokenizers; each file is verified by its digest.
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
    # Warn of a newer model that was not completed.
    if (path.parent / model_file.NEXT).exists():
        log.warning(
            "%s: the run was stopped while it saved a newer model; %s resume=%s completes it",
            *(path, command("train"), run_of(path)),
        )
    # The weights are read last, after the config was checked with their shapes.
    opened, codec = _described(config, tokenizers, about.shapes, path, old=False)
    return Checkpoint(path, opened, codec, model_file.weights(path))


def _load_old(path: Path) -> Checkpoint:
    """Open a checkpoint from the time before format numbers."""
    # Refuse current checkpoints, which are not verified as models.
    if path.name == resume_file.NAME and not resume_file.is_old(path):
        raise UserError(
            f"{path} is only for resume=; give its run directory or {path.parent / model_file.NAME}, the best model"
        )
    content = resume_file.read(path)
    if "format" in content:
        raise UserError(f"{path} is only for resume=; give a run directory or its checkpoints/{model_file.NAME}")
    # Check that all parts exist.
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
    """Return the weights of the model.

    Args:
        state: State dict of the LightningModule.
    """
    return {name.removeprefix(MODEL): weight for name, weight in state.items() if name.startswith(MODEL)}


def _shapes(weights: Mapping[str, Any], path: Path) -> Shapes:
    """Return the shapes of weights in the form of a model file."""
    if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError(f"{path} is refused: its weights are not tensors")
    return {n: ("F" if t.is_floating_point() else "I", tuple(t.shape)) for n, t in weights.items()}


def _warn(path: Path) -> None:
    """Warn that an old checkpoint has no checksums."""
    log.warning("%s was written before checkpoints had a format number; damage cannot be detected", path)


def _described(
    config: dict[str, Any], tokenizers: Mapping[str, Tokenizer], shapes: Shapes, path: Path, *, old: bool
) -> tuple[DictConfig, Codec]:
    """Return the config and the codec of a model, after a check that its weights have these shapes."""
    name = str(path)
    # Check the options.
    stored.check_model(config, name)
    _keep_to_itself(config, name, old=old)
    if (config["data"].get("images") is None) != ("source" in tokenizers):
        raise UserError(f"{name}: the source needs either data.images or a tokenizer, not both or neither")
    # Build the codec, which gives the sizes of the vocabularies.
    with at_key("data"):
        policy = Policy(**{key: config["data"].get(key) for key in stored.WHOLE})
    opened = OmegaConf.create(config)
    codec = stored.with_name(name, build_codec, opened.data, tokenizers, policy)
    _check_fits(opened, codec.sizes, shapes, name)
    return opened, codec


def _keep_to_itself(config: dict[str, Any], name: str, *, old: bool, cache: str | None = None) -> None:
    """Change the encoder's options so that it downloads nothing, and writes files only to ``cache``, if at all."""
    waiting = [config["encoder"]]
    while waiting:
        node = waiting.pop()
        waiting += [below for below in node.values() if isinstance(below, dict)]
        if node.get("_target_") == BACKBONE:
            if not node.get("architecture") and not old:
                raise UserError(f"{name}: encoder.architecture is missing; a stored model never downloads its backbone")
            node |= {"cache": cache if node.get("cache") is not None else None, "fetch": False}


def _check_fits(config: DictConfig, sizes: tuple[int, int], shapes: Shapes, name: str) -> None:
    """Refuse a config whose model has other weights than ``shapes``, before it takes memory or time."""
    # Build the model on the meta device, without memory and with a limited size.
    with _bounded(2 * len(shapes) + 200, 40 * len(shapes) + 4000), without_memory():
        model = stored.with_name(name, build, config, *sizes)
    own = {key: weight for key, weight in model.state_dict().items() if isinstance(weight, Tensor)}
    shared = _shared(model)
    # Compare names, shapes and kinds.
    misfit = f"{name}: the weights do not fit the config"
    if missing := sorted(key for key in own if key not in shapes and shared.get(key) not in shapes):
        raise UserError(f"{misfit}: {missing[0]} is missing")
    if more := sorted(set(shapes) - set(own)):
        raise UserError(f"{misfit}: it has no {more[0][:200]}")
    for key, (kind, shape) in shapes.items():
        if tuple(own[key].shape) != shape:
            raise UserError(f"{misfit}: {key} has shape {shape} and in the config {tuple(own[key].shape)}")
        if own[key].is_floating_point() != kind.startswith(("F", "BF")):
            raise UserError(f"{misfit}: {key} is of kind {kind}")
    # Limit the buffers that no file stores.
    unstored = sum(buffer.numel() for key, buffer in model.named_buffers() if key not in own)
    if unstored > BUFFERS:
        raise UserError(
            f"{name}: the config asks for {unstored} numbers besides the weights, more than any model needs"
        )


def _shared(model: nn.Module) -> dict[str, str]:
    """Return {name of a weight: another name of the same weight}; a file stores such a weight once."""
    # Group the names of each tensor.
    names: dict[int, list[str]] = {}
    for name, tensor in [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]:
        names.setdefault(id(tensor), []).append(name)
    return {name: same[not place] for same in names.values() if len(same) > 1 for place, name in enumerate(same)}


@contextmanager
def _bounded(parameters: int, modules: int) -> Iterator[None]:
    """Refuse to build a model that is larger than the weights of its file, such as ten million layers."""
    # Other threads may build models at the same time; count only this thread.
    counts, me = {"parameters": 0, "modules": 0}, threading.get_ident()

    def counted(what: str, most: int) -> Any:
        """Return a hook that counts what is registered, and refuses more than ``most``."""

        def count(*_: Any) -> None:
            counts[what] += threading.get_ident() == me
            if counts[what] > most:
                raise UserError("the config describes a larger model than the weights of the file")

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
