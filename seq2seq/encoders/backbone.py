"""Pretrained networks of ``transformers`` or ``timm`` (extras) as encoders of images, frozen or fine-tuned.

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
from typing_extensions import override

from seq2seq.attention.types import AttentionOutput, Memory
from seq2seq.batch import ImageBatch
from seq2seq.config.nodes import leaves
from seq2seq.config.ranges import Share, Width
from seq2seq.encoders.image import MEAN, STD, GridEncoder, cells
from seq2seq.errors import UserError
from seq2seq.files import sealed
from seq2seq.layers.dropout import Dropout

PROBED = 224  # pixels along one side of the image that measures a network's stride


@dataclass(frozen=True)
class Backbone:
    """Network that gives a feature map, and the normalisation of pixels that it expects."""

    network: nn.Module
    features: Callable[[nn.Module, Tensor], Tensor]  # (network, pixels) -> last feature map (N, F, rows, columns)
    network_config: Mapping[str, Any] | str  # config or name from which the library builds the same network
    mean: Sequence[float] = MEAN  # of each colour
    std: Sequence[float] = STD  # of each colour


class BackboneEncoder(GridEncoder):
    """Last feature map of a pretrained network, projected to the width of the memory.

    Args:
        vocabulary: Not used, since the sources are images.
        dim: Width D of a cell.
        name: Model of the Hugging Face hub that has a backbone, or a folder with one, or a model of timm.
        library: Library of the network: "transformers" or "timm".
        pretrained: Whether to start from pretrained weights; if False, they are random.
        train_from: When training of the network starts: a share of training (below 1), a number of updates (1 or more),
            or None to keep it frozen.
        cache: Folder that stores the features of a frozen network for all runs; a file is found by the weights of the
            network and the pixels of the image. None to compute features each time.
        dropout: Dropout probability of the cells.
        architecture: Description of the network in a stored model, from which it is built without a look-up of
            ``name``.
        fetch: Whether ``name`` may be looked up on the hub; if False, it is looked up on this machine only.

    Raises:
        UserError: An option has a wrong value, or the network cannot be loaded or does not take images of any size.

    Attributes:
        progress: Share of training that is done.
        updates: Number of updates that are done.
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
        # Check options.
        if library not in LIBRARIES:
            raise UserError(f"library={library} is unknown; choose one of {', '.join(LIBRARIES)}")
        if train_from is not None and not (0.0 <= train_from < 1.0 or train_from == int(max(train_from, 1))):
            raise UserError(
                f"train_from={train_from} must be a share of training (0 or more and below 1), a number of "
                "updates, or null"
            )
        if cache is not None and (train_from is not None or not pretrained):
            raise UserError(
                f"cache={cache} stores features of a pretrained network that is never trained; set train_from=null "
                "and pretrained=true"
            )
        # Build the network.
        if architecture is not None:
            backbone = _stored(library, architecture)
        else:
            backbone = LIBRARIES[library](name, pretrained, fetch)
        description = {"network": backbone.network_config, "mean": list(backbone.mean), "std": list(backbone.std)}
        # Measure the stride and the width of its last feature map.
        try:
            with torch.no_grad():
                probe = backbone.features(backbone.network.eval(), torch.zeros(1, 3, PROBED, PROBED))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"name={name} does not take images of {PROBED} x {PROBED} pixels ({reason}); choose a "
                "network for images of any size"
            ) from error
        # Set up the layers.
        super().__init__(dim, PROBED // probe.shape[2])
        self.architecture: dict[str, Any] = description  # description from which a stored model builds the network
        self.network, self.features = backbone.network, backbone.features
        self.mean.copy_(torch.tensor(backbone.mean).view(3, 1, 1))
        self.std.copy_(torch.tensor(backbone.std).view(3, 1, 1))
        self.train_from = train_from
        self.cache = None if cache is None else Path(cache)
        self.project = nn.Linear(probe.shape[1], dim)
        self.dropout = Dropout(dropout)
        self.network.requires_grad_(train_from is not None)
        self.register_buffer("progress", torch.zeros(()), persistent=False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long), persistent=False)

    @property
    @override
    def trains_later(self) -> bool:
        return bool(self.train_from)

    @override
    def set_progress(self, progress: float, updates: int) -> None:
        self.progress.fill_(progress)
        self.updates.fill_(updates)

    @property
    @override
    def awaited_share(self) -> str | None:
        return f"train_from={self.train_from}" if 0 < (self.train_from or 0) < 1 else None

    @override
    def describe(self, node: dict[str, Any]) -> None:
        node["architecture"] = self.architecture

    def train(self, mode: bool = True) -> BackboneEncoder:
        """Set the training mode; a frozen network stays in evaluation mode.

        Thus its batch norms keep the statistics of pretraining.

        Args:
            mode: Whether to train.

        Returns:
            The encoder itself.
        """
        super().train(mode)
        self.network.train(mode and self._learns)
        return self

    @property
    def _learns(self) -> bool:
        """True if the network is trained at this point of training."""
        if self.train_from is None:
            return False
        return bool((self.progress if self.train_from < 1 else self.updates) >= self.train_from)

    @cached_property
    def key(self) -> bytes:
        """Digest of all that features depend on: the network, its weights and the normalisation of pixels."""
        digest = hashlib.sha256(repr(self.network).encode())
        for name, tensor in [*self.network.state_dict().items(), ("mean", self.mean), ("std", self.std)]:
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.digest()

    @override
    def look(self, images: ImageBatch, need_weights: bool) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """Encode images, or read their features from the cache."""
        # The network may start to learn between two calls of ``train``.
        if self.training and self._learns != self.network.training:
            self.network.train(self._learns)
        if self.cache is None or not images.files:
            return super().look(images, need_weights)
        return self._cells(self._kept(images, self.cache), images.sizes[:, 1:])

    @override
    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._learns):
            grid = self.features(self.network, x)
        return self._cells(grid, sizes)

    def _cells(self, grid: Tensor, sizes: Tensor) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        """Return the cells of feature maps ``grid`` of images of ``sizes`` (N, 2) pixels, as ``encode`` does."""
        memory = cells(grid, -(-sizes // self.stride))
        return self.dropout(self.project(memory.values)), memory, ()

    def _kept(self, images: ImageBatch, folder: Path) -> Tensor:
        """Return features (N, F, rows, columns) from the files of ``folder``; missing ones are computed and stored."""
        # Find the file of each image.
        files = []
        for pixels, size in zip(images.pixels.cpu(), images.sizes.tolist(), strict=True):
            about = self.key + f"{size} ".encode()  # pixels alone do not show what is padding
            files.append(folder / hashlib.sha256(about + pixels.numpy().tobytes()).hexdigest()[:32])
        grids = [_read(file) for file in files]
        missing = [n for n, grid in enumerate(grids) if grid is None]
        # Compute what is missing, in one batch.
        if missing:
            chosen = torch.tensor(missing, device=images.sizes.device)
            images_left = ImageBatch(images.pixels[chosen], images.sizes[chosen], chosen)
            with torch.no_grad():
                features = self.features(self.network, self.normalised(images_left))
            for n, grid in zip(missing, features.half().cpu(), strict=True):
                grids[n] = grid
                _write(files[n], grid)
        return torch.stack([grid for grid in grids if grid is not None]).to(self.project.weight)


def _read(file: Path) -> Tensor | None:
    """Return the features (F, rows, columns) in a file, or None if there is no whole file."""
    found = sealed.content(file)
    if found is None:
        return None
    content, about = found
    return torch.from_numpy(np.frombuffer(content, np.float16).reshape(about["shape"]).copy())


def _write(file: Path, grid: Tensor) -> None:
    """Store the features (F, rows, columns) of an image in a file."""
    with sealed.writing(file, "set cache=DIR of the encoder", lambda: {"shape": list(grid.shape)}) as temporary:
        temporary.write_bytes(grid.contiguous().numpy().tobytes())


def _transformers(name: str, pretrained: bool, fetch: bool) -> Backbone:
    """Return a model of Hugging Face, whose ``AutoBackbone`` gives the feature map of its last stage."""
    try:
        from transformers import AutoBackbone, AutoConfig
    except ImportError as error:
        raise UserError(f"library=transformers: {error}; pip install transformers") from error
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=not fetch)
        config.out_indices = None
        config.out_features = [config.stage_names[-1]]
        network = AutoBackbone.from_config(config)
        if pretrained and torch.get_default_device().type != "meta":
            # Load weights through the class of the network: AutoBackbone always asks the hub.
            network = type(network).from_pretrained(name, config=config, local_files_only=not fetch)
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"name={name} can't be loaded as a backbone of transformers: {reason}") from error
    # Keep what describes the network, as plain JSON.
    description = {key: value for key, value in config.to_dict().items() if key not in BESIDE_THE_NETWORK}
    return Backbone(
        network, _last_feature_map, json.loads(json.dumps(description, default=str)), *_statistics(name, fetch)
    )


