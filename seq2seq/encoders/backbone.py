"""Networks trained on other images as encoders, frozen or trained on, of ``transformers`` or ``timm`` (extras).

Shapes: N images, h rows and w columns of pixels, S cells, F channels of the network, D width.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seq2seq.attention.types import AttentionOutput, Memory
from seq2seq.batch import ImageBatch
from seq2seq.config.nodes import leaves
from seq2seq.config.ranges import Share, Width
from seq2seq.encoders.image import MEAN, STD, GridEncoder, cells
from seq2seq.errors import UserError
from seq2seq.files import sealed
from seq2seq.layers.dropout import Dropout

PROBED = 224  # pixels of the side that tells a network's stride


@dataclass(frozen=True)
class Backbone:
    """A network, how its last feature map (N, F, rows, columns) is asked for, and what it takes pixels to be."""

    network: nn.Module
    features: Callable[[nn.Module, Tensor], Tensor]
    network_config: Mapping[str, Any] | str  # of which the library builds the same network
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD


class BackboneEncoder(GridEncoder):
    """The last feature map of a network trained on other images, projected to the memory's width.

    ``name`` is a model of the Hugging Face hub that has a backbone, or a folder with one (``library: transformers``),
    or a model of ``timm``. It is trained from the share ``train_from`` of training on (below 1), or from that update on
    (1 or more), or never where that is None. With ``cache``, what a network that is never trained makes of an image is
    kept in that folder, once for all runs, by its weights and the image's pixels. ``pretrained=false`` starts from
    random weights. A stored model has an ``architecture``, of which it is built without looking ``name`` up; with
    ``fetch=false`` a name is looked up on this machine alone.
    """

    progress: Tensor
    updates: Tensor

    def __init__(
        self,
        vocabulary: int | None,
        *,
        dim: Width,
        name: str,
        library: str = "transformers",
        pretrained: bool = True,
        train_from: float | None = None,
        cache: str | None = None,
        dropout: Share = 0.0,
        architecture: Mapping[str, Any] | None = None,
        fetch: bool = True,
    ) -> None:
        if library not in LIBRARIES:
            raise UserError(f"library={library} is none of: {', '.join(LIBRARIES)}")
        if train_from is not None and not (0.0 <= train_from < 1.0 or train_from == int(max(train_from, 1))):
            raise UserError(
                f"train_from={train_from} must be a share of training (0 or more and below 1), a number of "
                "updates, or null"
            )
        if cache is not None and (train_from is not None or not pretrained):
            raise UserError(
                f"cache={cache} keeps what a pretrained network says that is never trained: use train_from=null"
            )
        if architecture is not None:
            found = _stored(library, architecture)
        else:
            found = LIBRARIES[library](name, pretrained, fetch)
        self_architecture = {"network": found.network_config, "mean": list(found.mean), "std": list(found.std)}
        try:
            with torch.no_grad():
                probe = found.features(found.network.eval(), torch.zeros(1, 3, PROBED, PROBED))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"name={name} does not take images of {PROBED} x {PROBED} pixels ({reason}); choose a "
                "network for images of any size"
            ) from error
        super().__init__(dim, PROBED // probe.shape[2])
        self.architecture: dict[str, Any] = self_architecture  # what a stored model is built of
        self.network, self.features = found.network, found.features
        self.mean.copy_(torch.tensor(found.mean).view(3, 1, 1))
        self.std.copy_(torch.tensor(found.std).view(3, 1, 1))
        self.train_from = train_from
        self.cache = None if cache is None else Path(cache)
        self.project = nn.Linear(probe.shape[1], dim)
        self.dropout = Dropout(dropout)
        self.network.requires_grad_(train_from is not None)
        self.register_buffer("progress", torch.zeros(()), persistent=False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long), persistent=False)

    @property
    def trains_later(self) -> bool:
        """Whether the network waits for its turn."""
        return bool(self.train_from)

    def set_progress(self, progress: float, updates: int) -> None:
        """How far training has come, from 0 to 1, and after how many updates."""
        self.progress.fill_(progress)
        self.updates.fill_(updates)

    @property
    def awaited_share(self) -> str | None:
        """``train_from``, where it is a share of training and not a number of updates."""
        return f"train_from={self.train_from}" if 0 < (self.train_from or 0) < 1 else None

    def describe(self, node: dict[str, Any]) -> None:
        """Add what the network is built of without looking its name up."""
        node["architecture"] = self.architecture

    def train(self, mode: bool = True) -> BackboneEncoder:
        """What is not trained stays in evaluation mode: its norms keep the statistics that they came with."""
        super().train(mode)
        self.network.train(mode and self._learns)
        return self

    @property
    def _learns(self) -> bool:
        if self.train_from is None:
            return False
        return bool((self.progress if self.train_from < 1 else self.updates) >= self.train_from)

    @cached_property
    def key(self) -> bytes:
        """What is kept depends on it: the network, its weights, and how pixels are made its."""
        found = hashlib.sha256(repr(self.network).encode())
        for name, tensor in [*self.network.state_dict().items(), ("mean", self.mean), ("std", self.std)]:
            found.update(f"{name} {tuple(tensor.shape)} ".encode())
            found.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.digest()

    def look(self, images: ImageBatch, need_weights: bool) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """The first of the images that the network learns from turns its training mode on."""
        if self.training and self._learns != self.network.training:
            self.network.train(self._learns)
        if self.cache is None or not images.files:
            return super().look(images, need_weights)
        return self._cells(self._kept(images, self.cache), images.sizes[:, 1:])

    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """Cells of the last feature map."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._learns):
            grid = self.features(self.network, x)
        return self._cells(grid, sizes)

    def _cells(self, grid: Tensor, sizes: Tensor) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        memory = cells(grid, -(-sizes // self.stride))
        return self.dropout(self.project(memory.values)), memory, ()

    def _kept(self, images: ImageBatch, folder: Path) -> Tensor:
        """(N, F, rows, columns), from the files of ``folder``; what is not there is computed and put there."""
        places = []
        for pixels, size in zip(images.pixels.cpu(), images.sizes.tolist(), strict=True):
            about = self.key + f"{size} ".encode()  # what is padding the pixels don't tell
            places.append(folder / hashlib.sha256(about + pixels.numpy().tobytes()).hexdigest()[:32])
        grids = [_read(place) for place in places]
        missing = [n for n, grid in enumerate(grids) if grid is None]
        if missing:
            chosen = torch.tensor(missing, device=images.sizes.device)
            some = ImageBatch(images.pixels[chosen], images.sizes[chosen], chosen)
            with torch.no_grad():
                made = self.features(self.network, self.normalised(some))
            for n, grid in zip(missing, made.half().cpu(), strict=True):
                grids[n] = grid
                _write(places[n], grid)
        return torch.stack([grid for grid in grids if grid is not None]).to(self.project.weight)


def _read(file: Path) -> Tensor | None:
    """A grid of features (F, rows, columns), if it is there and whole."""
    found = sealed.content(file)
    if found is None:
        return None
    content, about = found
    return torch.from_numpy(np.frombuffer(content, np.float16).reshape(about["shape"]).copy())


def _write(file: Path, grid: Tensor) -> None:
    with sealed.writing(file, "set cache=DIR of the encoder", lambda: {"shape": list(grid.shape)}) as temporary:
        temporary.write_bytes(grid.contiguous().numpy().tobytes())


def _transformers(name: str, pretrained: bool, fetch: bool) -> Backbone:
    """The last stage of a model of Hugging Face, by its ``AutoBackbone``."""
    try:
        from transformers import AutoBackbone, AutoConfig
    except ImportError as error:
        raise UserError(f"library=transformers: {error}; pip install transformers") from error
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=not fetch)
        config.out_indices = None
        config.out_features = [config.stage_names[-1]]
        known = AutoBackbone.from_config(config)
        if pretrained and torch.get_default_device().type != "meta":  # by its class: AutoBackbone always asks the hub
            known = type(known).from_pretrained(name, config=config, local_files_only=not fetch)
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"name={name} can't be loaded as a backbone of transformers: {reason}") from error
    told = {key: value for key, value in config.to_dict().items() if key not in BESIDE_THE_NETWORK}
    return Backbone(known, _last_feature_map, json.loads(json.dumps(told, default=str)), *_statistics(name, fetch))


