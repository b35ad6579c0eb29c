"""What of a stored config has to do with this machine: where data are read, where caches go, how training runs.

A stored config says what a model is. Addresses and caches are the user's: they count if typed on this command line, or
if this installation's ``conf/`` names them.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from typing import Any

from seq2seq.config.instantiate import CONF
from seq2seq.config.nodes import leaves
from seq2seq.errors import UserError
from seq2seq.stored.plain import read_yaml

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|::|^\\\\|^//")
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FREE = ("path", "cache", "workers", "pin_memory")
"""Options of data that change nothing in what is learnt, which ``resume=`` may set anew."""
WORDS = {
    "accelerator": r"[a-z]+",
    "strategy": r"auto|ddp",
    "precision": r"[\w-]+",
    "devices": r"auto|-1|\d{1,3}(, ?\d{1,3})*",
    "max_time": r"[\d:]+",
    "gradient_clip_algorithm": r"norm|value",
    "deterministic": r"warn",
}
"""Options of the trainer that are words, and which words a stored config may have there."""


def data_here(stored: Mapping[str, Any], typed: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return the ``data`` node of a stored config as this machine reads it.

    Args:
        stored: The node, with what was typed put into it.
        typed: What was typed of it on this command line.
        source: The file it is of, as errors call it.

    Raises:
        UserError: It names an address, or a place outside ``data.path``, that was not typed.
    """
    data = {**stored, "cache": typed.get("cache") or cache()}
    mine = dict(leaves(typed))
    for key, value in leaves({k: v for k, v in data.items() if k not in ("cache", "tokenizer")}):
        if not isinstance(value, str) or value in known() or mine.get(key) == value:
            continue
        outside = key.startswith("reader.") and (value.startswith(("/", "~")) or ".." in re.split(r"[/\\]", value))
        if ADDRESS.search(value) or outside or (key == "reader.repository" and not HUB_NAME.fullmatch(value)):
            raise UserError(
                f"{source}: data.{key}={value[:200]} is not read because a file says so: type data.{key}=... to read it"
            )
    if isinstance(tokenizer := data.get("tokenizer"), Mapping):  # the model has its own
        data["tokenizer"] = {**tokenizer, "source_model": None, "target_model": None}
    options = data.get("reader")
    options = options if isinstance(options, Mapping) else {}
    where = data.get("path") or options.get("repository") or "nowhere: they are made"
    log.info("data are read by %s from %s", str(options.get("_target_")).rpartition(".")[2], where)
    return data


def resumed(config: Mapping[str, Any], typed: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return the stored config of a run that goes on, as this machine trains it; ``typed`` is put into it later."""
    data, mine = config.get("data"), typed.get("data") or {}
    if not isinstance(data, Mapping):
        raise UserError(f"{source}: data is missing, or no node")
    before = dict(leaves(data))
    for key, value in leaves(mine):
        if (
            before.get(key, "") != value
            and key not in FREE
            and not (key.startswith("reader.") and isinstance(value, str))
        ):
            raise UserError(
                f"data.{key} is fixed by the run: with resume=, only data.{', data.'.join(FREE)} can change"
            )
    opened_config = {**config, "data": data_here(_merged(data, mine), mine, source=source)}
    opened_config["trainer"] = _trainer(config.get("trainer"), typed.get("trainer") or {}, source)
    opened_config["logger"] = _loggers(config.get("logger"), typed.get("logger") or {}, source)
    return opened_config


def cache() -> str:
    """Return the directory where this installation's ``conf/`` puts caches."""
    return str(read_yaml(CONF / "data" / "base" / "corpus.yaml")["cache"])


@functools.cache
def known() -> frozenset[str]:
    """Return the texts in this installation's files of ``conf/data``."""
    files = sorted((CONF / "data").rglob("*.yaml"))
    return frozenset(value for file in files for _, value in leaves(read_yaml(file)) if isinstance(value, str))


def _trainer(stored: Any, typed: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the trainer's options: numbers, switches, and words where they are choices."""
    if not isinstance(stored, Mapping):
        raise UserError(f"{source}: trainer is missing, or no node")
    if "_target_" in typed:  # chosen anew
        return dict(stored)
    for key, value in stored.items():
        if key in ("_target_", *typed) or value is None or isinstance(value, bool | int | float):
            continue
        if isinstance(value, str) and re.fullmatch(WORDS.get(key, "(?!)"), value):
            continue
        numbers = [below for _, below in leaves(value)]
        if key in ("devices", "max_time") and all(isinstance(n, int | float) for n in numbers):
            continue
        shown = str(value)[:100]
        raise UserError(f"{source}: trainer.{key}={shown} is refused from a stored config: type it with resume=")
    return dict(stored)


def _loggers(stored: Any, typed: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the loggers of ``conf/logger`` by their names; other options than there count only if typed."""
    opened_config: dict[str, Any] = {}
    if stored is not None and not isinstance(stored, Mapping):
        raise UserError(f"{source}: logger is no mapping")
    for name, node in (stored or {}).items():
        file = CONF / "logger" / f"{name}.yaml"
        if not re.fullmatch(r"\w+", str(name)) or not file.is_file():
            raise UserError(f"{source}: logger.{str(name)[:100]} is refused: conf/logger has no such file")
        opened_config[name] = read_yaml(file)[name]
        usual, mine = dict(leaves(opened_config[name])), dict(leaves(typed.get(name) or {}))
        for key, value in leaves(node):
            if usual.get(key) != value and key not in mine:
                log.warning(
                    "logger.%s.%s=%s of the stored config is not used: type it with resume= to use it",
                    *(name, key, str(value)[:100]),
                )
    return opened_config


def _merged(stored: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    opened_config = dict(stored)
    for key, value in typed.items():
        below = opened_config.get(key)
        opened_config[key] = (
            _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return opened_config
