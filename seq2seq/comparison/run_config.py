"""Configurations of runs: the parts of a config that distinguish runs and that name them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.config.defaults import without_defaults
from seq2seq.config.instantiate import config_files, synonym_of
from seq2seq.errors import UserError
from seq2seq.stored import moved_names
from seq2seq.stored.plain import read_yaml, resolved

PRIMARY = ("model", "attention", "recipe")
"""Config groups that name a system if they differ; other options do so only if a user typed them."""
COMMON = ("recipe", "common")
"""The choice that names no system: runs of earlier versions have it without a record."""
MAX_ANCESTORS = 8
"""Length of a chain of runs, each started from the one before, whose origins are all compared."""
CONTROL = "control"
"""Facet with the control of an evaluation, which is always part of the name."""
IGNORED_KEYS = {
    *("seed", "logger", "resume", "encoder.cache"),
    *(f"data.{name}" for name in ("cache", "path", "workers", "group")),
    *(f"trainer.{name}" for name in ("accelerator", "enable_progress_bar", "log_every_n_steps")),
    "training.strict",
    "training.test",
    *(f"training.{name}" for name in ("save_steps", "save_minutes", "num_plots", "plots_every", "metrics")),
    *("training.plot_format", "training.plot_pieces"),
    *(f"training.{name}" for name in ("save_attention", "faithfulness_examples", "attention_examples", "init_from")),
    "training.verbose",
}
"""Keys that do not change what a model learns."""
DEVICES = ("auto", "cpu", "gpu", "mps")
"""Choices of ``trainer`` that only name the device of a single process."""
IGNORED_DATA_KEYS = {
    f"data.{name}"
    for name in (
        *("path", "cache", "workers", "pin_memory", "max_tokens", "max_sentences", "reader", "tokenizer"),
        "group",
    )
}
"""Keys of the data that do not change what is scored."""
ABSOLUTE_PATH = re.compile(r"(?:^|(?<=[\[\]{},:='\"]))(?:~|[A-Za-z]:|\.\.)?[\\/][^\[\]{},'\"]*")
"""A path that starts at the root, at the home or with ``..``: a whole text, or an item of a list or mapping in it."""


@dataclass(frozen=True)
class Origin:
    """The origin of a model: its config, its training data, and the origin of the model that it started from."""

    config: Mapping[str, Any]
    data: str  # digest of the training data
    start: Origin | str | None = None  # origin of the start, or a digest of its path; None without one

    @property
    def by_letter(self) -> bool:
        """True if the tokens of the sources are letters."""
        data = self.config.get("data")
        tokenizer = data.get("tokenizer") if isinstance(data, Mapping) else None
        return isinstance(tokenizer, Mapping) and tokenizer.get("type") == "letters"

    def recipe(self) -> list[Any]:
        """Return the parts of the origin that are equal for models that differ only in their seed, as plain data."""
        return [_recipe(self.config), self.data, self.start.recipe() if isinstance(self.start, Origin) else self.start]


def key(origin: Origin, otherwise: Mapping[str, str]) -> str:
    """Return a digest that is equal for runs that differ only in their seed.

    Args:
        origin: Origin of the model.
        otherwise: Options of an evaluation that differ from its run (``eval_diff``).
    """
    return digest(json.dumps(portable([origin.recipe(), dict(otherwise)]), sort_keys=True, default=str))


def portable(value: Any) -> Any:
    """Replace each path in plain data by the file's name and a digest of the path.

    Args:
        value: Plain data: mappings, lists and scalars.
    """
    if isinstance(value, Mapping):
        return {name: portable(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return ABSOLUTE_PATH.sub(_named_by_digest, value) if isinstance(value, str) else value


def _named_by_digest(path: re.Match[str]) -> str:
    """Return the name of a file with a digest of its path."""
    name = re.split(r"[\\/]", path[0].rstrip("/"))[-1]
    return f"{name}#{digest(path[0])[:8]}"


def digest(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal.

    Args:
        text: Any text.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def choices(path: Path) -> dict[str, str]:
    """Return the choices that name a run: the groups in ``PRIMARY`` and the options that the user typed.

    A synonym is replaced by the name of its target, so that a configuration has one name.

    Args:
        path: Directory of the run.

    Returns:
        {key: value}; empty without Hydra's files.

    Raises:
        UserError: Hydra's files are damaged.
    """
    folder = path / ".hydra"
    if not folder.exists():
        return {}
    # Read Hydra's record of the choices and of the typed options.
    kept, lines = read_yaml(folder / "hydra.yaml"), read_yaml(folder / "overrides.yaml")
    for key in ("hydra", "runtime", "choices"):
        kept = kept.get(key) if isinstance(kept, Mapping) else None
    if not isinstance(kept, Mapping) or not isinstance(lines, list | None):
        raise UserError(f"{folder}: hydra.yaml or overrides.yaml is damaged, so the options of the run are unknown")
    # Replace synonyms, and drop options that do not change what a model learns.
    names = {group: str(kept[group]) for group in PRIMARY if kept.get(group) and (group, kept[group]) != COMMON}
    groups = {group: _synonym(group, name) or name for group, name in names.items()}
    typed = [str(line).lstrip("+").partition("=") for line in lines or []]
    return groups | {
        moved_names.key(key): value
        for key, _, value in typed
        if moved_names.key(key) not in IGNORED_KEYS.union(PRIMARY, {"data"})
        and (key != "trainer" or value not in DEVICES)
    }


def eval_diff(
    config: Mapping[str, Any], trained: Mapping[str, Any], about: Mapping[str, Any], run_about: Mapping[str, Any]
) -> dict[str, str]:
    """Return the options of an evaluation that differ from its run.

    Args:
        config: Config of the evaluation.
        trained: Config of the run.
        about: Description of the evaluation in its results.json.
        run_about: Description of the run in its results.json.

    Returns:
        {key: value of the evaluation} of decoding, data, checkpoint and control.
    """
    found: dict[str, str] = {}
    # Data options are comparable only on the same dataset.
    for node in ("decoding", *(["data"] if _name(config) == _name(trained) else [])):
        mine, usual = (_flat(node, one.get(node)) for one in (config, trained))
        usual, chosen = _as_chosen(node, mine, usual)
        found |= chosen
        changed = (key for key in mine if mine[key] != usual.get(key))
        found |= {
            key: str(mine[key]) for key in changed if IGNORED_DATA_KEYS.isdisjoint((key, ".".join(key.split(".")[:2])))
        }
    # An evaluation of another checkpoint is another configuration.
    scored, best = (Path(str(one.get("checkpoint", ""))).name for one in (about, run_about))
    if best and scored != best:
        found["checkpoint"] = scored
    control = _below(config, "evaluation").get("control")
    return found | ({CONTROL: str(control)} if control else {})


def _as_chosen(node: str, mine: dict[str, Any], usual: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options with which an evaluation is compared if it has another class in a group, and the choice.

    Args:
        node: Key of the group.
        mine: Options of the evaluation, by their full keys.
        usual: Options of the run, by their full keys.

    Returns:
        (options of the group's file, {group: name of the file}); (``usual``, {}) if the class is the same.
    """
    target = mine.get(f"{node}._target_")
    if target == usual.get(f"{node}._target_"):
        return usual, {}
    for file in sorted(file for place, file in config_files() if place.parent == Path(node)):
        if (options := _flat(node, read_yaml(file))).get(f"{node}._target_") == target:
            # An option that refers to another key has the value of the run where the run has the option.
            referring = [key for key, value in options.items() if isinstance(value, str) and value.startswith("${")]
            return options | {key: usual.get(key, mine.get(key)) for key in referring}, {node: file.stem}
    return usual, {}