BESIDE_THE_NETWORK = ("id2label", "label2id", "architectures", "transformers_version", "_name_or_path", "dtype")


def _stored(library: str, architecture: Mapping[str, Any]) -> Backbone:
    """A network of what a stored model says of it, without weights; nothing is looked up."""
    network = architecture.get("network")
    mean, std = (_three_numbers(architecture.get(key)) for key in ("mean", "std"))
    if library == "timm" and isinstance(network, str) and re.fullmatch(r"\w+(\.\w+)?", network):
        found = _timm(network, pretrained=False, fetch=False)
        return replace(found, mean=mean, std=std)
    if library != "transformers" or not isinstance(network, Mapping) or not isinstance(network.get("model_type"), str):
        raise UserError(f"architecture: network is nothing that {library} builds")
    for key, value in leaves(network):
        if re.search("backbone|auto_map|implementation|quantization", key):
            raise UserError(f"architecture: {key} is refused: it names another network, or code for this one")
        if isinstance(value, str) and not re.fullmatch(r"[\w.+-]*", value):  # the hub's names have a stroke or a colon
            raise UserError(f"architecture: {key}={value[:100]!r} is refused: no network needs such a word")
    try:
        from transformers import AutoBackbone, AutoConfig
    except ImportError as error:
        raise UserError(f"library=transformers: {error}; pip install transformers") from error
    try:
        known = AutoBackbone.from_config(AutoConfig.for_model(**network))
    except Exception as error:  # whatever transformers' constructors stumble over
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"architecture: it is no backbone of transformers: {reason}") from error
    return Backbone(known, _last_feature_map, dict(network), mean, std)


