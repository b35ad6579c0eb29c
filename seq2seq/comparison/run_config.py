"""What a run was made by, from its config: what tells configurations apart, and what names them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.config.instantiate import CONF, synonym_of
from seq2seq.errors import UserError
from seq2seq.stored import moved_names
from seq2seq.stored.plain import read_yaml, resolved

PRIMARY = ("model", "attention")
"""Groups that name a system wherever they differ; of others, what was typed."""
MAX_ANCESTORS = 8
"""How many runs, each of which started from another, are told apart by all that they learnt from."""
CONTROL = "control"
"""What an evaluation was under, which its name always says."""
IGNORED_KEYS = {
    *("seed", "logger", "resume", "data.cache", "data.path", "data.workers", "encoder.cache"),
    *(f"trainer.{name}" for name in ("accelerator", "enable_progress_bar", "log_every_n_steps")),
    *(f"training.{name}" for name in ("save_steps", "save_minutes", "num_plots", "plots_every", "metrics")),
    *(f"training.{name}" for name in ("save_attention", "faithfulness_examples", "attention_examples", "init_from")),
}
"""Keys that change nothing in what is learnt."""
IGNORED_DATA_KEYS = {
    f"data.{name}"
    for name in ("path", "cache", "workers", "pin_memory", "max_tokens", "max_sentences", "reader", "tokenizer")
}
"""Keys of data that change nothing in what is scored."""
ABSOLUTE_PATH = re.compile(r"(?:^|(?<=[\[\]{},:='\"]))(?:~|[A-Za-z]:|\.\.)?[\\/][^\[\]{},'\"]*")
"""A path from the root, the home or the folder above: a whole text, or an item of a list or a mapping in one."""


@dataclass(frozen=True)
class Origin:
    """What made a model: its config, what it was trained on (a digest), and likewise what it started from."""

    config: Mapping[str, Any]
    data: str
    start: Origin | str | None = None

    def recipe(self) -> list[Any]:
        """Return what is the same of models that differ in their seed alone, as plain data."""
        return [_recipe(self.config), self.data, self.start.recipe() if isinstance(self.start, Origin) else self.start]


def key(origin: Origin, otherwise: Mapping[str, str]) -> str:
    """Return a digest of a model's recipe, and of what an evaluation did otherwise: alike where only seeds differ."""
    return digest(json.dumps(portable([origin.recipe(), dict(otherwise)]), sort_keys=True, default=str))


def portable(value: Any) -> Any:
    """Return plain data in which each path of this machine is the file's name and a digest of the path."""
    if isinstance(value, Mapping):
        return {name: portable(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return ABSOLUTE_PATH.sub(_named_by_digest, value) if isinstance(value, str) else value


def _named_by_digest(path: re.Match[str]) -> str:
    name = re.split(r"[\\/]", path[0].rstrip("/"))[-1]
    return f"{name}#{digest(path[0])[:8]}"


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def choices(path: Path) -> dict[str, str]:
    """How a run's config came about, as Hydra keeps it: the groups that name a system, and what was typed of the
    recipe. A synonym goes by the name of what it is, so that one configuration has one name.
    """
    folder = path / ".hydra"
    if not folder.exists():
        return {}
    kept, lines = read_yaml(folder / "hydra.yaml"), read_yaml(folder / "overrides.yaml")
    for key in ("hydra", "runtime", "choices"):
        kept = kept.get(key) if isinstance(kept, Mapping) else None
    if not isinstance(kept, Mapping) or not isinstance(lines, list | None):
        raise UserError(f"{folder} does not say how its run was started: hydra.yaml or overrides.yaml is damaged")
    names = {group: str(kept[group]) for group in PRIMARY if kept.get(group)}
    groups = {group: _synonym(group, name) or name for group, name in names.items()}
    typed = [str(line).lstrip("+").partition("=") for line in lines or []]
    return groups | {
        moved_names.key(key): value
        for key, _, value in typed
        if moved_names.key(key) not in IGNORED_KEYS.union(PRIMARY, {"data"})
    }


def eval_diff(
    config: Mapping[str, Any], trained: Mapping[str, Any], about: Mapping[str, Any], told: Mapping[str, Any]
) -> dict[str, str]:
    """What an evaluation did otherwise than the run."""
    found: dict[str, str] = {}
    for node in ("decoding", *(["data"] if _name(config) == _name(trained) else [])):
        mine, usual = (_flat(node, one.get(node)) for one in (config, trained))
        changed = (key for key in mine if mine[key] != usual.get(key))
        found |= {
            key: str(mine[key]) for key in changed if IGNORED_DATA_KEYS.isdisjoint((key, ".".join(key.split(".")[:2])))
        }
    scored, best = (Path(str(one.get("checkpoint", ""))).name for one in (about, told))
    if best and scored != best:
        found["checkpoint"] = scored
    control = _below(config, "evaluation").get("control")
    return found | ({CONTROL: str(control)} if control else {})


def origin_of(path: Path, config: Mapping[str, Any], depth: int = 0) -> Origin:
    """Return what made the model of the run in ``path``, which has ``config``."""
    start = _below(config, "training").get("init_from")
    folders = (Path(str(start)), Path(str(start)).parent.parent) if start and depth < MAX_ANCESTORS else ()
    before = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    if before is not None:
        return Origin(config, _trained_on(path, config), origin_of(before, config_of(before), depth + 1))
    return Origin(config, _trained_on(path, config), digest(str(start)) if start else None)


def _below(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A node of a config that may lack it."""
    node = config.get(key)
    return node if isinstance(node, Mapping) else {}


def _flat(place: str, value: Any) -> dict[str, Any]:
    """Return the leaves below ``place`` by their full keys: {data.images.size: 224, ...}."""
    if not isinstance(value, Mapping):
        return {place: value}
    return {k: v for key, below in value.items() for k, v in _flat(f"{place}.{key}", below).items()}


def _name(config: Mapping[str, Any]) -> object:
    """Return the name of the dataset."""
    return _below(config, "data").get("name")


def _trained_on(path: Path, config: Mapping[str, Any]) -> str:
    """What tells training data apart, wherever they lie: a digest of how often each word stands in their targets, or
    without that of the path.
    """
    counted = path / "frequencies.json"
    if counted.exists():
        return hashlib.sha256(counted.read_bytes()).hexdigest()
    return digest(str(_below(config, "data").get("path")))


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what changes nothing in what is learnt. Of the data, what is trained on stays."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in IGNORED_KEYS or key in ("task", "experiment"):
            continue
        below = {name.partition(".")[2] for name in IGNORED_KEYS if name.startswith(f"{key}.")}
        if isinstance(value, Mapping) and below:
            value = {name: one for name, one in value.items() if name not in below}
        kept[str(key)] = value
    return kept


def config_of(path: Path) -> dict[str, Any]:
    """The config of a run or an evaluation, resolved and in today's names; {} without one."""
    file = path / "config.yaml"
    if not file.exists():
        return {}
    if not isinstance(content := read_yaml(file), Mapping):
        raise UserError(f"{file} is no config: it must be a mapping")
    return moved_names.renamed(resolved(content, str(file)))


def _synonym(group: str, name: str) -> str | None:
    """The choice that ``name``, as a file says, is just another name of."""
    return synonym_of(CONF / group / f"{name}.yaml") if re.fullmatch(r"[\w-]+", name) else None
