"""Parts of a stored config that depend on the machine: sources of data, caches, and options of training.

A stored config describes a model. Addresses and caches belong to the user of this machine: they are used only if they
are on the command line or in ``conf/`` of this installation.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2seq.config.instantiate import CONF, config_files
from seq2seq.config.nodes import leaves
from seq2seq.errors import UserError
from seq2seq.stored.plain import read_yaml

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|::|^\\\\|^//")
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FREE = ("path", "cache", "workers", "pin_memory")
"""Options of data that do not change the result of training; they may be changed with ``resume=``."""
WORDS = {
    "accelerator": r"[a-z]+",
    "strategy": r"auto|ddp",
    "precision": r"[\w-]+",
    "devices": r"auto|-1|\d{1,3}(, ?\d{1,3})*",
    "max_time": r"[\d:]+",
    "gradient_clip_algorithm": r"norm|value",
    "deterministic": r"warn",
}
"""{option of the trainer that is a text: pattern of the texts that a stored config may have}."""


def data_here(stored: Mapping[str, Any], typed: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return the ``data`` node of a stored config for use on this machine.

    Args:
        stored: The node, changed by the options on the command line.
        typed: Options of ``data`` on the command line.
        source: Name of the stored file in messages.

    Returns:
        Node with the cache of this machine and without files of tokenizers, which belong to the model.

    Raises:
        UserError: The node names an address, or a path outside ``data.path``, that is not on the command line.
    """
    # Refuse addresses and paths that only the stored config names.
    data = {**stored, "cache": typed.get("cache") or cache()}
    mine = dict(leaves(typed))
    for key, value in leaves({k: v for k, v in data.items() if k not in ("cache", "tokenizer")}):
        if not isinstance(value, str) or value in known() or mine.get(key) == value:
            continue
        outside = key.startswith("reader.") and (value.startswith(("/", "~")) or ".." in re.split(r"[/\\]", value))
        if ADDRESS.search(value) or outside or (key == "reader.repository" and not HUB_NAME.fullmatch(value)):
            raise UserError(
                f"{source}: data.{key}={value[:200]} is not read from a stored config alone; type data.{key}=... to "
                "read it"
            )
    # Leave out the files of the tokenizers, and log the source of the data.
    if isinstance(tokenizer := data.get("tokenizer"), Mapping):
        data["tokenizer"] = {**tokenizer, "source_model": None, "target_model": None}
    options = data.get("reader")
    options = options if isinstance(options, Mapping) else {}
    where = data.get("path") or options.get("repository")
    reader = str(options.get("_target_")).rpartition(".")[2]
    log.info("data: %s %s", reader, f"reads {where}" if where else "generates the records")
    return data


def resumed(config: Mapping[str, Any], typed: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return the stored config of a run that is resumed, for use on this machine.

    Args:
        config: Stored config.
        typed: Options on the command line. Those of ``trainer`` and ``logger`` are not put into the config here.
        source: Name of the stored file in messages.

    Raises:
        UserError: An option can't change when a run is resumed, or a stored value is refused on this machine.
    """
    data, mine = config.get("data"), typed.get("data") or {}
    if not isinstance(data, Mapping):
        raise UserError(f"{source}: data is missing, or is not a node")
    # Refuse changes of the data, except of options that do not change the result.
    before = dict(leaves(data))
    for key, value in leaves(mine):
        if (
            before.get(key, "") != value
            and key not in FREE
            and not (key.startswith("reader.") and isinstance(value, str))
        ):
            raise UserError(
                f"data.{key} is fixed by the run; with resume=, only data.{', data.'.join(FREE)} can change"
            )
    # Replace the parts that depend on the machine.
    opened_config = {**config, "data": data_here(_merged(data, mine), mine, source=source)}
    opened_config["trainer"] = _trainer(config.get("trainer"), typed.get("trainer") or {}, source)
    opened_config["logger"] = _loggers(config.get("logger"), typed.get("logger") or {}, source)
    return opened_config


def cache() -> str:
    """Return the directory of caches in ``conf/`` of this installation."""
    return str(read_yaml(CONF / "data" / "base" / "corpus.yaml")["cache"])


def known() -> frozenset[str]:
    """Return all texts in the files of ``conf/data`` of this installation, and in those that the user adds."""
    return _texts(tuple(file for place, file in config_files() if place.parts[0] == "data"))


@functools.cache
def _texts(files: tuple[Path, ...]) -> frozenset[str]:
    """Return all texts in YAML files, which are read once."""
    return frozenset(value for file in files for _, value in leaves(read_yaml(file)) if isinstance(value, str))


def _trainer(stored: Any, typed: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the stored options of the trainer: numbers, booleans, and the texts that ``WORDS`` allows."""
    if not isinstance(stored, Mapping):
        raise UserError(f"{source}: trainer is missing, or is not a node")
    if "_target_" in typed:  # the command line chooses another trainer
        return dict(stored)
    for key, value in stored.items():
        if key in ("_target_", *typed) or value is None or isinstance(value, bool | int | float):
            continue
        if isinstance(value, str) and re.fullmatch(WORDS.get(key, "(?!)"), value):
            continue
        # Devices and times may be lists and mappings of numbers.
        numbers = [below for _, below in leaves(value)]
        if key in ("devices", "max_time") and all(isinstance(n, int | float) for n in numbers):
            continue
        shown = str(value)[:100]
        raise UserError(f"{source}: trainer.{key}={shown} is refused from a stored config; type it with resume=")
    return dict(stored)


def _loggers(stored: Any, typed: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the loggers of the run with the options of ``conf/logger``; stored options are not used."""
    opened_config: dict[str, Any] = {}
    if stored is not None and not isinstance(stored, Mapping):
        raise UserError(f"{source}: logger is not a mapping")
    for name, node in (stored or {}).items():
        # Only loggers of this installation are allowed.
        file = dict(config_files()).get(Path("logger", f"{name}.yaml"))
        if not re.fullmatch(r"\w+", str(name)) or file is None:
            raise UserError(f"{source}: logger.{str(name)[:100]} is refused: conf/logger has no such file")
        opened_config[name] = read_yaml(file)[name]
        # Warn about stored options that are dropped.
        usual, mine = dict(leaves(opened_config[name])), dict(leaves(typed.get(name) or {}))
        for key, value in leaves(node):
            if usual.get(key) != value and key not in mine:
                log.warning(
                    "logger.%s.%s=%s of the stored config is not used; type it with resume= to use it",
                    *(name, key, str(value)[:100]),
                )
    return opened_config


def _merged(stored: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``stored`` with the values of ``typed``, at all depths."""
    opened_config = dict(stored)
    for key, value in typed.items():
        below = opened_config.get(key)
        opened_config[key] = (
            _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return opened_config
