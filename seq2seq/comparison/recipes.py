"""What a run was made by, from its config: what tells configurations apart, and what names them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seq2seq.config import CONF, plain, synonym_of
from seq2seq.errors import UserError

PRIMARY = ("model", "attention")
"""Groups that name a system wherever they differ; of others, what was typed."""
CONTROL = "control"
"""What an evaluation was under, which its name always says."""
BESIDE = {
    *("seed", "logger", "resume", "data.cache", "data.path", "data.workers", "encoder.cache"),
    *(f"trainer.{name}" for name in ("accelerator", "enable_progress_bar", "log_every_n_steps")),
    *(f"training.{name}" for name in ("save_steps", "save_minutes", "plots", "plots_every", "metrics")),
    *(f"training.{name}" for name in ("examples", "faithfulness", "start_from")),
}
"""Keys that change nothing in what is learnt."""
READING = {
    f"data.{name}"
    for name in ("path", "cache", "workers", "pin_memory", "max_tokens", "max_sentences", "reader", "tokenizer")
}
"""Keys of data that change nothing in what is scored."""


def chosen(path: Path) -> dict[str, str]:
    """How a run's config came about, as Hydra keeps it: the groups that name a system, and what was typed of the
    recipe. A synonym goes by the name of what it is, so that one configuration has one name.
    """
    folder = path / ".hydra"
    if not folder.exists():
        return {}
    choices = _yaml(folder / "hydra.yaml").hydra.runtime.choices
    names = {group: str(choices[group]) for group in PRIMARY if choices.get(group)}
    groups = {group: synonym_of(CONF / group / f"{name}.yaml") or name for group, name in names.items()}
    typed = [str(line).lstrip("+").partition("=") for line in _yaml(folder / "overrides.yaml")]
    return groups | {key: value for key, _, value in typed if key not in BESIDE.union(PRIMARY, {"data"})}


def evaluated(
    config: Mapping[str, Any], trained: Mapping[str, Any], about: Mapping[str, Any], told: Mapping[str, Any]
) -> dict[str, str]:
    """What an evaluation did otherwise than the run."""
    found: dict[str, str] = {}
    for node in ("decoding", *(["data"] if _name(config) == _name(trained) else [])):
        mine, usual = (_flat(node, one.get(node)) for one in (config, trained))
        changed = (key for key in mine if mine[key] != usual.get(key))
        found |= {key: str(mine[key]) for key in changed if READING.isdisjoint((key, ".".join(key.split(".")[:2])))}
    scored, best = (Path(str(one.get("checkpoint", ""))).name for one in (about, told))
    if best and scored != best:
        found["checkpoint"] = scored
    control = (config.get("evaluation") or {}).get("control")
    return found | ({CONTROL: str(control)} if control else {})


def learnt(path: Path, config: Mapping[str, Any]) -> list[Any]:
    """What made a model: the recipe, what it was trained on, and likewise the run that it started from."""
    start = (config.get("training") or {}).get("start_from")
    folders = (Path(str(start)), Path(str(start)).parent.parent) if start else ()
    before = next((folder for folder in folders if (folder / "config.yaml").exists()), None)
    began = start if before is None else learnt(before, config_of(before))
    return [_recipe(config), _trained_on(path, config), began]


def _flat(place: str, value: Any) -> dict[str, Any]:
    """{data.images.size: 224, ...}."""
    if not isinstance(value, Mapping):
        return {place: value}
    return {k: v for key, below in value.items() for k, v in _flat(f"{place}.{key}", below).items()}


def _name(config: Mapping[str, Any]) -> object:
    """Of the dataset."""
    return (config.get("data") or {}).get("name")


def _trained_on(path: Path, config: Mapping[str, Any]) -> str:
    """What tells training data apart, wherever they lie: how often each word stands in their targets, or without that
    the path.
    """
    counted = path / "frequencies.json"
    if counted.exists():
        return hashlib.sha256(counted.read_bytes()).hexdigest()
    return str((config.get("data") or {}).get("path"))


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what changes nothing in what is learnt. Of the data, what is trained on stays."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in BESIDE or key in ("task", "experiment"):
            continue
        below = {name.partition(".")[2] for name in BESIDE if name.startswith(f"{key}.")}
        if isinstance(value, Mapping) and below:
            value = {name: one for name, one in value.items() if name not in below}
        kept[str(key)] = value
    return kept


def config_of(path: Path) -> dict[str, Any]:
    """The config of a run or an evaluation, resolved; {} without one."""
    file = path / "config.yaml"
    stored = _yaml(file) if file.exists() else {}
    try:
        return plain(stored)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _yaml(file: Path) -> Any:
    try:
        return OmegaConf.load(file)
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise UserError(f"{file} can't be read: {str(error).splitlines()[0]}") from error