# Keys of a config that do not describe the network.
BESIDE_THE_NETWORK = ("id2label", "label2id", "architectures", "transformers_version", "_name_or_path", "dtype")


def _stored(library: str, architecture: Mapping[str, Any]) -> Backbone:
    """Build a network without weights from the description in a stored model, which is not trusted."""
    network = architecture.get("network")
    mean, std = (_three_numbers(architecture.get(key)) for key in ("mean", "std"))
    # Build a network of timm by its name, without a prefix that leads to another source.
    if library == "timm" and isinstance(network, str) and re.fullmatch(r"\w+(\.\w+)?", network):
        return replace(_timm(network, pretrained=False, fetch=False), mean=mean, std=std)
    # Refuse a config of transformers that could load other code or another network.
    if library != "transformers" or not isinstance(network, Mapping) or not isinstance(network.get("model_type"), str):
        raise UserError(f"architecture: network is not a network that {library} can build")
    for key, value in leaves(network):
        if re.search("backbone|auto_map|implementation|quantization", key):
            raise UserError(f"architecture: {key} is refused: it names another network, or code")
        if isinstance(value, str) and not re.fullmatch(r"[\w.+-]*", value):  # names of the hub have / or :
            raise UserError(
                f"architecture: {key}={value[:100]!r} is refused: only letters, digits and _ . + - are allowed"
            )
    # Build the network.
    try:
        from transformers import AutoBackbone, AutoConfig
    except ImportError as error:
        raise UserError(f"library=transformers: {error}; pip install transformers") from error
    try:
        built = AutoBackbone.from_config(AutoConfig.for_model(**network))
    except Exception as error:  # constructors of transformers raise errors of many types
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"architecture: transformers cannot build the network: {reason}") from error
    return Backbone(built, _last_feature_map, dict(network), mean, std)


