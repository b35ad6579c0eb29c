"""Configs without the options that have the default of their class.

An option that is added later, with a default that changes nothing, does not change such a config. So runs from before
and after it count as runs of one configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seq2seq.config.instantiate import TOOLS, signature_of
from seq2seq.errors import UserError


def without_defaults(value: Any) -> Any:
    """Return a part of a config without options that have the default of the constructor.

    Args:
        value: Plain data; values may be interpolations.
    """
    if isinstance(value, list | tuple):
        return [without_defaults(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    defaults = _defaults(value.get("_target_"))
    kept = {str(key): without_defaults(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if key not in defaults or not _equal(item, defaults[key])}


def _defaults(target: Any) -> dict[str, Any]:
    """Return the defaults of a class; {} where ``target`` names none."""
    if not isinstance(target, str):
        return {}
    try:
        signature = signature_of(target, tools=target in TOOLS)
    except UserError:  # the class of another version or of another package
        return {}
    return {name: one.default for name, one in signature.parameters.items()}


def _equal(item: Any, default: Any) -> bool:
    """Return whether a value from YAML is a default; a list stands for a tuple, and True is not 1."""
    if isinstance(default, list | tuple):
        return isinstance(item, list) and len(item) == len(default) and all(map(_equal, item, default))
    if isinstance(item, bool) or isinstance(default, bool):
        return item is default
    if isinstance(item, int | float | str) and isinstance(default, int | float | str):
        return item == default
    return item is None and default is None