def origin_of(path: Path, config: Mapping[str, Any], depth: int = 0) -> Origin:
    """Return the origin of a run's model.

    Args:
        path: Directory of the run.
        config: Config of the run.
        depth: Number of runs between this run and the first one asked for.
    """
    # Follow ``init_from`` to the run that it started from, if this run is still there.
    start = _below(config, "training").get("init_from")
    folders = (Path(str(start)), Path(str(start)).parent.parent) if start and depth < MAX_ANCESTORS else ()
    before = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    if before is not None:
        return Origin(config, _trained_on(path, config), origin_of(before, config_of(before), depth + 1))
    return Origin(config, _trained_on(path, config), digest(str(start)) if start else None)


def _below(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a node of a config; empty where there is none."""
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
    """Return a digest of the training data: of the word frequencies of the targets or, without them, of the path."""
    counted = path / "frequencies.json"
    if counted.exists():
        return hashlib.sha256(counted.read_bytes()).hexdigest()
    return digest(str(_below(config, "data").get("path")))


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without defaults of classes, and without the keys that do not change what a model learns."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in IGNORED_KEYS or key in ("task", "experiment"):
            continue
        # Drop ignored keys at the top and one level below.
        below = {name.partition(".")[2] for name in IGNORED_KEYS if name.startswith(f"{key}.")}
        if isinstance(value, Mapping) and below:
            value = {name: one for name, one in value.items() if name not in below}
        kept[str(key)] = without_defaults(value)
    return kept


def config_of(path: Path) -> dict[str, Any]:
    """Read the config of a run or an evaluation.

    Args:
        path: Directory of the run or the evaluation.

    Returns:
        The config, resolved and with the current names of options; empty without a config file.

    Raises:
        UserError: The file is damaged.
    """
    file = path / "config.yaml"
    if not file.exists():
        return {}
    if not isinstance(content := read_yaml(file), Mapping):
        raise UserError(f"{file} is not a config: it must be a mapping")
    return moved_names.renamed(resolved(content, str(file)))


def _synonym(group: str, name: str) -> str | None:
    """Return the choice for which ``name`` is a synonym, None if it is no synonym."""
    file = dict(config_files()).get(Path(group, f"{name}.yaml"))
    return None if file is None else synonym_of(file)
