"""Names that have changed since a run was made: old configs are read as if they were written today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODULES = {
    "seq2seq.attention.feature_maps": "seq2seq.attention.components.feature_maps",
    "seq2seq.attention.normalizers": "seq2seq.attention.components.normalizers",
    "seq2seq.attention.patterns": "seq2seq.attention.components.patterns",
    "seq2seq.attention.relative": "seq2seq.attention.components.relative_positions",
    "seq2seq.attention.scores": "seq2seq.attention.components.scores",
    "seq2seq.attention.selections": "seq2seq.attention.components.selections",
    "seq2seq.attention.windows": "seq2seq.attention.components.windows",
    "seq2seq.data.folders": "seq2seq.data.readers.folders",
    "seq2seq.data.karpathy": "seq2seq.data.readers.karpathy",
    "seq2seq.data.readers": "seq2seq.data.readers.text",
    "seq2seq.encoders.clip": "seq2seq.encoders.video",
}
"""Where the classes of a module are today."""

CLASSES: dict[str, str] = {}
"""Classes that have another name today, by their path today but for the class's own old name."""

KEYS: dict[str, str] = {}
"""Keys of the config that have another name today, by their full paths. Renamed keys are applied in this order."""


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with today's names of keys and classes. What is no mapping, or unknown, stays as it is."""
    result = {str(key): _classes(value) for key, value in config.items()}
    for old, new in KEYS.items():
        _move(result, old.split("."), new.split("."))
    return result


def class_path(path: str) -> str:
    """Today's path of the class that once was ``path``."""
    module, _, name = path.rpartition(".")
    path = f"{MODULES.get(module, module)}.{name}"
    return CLASSES.get(path, path)


def _classes(value: Any) -> Any:
    if isinstance(value, Mapping):
        node = {key: _classes(below) for key, below in value.items()}
        if isinstance(path := node.get("_target_"), str):
            node["_target_"] = class_path(path)
        return node
    if isinstance(value, list | tuple):
        return [_classes(below) for below in value]
    return value


def _move(config: dict[str, Any], old: list[str], new: list[str]) -> None:
    """Take the value at ``old`` to ``new``, unless something stands there."""
    node: Any = config
    for key in old[:-1]:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or old[-1] not in node:
        return
    target: Any = config
    for key in new[:-1]:
        target = target.setdefault(key, {}) if isinstance(target, dict) else None
    if isinstance(target, dict) and new[-1] not in target:
        target[new[-1]] = node.pop(old[-1])
