"""YAML and JSON of untrusted files: plain data of limited size, without resolvers."""

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
"""``${key.path}`` or ``${oc.select:key.path,default}``; the default may contain two more references, nested."""


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]  # PyYAML comes without types
    """Safe loader of YAML that reads dates as texts."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file as plain data.

    Args:
        file: Path of the file.

    Raises:
        UserError: The file can't be read, is not YAML, is too large or nested too deep, or uses aliases.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}") from error
    return parse_yaml(content, str(file))


def parse_yaml(content: bytes, name: str) -> Any:
    """Return YAML as plain data.

    Args:
        content: Content of the file.
        name: Name of the file in messages.

    Raises:
        UserError: The content is not YAML, is too large or nested too deep, or uses aliases.
    """
    if len(content) > MAX_BYTES:
        raise UserError(f"{name} is refused: it is larger than {MAX_BYTES >> 20} MB")
    try:
        # Check depth and aliases before any object is made.
        depth = 0
        for event in yaml.parse(content, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UserError(f"{name} is refused: it is nested more than {MAX_DEPTH} levels deep")
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{name} is refused: YAML aliases (*{event.anchor}) are not read")
        # Now the content is small enough to be built.
        value = yaml.load(content, Loader=_Loader)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{name} can't be read: {_first(error)}") from error
    check(value, name)
    return value


def read_json(file: Path) -> Any:
    """Return the content of a JSON file as plain data.

    Args:
        file: Path of the file.

    Raises:
        UserError: The file can't be read, or is not JSON.
    """
    try:
        return parse_json(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} can't be read: it is not UTF-8") from error


def parse_json(text: str, name: str) -> Any:
    """Return JSON as plain data.

    Args:
        text: Content of the file.
        name: Name of the file in messages.

    Raises:
        UserError: The text is not JSON, or is nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UserError(f"{name} is refused: it is nested too deep") from error
    except ValueError as error:
        raise UserError(f"{name} is not JSON: {_first(error)}") from error


def check(value: Any, name: str) -> None:
    """Check that a value is plain data of limited size: texts, numbers, lists, and mappings with texts as keys.

    Args:
        value: Value from a file.
        name: Name of the file in messages.

    Raises:
        UserError: A value has another type, or is too large.
    """
    nodes = 0
    # Visit all values without recursion, which could overflow the stack.
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        path, one, depth = waiting.pop()
        nodes += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise UserError(f"{name} is refused: it has more than {MAX_NODES} values or {MAX_DEPTH} levels")
        if isinstance(one, Mapping):
            for key, below in one.items():
                if not isinstance(key, str | int) or len(str(key)) > 200:
                    raise UserError(f"{name}: {path or 'the top level'} is refused: a key must be a short text")
                waiting.append((f"{path}.{key}" if path else str(key), below, depth + 1))
        elif isinstance(one, list | tuple):
            waiting += [(f"{path}[{place}]", below, depth + 1) for place, below in enumerate(one)]
        elif isinstance(one, str):
            if len(one) > MAX_TEXT:
                raise UserError(f"{name}: {path} is refused: the text has more than {MAX_TEXT} characters")
        elif isinstance(one, int):
            if abs(one) > MAX_NUMBER:
                raise UserError(f"{name}: {path} is refused: the number is larger than {MAX_NUMBER}")
        elif one is not None and not isinstance(one, float):
            raise UserError(f"{name}: {path} is refused: {type(one).__name__} is not a type of plain data")


def refuse_references(config: Mapping[str, Any], name: str) -> None:
    """Refuse a config with references, because stored configs are resolved.

    Args:
        config: Stored config.
        name: Name of the file in messages.

    Raises:
        UserError: A value contains a reference.
    """
    for path, value in leaves(config):
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{name}: {path}={_short(value)} is refused: a stored config must not contain ${{...}}")


def resolved(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an old config with its references replaced by their values.

    Only references to other keys are resolved, ``${key}`` and ``${oc.select:key,default}``.

    Args:
        config: Stored config.
        name: Name of the file in messages.

    Raises:
        UserError: A reference uses another resolver, names a missing key, is circular, or makes the config too large.
    """
    values = 0

    def value_of(value: Any, path: str, depth: int) -> Any:
        nonlocal values
        values += 1
        # Bound the size: references can be circular, or double the config each time.
        if values > MAX_NODES or depth > MAX_DEPTH:
            raise UserError(f"{name}: {path} is refused: its references are circular, or make the config too large")
        if isinstance(value, Mapping):
            return {
                key: value_of(below, f"{path}.{key}" if path else str(key), depth + 1) for key, below in value.items()
            }
        if isinstance(value, list | tuple):
            return [value_of(below, path, depth + 1) for below in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        # A text that is one reference keeps the type of its value.
        if whole := REFERENCE.fullmatch(value):
            return referred(whole, path, depth)
        text = REFERENCE.sub(lambda found: str(referred(found, path, depth)), value)
        if "${" in text or len(text) > MAX_TEXT:  # two resolved parts can form a new reference
            raise UserError(f"{name}: {path}={_short(value)} is refused: only references to other keys are resolved")
        return text

    def referred(found: re.Match[str], path: str, depth: int) -> Any:
        # Only oc.select may have a default.
        select, key, default = found.groups()
        if default is not None and not select:
            raise UserError(f"{name}: {path}={_short(found[0])} is refused: only references to other keys are resolved")
        # Follow the key, and take the default if it does not exist.
        target: Any = config
        for part in key.split("."):
            if not isinstance(target, Mapping) or target.get(part, "???") == "???":
                if not select:
                    raise UserError(f"{name}: {path}={_short(found[0])} is a reference to a key that does not exist")
                target = default.strip() if default is not None else None
                if target is not None and "${" not in target:
                    target = _scalar(target, f"{name}: {path}")
                break
            target = target[part]
        return value_of(target, path, depth + 1)

    return {str(key): value_of(value, str(key), 1) for key, value in config.items()}


def _scalar(text: str, name: str) -> Any:
    """Return the default of ``oc.select`` as a number, a boolean, null or a text."""
    value = parse_yaml(text.encode(), name)
    if value is not None and not isinstance(value, str | int | float):
        raise UserError(f"{name} is refused: the default of oc.select must be a number, a text or null")
    return value


def _short(text: str) -> str:
    """Return the start of a text in quotes."""
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def _first(error: Exception) -> str:
    """Return the line number and the problem of a parser's error in one line."""
    lines = str(error).splitlines() or [type(error).__name__]
    place = getattr(error, "problem_mark", None)
    where = f"line {place.line + 1}: " if place is not None else ""
    return where + (getattr(error, "problem", None) or lines[0])[:200]
