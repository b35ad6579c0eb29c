"""YAML and JSON of files that somebody else may have written: plain data within bounds, and no resolvers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from seq2seq.config.nodes import leaves
from seq2seq.errors import UserError

MAX_BYTES = 4 << 20
MAX_DEPTH = 40
MAX_NODES = 100_000
MAX_TEXT = 100_000  # characters of one text
MAX_NUMBER = 2**62
REFERENCE = re.compile(
    r"\$\{(oc\.select:)?([A-Za-z_][\w.]*)\s*(?:,((?:[^{}]|\{[^{}]*\}|\{[^{}]*\{[^{}]*\}[^{}]*\})*))?\}"
)
"""``${key.path}`` or ``${oc.select:key.path,default}``, whose default may hold two more, one in the other."""


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]  # PyYAML comes without types
    """The safe loader, which takes dates for what they are written as."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file that a run left.

    Raises:
        UserError: It can't be read, is no YAML, is too large or too deep, or uses aliases.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}") from error
    return parse_yaml(content, str(file))


def parse_yaml(content: bytes, name: str) -> Any:
    """Return ``content`` as plain data; ``name`` is what errors call it."""
    if len(content) > MAX_BYTES:
        raise UserError(f"{name} is refused: a config of more than {MAX_BYTES >> 20} MB")
    try:
        depth = 0
        for event in yaml.parse(content, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UserError(f"{name} is refused: it is nested more than {MAX_DEPTH} levels deep")
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{name} is refused: YAML aliases (*{event.anchor}) are not read")
        value = yaml.load(content, Loader=_Loader)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{name} can't be read: {_first(error)}") from error
    check(value, name)
    return value


def read_json(file: Path) -> Any:
    """Return the content of a JSON file that a run left."""
    try:
        return parse_json(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} can't be read: it is not UTF-8") from error


def parse_json(text: str, name: str) -> Any:
    """Return ``text`` as plain data; ``name`` is what errors call it."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UserError(f"{name} is refused: it is nested too deep") from error
    except ValueError as error:
        raise UserError(f"{name}: no JSON: {_first(error)}") from error


def check(value: Any, name: str) -> None:
    """Refuse what is not plain data within bounds: texts, numbers, lists, and mappings by text."""
    nodes = 0
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        path, one, depth = waiting.pop()
        nodes += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise UserError(f"{name} is refused: a config of more than {MAX_NODES} values or {MAX_DEPTH} levels")
        if isinstance(one, Mapping):
            for key, below in one.items():
                if not isinstance(key, str | int) or len(str(key)) > 200:
                    raise UserError(f"{name}: {path or 'its top'} is refused: a key must be a short text")
                waiting.append((f"{path}.{key}" if path else str(key), below, depth + 1))
        elif isinstance(one, list | tuple):
            waiting += [(f"{path}[{place}]", below, depth + 1) for place, below in enumerate(one)]
        elif isinstance(one, str):
            if len(one) > MAX_TEXT:
                raise UserError(f"{name}: {path} is refused: a text of more than {MAX_TEXT} characters")
        elif isinstance(one, int):
            if abs(one) > MAX_NUMBER:
                raise UserError(f"{name}: {path} is refused: no option is that large a number")
        elif one is not None and not isinstance(one, float):
            raise UserError(f"{name}: {path} is refused: {type(one).__name__} is no plain data")


def refuse_references(config: Mapping[str, Any], name: str) -> None:
    """Refuse interpolations: configs are stored resolved."""
    for path, value in leaves(config):
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{name}: {path}={_short(value)} is refused: a stored config holds no ${{...}}")


def resolved(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an old config with its references (to other keys, and ``oc.select`` of them) replaced by their values.

    Raises:
        UserError: Another resolver is asked for, a reference leads nowhere or in a circle, or to too much.
    """
    values = 0

    def value_of(value: Any, path: str, depth: int) -> Any:
        nonlocal values
        values += 1
        if values > MAX_NODES or depth > MAX_DEPTH:
            raise UserError(f"{name}: {path} is refused: its references lead in a circle, or to too much")
        if isinstance(value, Mapping):
            return {
                key: value_of(below, f"{path}.{key}" if path else str(key), depth + 1) for key, below in value.items()
            }
        if isinstance(value, list | tuple):
            return [value_of(below, path, depth + 1) for below in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        if whole := REFERENCE.fullmatch(value):
            return referred(whole, path, depth)
        text = REFERENCE.sub(lambda found: str(referred(found, path, depth)), value)
        if "${" in text or len(text) > MAX_TEXT:  # which two harmless parts can make as well
            raise UserError(f"{name}: {path}={_short(value)} is refused: only references to other keys are resolved")
        return text

    def referred(found: re.Match[str], path: str, depth: int) -> Any:
        select, key, default = found.groups()
        if default is not None and not select:
            raise UserError(f"{name}: {path}={_short(found[0])} is refused: only references to other keys are resolved")
        target: Any = config
        for part in key.split("."):
            if not isinstance(target, Mapping) or target.get(part, "???") == "???":
                if not select:
                    raise UserError(f"{name}: {path}={_short(found[0])} leads nowhere")
                target = default.strip() if default is not None else None
                if target is not None and "${" not in target:
                    target = _scalar(target, f"{name}: {path}")
                break
            target = target[part]
        return value_of(target, path, depth + 1)

    return {str(key): value_of(value, str(key), 1) for key, value in config.items()}


def _scalar(text: str, name: str) -> Any:
    """Return what a default of ``oc.select`` stands for: a number, a switch, null or a text."""
    value = parse_yaml(text.encode(), name)
    if value is not None and not isinstance(value, str | int | float):
        raise UserError(f"{name} is refused: the default of oc.select must be a number, a text or null")
    return value


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def _first(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    place = getattr(error, "problem_mark", None)
    where = f"line {place.line + 1}: " if place is not None else ""
    return where + (getattr(error, "problem", None) or lines[0])[:200]