def _three_numbers(value: Any) -> list[float]:
    """Return the value if it is a list of three numbers; refuse it otherwise."""
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(x, int | float) for x in value):
        raise UserError("architecture: mean and std must be three numbers each")
    return value


def _last_feature_map(network: nn.Module, x: Tensor) -> Tensor:
    """Return the last feature map (N, F, rows, columns) of a backbone of transformers."""
    grid: Tensor = network(x).feature_maps[-1]
    return grid


def _statistics(name: str, fetch: bool) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation of the pixels of a Hugging Face model; ImageNet's if it has none."""
    from transformers import ImageProcessingMixin

    try:
        settings: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(name, local_files_only=not fetch)[0]
    except OSError:
        return MEAN, STD
    return settings.get("image_mean") or MEAN, settings.get("image_std") or STD


def _timm(name: str, pretrained: bool, fetch: bool) -> Backbone:
    """Return a model of timm, which gives its last feature map."""
    if not fetch and not re.fullmatch(r"\w+(\.\w+)?", name):
        raise UserError(f"name={name} is not a name of timm itself; a stored model looks up no other names")
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision was built for another torch
        raise UserError(f"library=timm: {error}; pip install timm") from error
    try:
        network = timm.create_model(name, pretrained=pretrained and fetch, features_only=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"name={name} can't be loaded as features of timm: {reason}") from error
    settings = getattr(network, "pretrained_cfg", None) or {}
    width = network.feature_info.channels()[-1]
    description = str(settings.get("architecture") or name)
    return Backbone(
        network, partial(_last_map, width), description, settings.get("mean", MEAN), settings.get("std", STD)
    )


def _last_map(width: int, network: nn.Module, x: Tensor) -> Tensor:
    """Return the last feature map (N, F, rows, columns) with F = ``width``; some networks put F last."""
    grid: Tensor = network(x)[-1]
    return grid if grid.shape[1] == width else grid.permute(0, 3, 1, 2)


LIBRARIES: dict[str, Callable[[str, bool, bool], Backbone]] = {"transformers": _transformers, "timm": _timm}
