"""Which classes a config may name at which key: those that the files of ``conf/`` name for that key, and no others.

The files are read as data. A group's file says what stands in its node (``_target_``), which groups fill keys below
it (``defaults``), and which keys of the whole config are repeated there (``${attention}``).
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from seq2seq.config.instantiate import CONF, TOOLS
from seq2seq.errors import UserError

Place = tuple[str, str]
"""(group, key below it); the group "" is the whole config."""

COMMANDS = ("compare.yaml", "evaluate.yaml", "generate.yaml", "resume.yaml")
DECODING: Place = ("", "training.decoding")


class Roles:
    """The classes of each key, and the keys whose nodes wait for further arguments (``_partial_``)."""

    def __init__(self, conf: Path) -> None:
        self.targets: dict[Place, set[str]] = defaultdict(set)
        self.partial: set[Place] = set()
        self.same: dict[Place, set[Place]] = defaultdict(set)  # what stands there as well
        for file in sorted(conf.rglob("*.yaml")):
            folder = file.relative_to(conf).parent
            if "hydra" in folder.parts or file.name in COMMANDS:
                continue
            text = file.read_text(encoding="utf-8")
            group = "" if "@package _global_" in text or folder == Path() else folder.as_posix()
            self._read(group, yaml.load(text, Loader=yaml.CSafeLoader) or {})
        self.same[DECODING].add(("decoding", ""))
        for name in TOOLS:
            if re.fullmatch(r"torch\.optim\.\w+", name):
                self.targets["optimizer", ""].add(name)

    def of(self, path: str) -> tuple[set[str], bool]:
        """Return the classes that may stand at ``path``, and whether its node is a partial one."""
        node_paths = self._closure({("", "")})
        for key in path.split("."):
            node_paths = self._closure({(group, f"{below}.{key}" if below else key) for group, below in node_paths})
        names = {name for node_path in node_paths for name in self.targets.get(node_path, ())}
        return names, not node_paths.isdisjoint(self.partial)

    def _closure(self, node_paths: set[Place]) -> set[Place]:
        roles_of_node, waiting = set(node_paths), list(node_paths)
        while waiting:
            for node_path in self.same.get(waiting.pop(), ()):
                if node_path not in roles_of_node:
                    roles_of_node.add(node_path)
                    waiting.append(node_path)
        return roles_of_node

    def _read(self, group: str, content: Mapping[str, Any]) -> None:
        for entry in content.get("defaults") or []:
            self._default(group, entry)
        for path, node in _mappings({key: value for key, value in content.items() if key != "defaults"}):
            if isinstance(name := node.get("_target_"), str):
                self.targets[group, path].add(name)
            if node.get("_partial_") is True:
                self.partial.add((group, path))
            for key, value in node.items():
                if isinstance(value, str) and "${" in value:
                    node_path = (group, f"{path}.{key}" if path else key)
                    self.same[node_path] |= {
                        ("", name) for name in re.findall(r"(?:\$\{|oc\.select:)(\w+)(?=[,}])", value)
                    }

    def _default(self, group: str, entry: Any) -> None:
        """Note an entry of a defaults list.

        Entries are such as ``rnn@words``, ``base/corpus@_here_``, ``score: dot``, ``override
        /encoder@_global_.encoder: cnn``.
        """
        is_group = isinstance(entry, Mapping)
        text = next(iter(entry)) if is_group else str(entry)
        text = text.removeprefix("override ").strip()
        if text == "_self_" or text.startswith("hydra/"):
            return
        name, _, package = text.partition("@")
        if not is_group:  # a file's name, not a group's
            name = name.rpartition("/")[0]
        absolute = name.startswith("/")
        name = name.removeprefix("/")
        other = name if absolute or not group else f"{group}/{name}".rstrip("/")
        if package.startswith("_global_"):
            node_path = ("", package.removeprefix("_global_").removeprefix("."))
        elif package in ("_here_", "_group_") or (not package and not is_group):
            node_path = (group, "")
        elif package:
            node_path = (group, package)
        else:  # a group's own place
            node_path = ("", name.replace("/", ".")) if absolute or not group else (group, name.replace("/", "."))
        if (other, "") != node_path:
            self.same[node_path].add((other, ""))


@functools.cache
def roles() -> Roles:
    """Return the roles by this installation's ``conf/``."""
    return Roles(CONF)


def check(config: Mapping[str, Any], name: str, prefix: str = "") -> None:
    """Refuse a node whose class no file of ``conf/`` names for its key; ``name`` is what errors call the config.

    Raises:
        UserError: One line that names the key and the class.
    """
    start = f"{name}: " if name else ""
    for path, node in _mappings(config, prefix):
        if "_target_" not in node and "_partial_" not in node:
            continue
        target, (allowed, partial) = node.get("_target_"), roles().of(path)
        if not isinstance(target, str) or target not in allowed:
            shown = str(target)[:200]
            raise UserError(f"{start}{path}._target_={shown} is refused: no file of conf/ names it for this key")
        if node.get("_partial_", False) is not partial:
            shown = str(node.get("_partial_", False))[:200]
            raise UserError(f"{start}{path}._partial_={shown} is refused: it is {str(partial).lower()} there")


def _mappings(value: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all mappings with their paths."""
    if isinstance(value, Mapping):
        yield path, value
        for key, below in value.items():
            yield from _mappings(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from _mappings(below, f"{path}.[{index}]")
