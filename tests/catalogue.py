"""Shared parts of tests: every choice of a conf folder, built small, and inputs for it.

Widths are tiny, and parameters are drawn with a large spread, so that no result is right only because values are near
0.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.config.instantiate import build_node, plain
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq, build

Module = TypeVar("Module", bound=nn.Module)

CONF = Path(__file__).parents[1] / "conf"
WIDTH = 8
SOURCE_VOCABULARY, TARGET_VOCABULARY = 14, 12
GROUPS = {"attention", "self_attention", "encoder", "decoder", "model", "data", "task"}
SMALL = (f"model.dim={WIDTH}", "++model.ff_dim=12", "model.dropout=0", "model.attention_dropout=0")
SLOTS = {"attention", "self_attention"}
MECHANISM = re.compile(r"(attention|self_attention)=(\w+)")
OPTION = re.compile(r"(attention|self_attention)(\.\w+)+=")


@cache
def choices(group: str) -> tuple[str, ...]:
    """Return the names of the files of a conf folder: the choices of a user."""
    return tuple(sorted(path.stem for path in (CONF / group).glob("*.yaml")))


@cache
def config(*overrides: str) -> DictConfig:
    """Return the part of ``conf/train.yaml`` under ``overrides`` that a model reads; the whole takes three times as
    long.

    If only mechanisms are overridden, the result has only them and the sizes that they read: a tenth of the time. A
    single mechanism with options is faster still, because all mechanisms of a group are composed at once.
    """
    one = MECHANISM.fullmatch(overrides[0]) if overrides else None
    if one and one[2] in choices(one[1]) and all(map(OPTION.match, overrides[1:])):
        composed = OmegaConf.create({one[1]: _mechanisms(one[1])[one[2]], **_sizes()}, flags={"struct": True})
        for override in OverridesParser.create().parse_overrides(list(overrides[1:])):
            OmegaConf.update(composed, override.key_or_group, override.value())
        return composed
    if overrides and all(override.startswith(("attention", "self_attention=")) for override in overrides):
        ours = [line for line in _lines() if line in ({"attention": "additive"}, {"self_attention": None})]
        return _compose({"defaults": [*ours, "_self_"], **_sizes()}, *overrides)
    ours = [line for line in _lines() if isinstance(line, DictConfig) and str(*line).split("@")[0] in GROUPS]
    return _compose({"defaults": [*ours, "_self_"]}, *SMALL, *overrides)


@cache
def _lines() -> ListConfig:
    """Return the defaults of ``conf/train.yaml``."""
    lines: ListConfig = OmegaConf.load(CONF / "train.yaml").defaults
    return lines


@cache
def _sizes() -> DictConfig:
    """Return the sizes that mechanisms read."""
    rnn = OmegaConf.load(CONF / "model" / "rnn.yaml").model
    return _compose({"model": rnn}, *(f"++{size.lstrip('+')}" for size in SMALL))


@cache
def _mechanisms(group: str) -> DictConfig:
    """Return all mechanisms of a group, or all parts of one kind, by name."""
    return _compose({"defaults": [{f"{group}@{name}": name} for name in choices(group)]})


def _compose(source: dict[str, Any], *overrides: str) -> DictConfig:
    """Return the config of ``source`` under ``overrides``."""
    ConfigStore.instance().store("catalogue", source)
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("catalogue", list(overrides))


@cache
def part(kind: str, name: str) -> Mapping[str, Any]:
    """Return the node of ``conf/attention/KIND/NAME.yaml`` with its sizes. Copy it before changing it."""
    group = f"attention/{kind}"
    return plain(OmegaConf.create({name: _mechanisms(group)[name], **_sizes()})[name])


def model(*overrides: str, attention: str | None = None) -> Seq2Seq:
    """Build a model as a run does, with random parameters, in evaluation mode, fp64.

    ``attention=NAME`` among the overrides has the same result as the argument ``attention``, which composes less.
    Overrides ``self_attention@SLOT=NAME`` compose less too.
    """
    return copy.deepcopy(_model(overrides, attention))


@cache
def _sized(*overrides: str) -> DictConfig:
    """Return ``config`` with all sizes resolved. Only the references to mechanisms stay, because mechanisms differ."""
    composed = copy.deepcopy(config(*overrides))
    for part in (composed.encoder, composed.decoder):
        for name in [name for name in part if name not in SLOTS and OmegaConf.is_interpolation(part, name)]:
            part[name] = part[name]
    return composed


@cache
def _model(overrides: tuple[str, ...], attention: str | None) -> Seq2Seq:
    """Build the model that ``model`` copies."""
    own = [override for override in overrides if override.startswith("self_attention@")]
    composed = copy.deepcopy(_sized(*(override for override in overrides if override not in own)))
    if attention is not None:
        composed.attention = config(f"attention={attention}").attention
    for slot, name in (override.removeprefix("self_attention@").split("=") for override in own):
        OmegaConf.update(composed, slot, config(f"self_attention={name}").self_attention, force_add=True)
    return randomise(build(composed, SOURCE_VOCABULARY, TARGET_VOCABULARY).double()).eval()


def mechanism(group: str, name: str, source: SourceSpec, *overrides: str, query_dim: int = WIDTH) -> Attention:
    """Build the mechanism of ``conf/GROUP/NAME.yaml`` with random parameters, in evaluation mode, fp64."""
    return copy.deepcopy(_mechanism(group, name, source, overrides, query_dim))


def serves(group: str, name: str, source: SourceSpec) -> bool:
    """Return whether a mechanism supports this slot. A mechanism refuses other slots when it is built."""
    try:
        mechanism(group, name, source)
    except UserError:
        return False
    return True


@cache
def _mechanism(group: str, name: str, source: SourceSpec, overrides: tuple[str, ...], query_dim: int) -> Attention:
    """Build the mechanism that ``mechanism`` copies."""
    return randomise(_factory(group, name, overrides)(query_dim, source).double()).eval()


@cache
def _factory(group: str, name: str, overrides: tuple[str, ...]) -> Callable[..., Attention]:
    """Return the factory of a mechanism, one for all slots: composing and resolving a config is the slowest step."""
    factory: Callable[..., Attention] = build_node(config(f"{group}={name}", *overrides)[group])
    return factory


def randomise(module: Module, seed: int = 0) -> Module:
    """Draw every parameter from N(0, 1/4)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal numbers; one seed gives the same numbers in every dtype."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def memory(*lengths: int, width: int = WIDTH, step: int = 1, dtype: torch.dtype = torch.float64) -> Memory:
    """Return a memory of sentences with these lengths, whose values are ``step`` positions apart."""
    size = torch.tensor(lengths)
    place = torch.arange(max(lengths)).expand(len(lengths), -1)
    extent = (step * (size - 1) + 1).clamp(min=0)
    values = noise(*place.shape, width, seed=1, dtype=dtype)
    return Memory(values, place < size[:, None], step * place.unsqueeze(-1), extent.unsqueeze(1))


def batch(sources: tuple[int, ...] = (7, 5, 2), targets: tuple[int, ...] = (4, 6, 5)) -> Batch:
    """Return a batch of sentences of random words with these lengths, ``</s>`` included."""
    generator = torch.Generator().manual_seed(2)

    def padded(lengths: tuple[int, ...], vocabulary: int, start: list[int]) -> Tensor:
        """Return random sentences as one padded tensor."""
        rows = [
            [*start, *torch.randint(EOS + 1, vocabulary, (n - 1,), generator=generator).tolist(), EOS] if n else []
            for n in lengths
        ]
        longest = max(map(len, rows))
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])

    source = padded(sources, SOURCE_VOCABULARY, [])
    target = padded(targets, TARGET_VOCABULARY, [BOS])
    return Batch(source, torch.arange(len(source)), target, sum(targets))