def _three_numbers(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(x, int | float) for x in value):
        raise UserError("architecture: mean and std must be three numbers each")
    return value


def _last_feature_map(network: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = network(x).feature_maps[-1]
    return found


def _statistics(name: str, fetch: bool) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of the pixels that a model of Hugging Face was trained on; ImageNet's if it does not say."""
    from transformers import ImageProcessingMixin

    try:
        said: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(name, local_files_only=not fetch)[0]
    except OSError:
        return MEAN, STD
    return said.get("image_mean") or MEAN, said.get("image_std") or STD


def _timm(name: str, pretrained: bool, fetch: bool) -> Backbone:
    """The last feature map of a model of timm."""
    if not fetch and not re.fullmatch(r"\w+(\.\w+)?", name):
        raise UserError(f"name={name} is not looked up for a stored model: it is no name of timm's own")
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch
        raise UserError(f"library=timm: {error}; pip install timm") from error
    try:
        network = timm.create_model(name, pretrained=pretrained and fetch, features_only=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"name={name} can't be loaded as features of timm: {reason}") from error
    about = getattr(network, "pretrained_cfg", None) or {}
    width = network.feature_info.channels()[-1]
    told = str(about.get("architecture") or name)
    return Backbone(network, partial(_last_map, width), told, about.get("mean", MEAN), about.get("std", STD))


def _last_map(width: int, network: nn.Module, x: Tensor) -> Tensor:
    """(N, F, rows, columns), F = ``width``, of networks that give (N, rows, columns, F) too."""
    grid: Tensor = network(x)[-1]
    return grid if grid.shape[1] == width else grid.permute(0, 3, 1, 2)


LIBRARIES: dict[str, Callable[[str, bool, bool], Backbone]] = {"transformers": _transformers, "timm": _timm}
