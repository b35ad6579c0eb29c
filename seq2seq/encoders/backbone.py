"""Networks trained on other pictures as encoders, frozen or trained on, of ``transformers`` or ``timm`` (extras).

Shapes: N pictures, h rows and w columns of pixels, S cells, F channels of the network, D width.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attended, Memory
from seq2seq.batch import Pictures
from seq2seq.encoders.image import MEAN, STD, GridEncoder, cells
from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout
from seq2seq.ranges import Share, Width

PROBED = 224  # pixels of the side that tells a network's stride


@dataclass(frozen=True)
class Backbone:
    """A network, how its last feature map (N, F, rows, columns) is asked for, and what it takes pixels to be."""

    network: nn.Module
    features: Callable[[nn.Module, Tensor], Tensor]
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD


class BackboneEncoder(GridEncoder):
    """The last feature map of a network trained on other pictures, projected to the memory's width.

    ``name`` is a model of the Hugging Face hub that has a backbone, or a folder with one (``library: transformers``),
    or a model of ``timm``. It is trained from the share ``train_from`` of training on (below 1), or from that update on
    (1 or more), or never where that is None. With ``cache``, what a network that is never trained makes of a picture is
    kept in that folder, once for all runs, by its weights and the picture's pixels. ``pretrained=false`` starts from
    random weights.
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
    ) -> None:
        if library not in LIBRARIES:
            raise UserError(f"encoder.library={library} is none of: {', '.join(LIBRARIES)}")
        if train_from is not None and not (0.0 <= train_from < 1.0 or train_from == int(max(train_from, 1))):
            raise UserError(
                f"encoder.train_from={train_from} must be a share of training (0 or more and below 1), a number of "
                "updates, or null"
            )
        if cache is not None and (train_from is not None or not pretrained):
            raise UserError("encoder.cache keeps what a pretrained network says that is never trained: train_from=null")
        found = LIBRARIES[library](name, pretrained)
        try:
            with torch.no_grad():
                probe = found.features(found.network.eval(), torch.zeros(1, 3, PROBED, PROBED))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"encoder.name={name} does not take pictures of {PROBED} x {PROBED} pixels ({reason}); choose a "
                "network for pictures of any size"
            ) from error
        super().__init__(dim, PROBED // probe.shape[2])
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

    def anneal(self, progress: float, updates: int) -> None:
        """How far training has come, from 0 to 1, and after how many updates."""
        self.progress.fill_(progress)
        self.updates.fill_(updates)

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
        """What is kept hangs on it: the network's weights, and how pixels are made its."""
        found = hashlib.sha256()
        for name, tensor in [*self.network.state_dict().items(), ("mean", self.mean), ("std", self.std)]:
            found.update(f"{name} {tuple(tensor.shape)} ".encode())
            found.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.digest()

    def look(self, pictures: Pictures, need_weights: bool) -> tuple[Tensor, Memory, Sequence[Attended]]:
        """The first of the pictures that the network learns from turns its training mode on."""
        if self.training and self._learns != self.network.training:
            self.network.train(self._learns)
        if self.cache is None or not pictures.files:
            return super().look(pictures, need_weights)
        return self._cells(self._kept(pictures, self.cache), pictures.sizes[:, 1:])

    def encode(self, x: Tensor, sizes: Tensor, need_weights: bool = False) -> tuple[Tensor, Memory, Sequence[Attended]]:
        """Cells of the last feature map."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._learns):
            grid = self.features(self.network, x)
        return self._cells(grid, sizes)

    def _cells(self, grid: Tensor, sizes: Tensor) -> tuple[Tensor, Memory, Sequence[Attended]]:
        memory = cells(grid, -(-sizes // self.stride))
        return self.dropout(self.project(memory.values)), memory, ()

    def _kept(self, pictures: Pictures, folder: Path) -> Tensor:
        """(N, F, rows, columns), from the files of ``folder``; what is not there is computed and put there."""
        places = []
        for pixels, size in zip(pictures.pixels.cpu(), pictures.sizes.tolist(), strict=True):
            about = self.key + f"{size} ".encode()  # what is padding the pixels don't tell
            places.append(folder / hashlib.sha256(about + pixels.numpy().tobytes()).hexdigest()[:32])
        missing = [n for n, place in enumerate(places) if not place.exists()]
        if missing:
            chosen = torch.tensor(missing, device=pictures.sizes.device)
            some = Pictures(pictures.pixels[chosen], pictures.sizes[chosen], chosen)
            with torch.no_grad():
                made = self.features(self.network, self.normalised(some))
            folder.mkdir(parents=True, exist_ok=True)
            for n, grid in zip(missing, made.half().cpu(), strict=True):
                with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
                    torch.save(grid.clone(), Path(name) / "grid")
                    (Path(name) / "grid").replace(places[n])
        grids = [torch.load(place, weights_only=True) for place in places]
        return torch.stack(grids).to(self.project.weight)


def _transformers(name: str, pretrained: bool) -> Backbone:
    """The last stage of a model of Hugging Face, by its ``AutoBackbone``."""
    try:
        from transformers import AutoBackbone, AutoConfig
    except ImportError as error:
        raise UserError(f"encoder.library=transformers: {error}; pip install transformers") from error
    try:
        config = AutoConfig.from_pretrained(name)
        config.out_indices = None
        config.out_features = [config.stage_names[-1]]
        known = AutoBackbone.from_config(config)
        if pretrained and torch.get_default_device().type != "meta":  # by its class: AutoBackbone always asks the hub
            known = type(known).from_pretrained(name, config=config)
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"encoder.name={name} can't be loaded as a backbone of transformers: {reason}") from error
    statistics = _statistics(name)
    return Backbone(known, lambda network, x: network(x).feature_maps[-1], *statistics)


def _statistics(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of the pixels that a model of Hugging Face was trained on; ImageNet's if it does not say."""
    from transformers import ImageProcessingMixin

    try:
        said: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(name)[0]
    except OSError:
        return MEAN, STD
    return said.get("image_mean") or MEAN, said.get("image_std") or STD


def _timm(name: str, pretrained: bool) -> Backbone:
    """The last feature map of a model of timm."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch
        raise UserError(f"encoder.library=timm: {error}; pip install timm") from error
    try:
        network = timm.create_model(name, pretrained=pretrained, features_only=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"encoder.name={name} can't be loaded as features of timm: {reason}") from error
    about = getattr(network, "pretrained_cfg", None) or {}
    width = network.feature_info.channels()[-1]
    return Backbone(network, partial(_last_map, width), about.get("mean", MEAN), about.get("std", STD))


def _last_map(width: int, network: nn.Module, x: Tensor) -> Tensor:
    """(N, F, rows, columns), F = ``width``, of networks that give (N, rows, columns, F) too."""
    grid: Tensor = network(x)[-1]
    return grid if grid.shape[1] == width else grid.permute(0, 3, 1, 2)


LIBRARIES: dict[str, Callable[[str, bool], Backbone]] = {"transformers": _transformers, "timm": _timm}
