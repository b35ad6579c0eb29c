"""Classes that a config may name at each key: those that the files of ``conf/`` name for the key.

The files of ``--config-dir`` count too, and all classes of trusted packages (``config/extensions.py``).

The files are read as data. The file of a group has the class of its node (``_target_``), the groups that fill keys
below it (``defaults``), and references to other keys of the config (``${attention}``).
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from seq2seq.config.extensions import hint, is_trusted
from seq2seq.config.instantiate import TOOLS, config_files
from seq2seq.errors import UserError

Place = tuple[str, str]
"""Tuple (group, key below the group); the group "" is the whole config."""

COMMANDS = ("compare.yaml", "evaluate.yaml", "generate.yaml", "resume.yaml")
DECODING: Place = ("", "training.decoding")


class Roles:
    """Classes of each key, and keys whose nodes need further arguments (``_partial_``).

    Args:
        files: Pairs (path below ``conf/``, path) of the config files.
    """

    def __init__(self, files: Iterable[tuple[Path, Path]]) -> None:
        self.targets: dict[Place, set[str]] = defaultdict(set)
        self.partial: set[Place] = set()
        self.same: dict[Place, set[Place]] = defaultdict(set)  # other places whose classes may stand at a place too
        for place, file in files:
            if "hydra" in place.parts or place.name in COMMANDS:
                continue
            text = file.read_text(encoding="utf-8")
            # Files of the package _global_ describe the whole config.
            group = "" if "@package _global_" in text or place.parent == Path() else place.parent.as_posix()
            try:
                content = yaml.load(text, Loader=yaml.CSafeLoader) or {}
            except yaml.YAMLError as error:
                raise UserError(f"{file} can't be read: {' '.join(str(error).split())}") from error
            if not isinstance(content, Mapping):
                raise UserError(f"{file} is not a config: it must be a mapping")
            self._read(group, content)
        # Options that no file names: decoding in training, and the optimisers of torch.
        self.same[DECODING].add(("decoding", ""))
        for name in TOOLS:
            if re.fullmatch(r"torch\.optim\.\w+", name):
                self.targets["optimizer", ""].add(name)

    def of(self, path: str) -> tuple[set[str], bool]:
        """Return the classes that a config may name at a key.

        Args:
            path: Key in the whole config.

        Returns:
            (names of the classes, whether the node is partial).
        """
        node_paths = self._closure({("", "")})
        # Follow the key from the top, with all places of the same content.
        for key in path.split("."):
            node_paths = self._closure({(group, f"{below}.{key}" if below else key) for group, below in node_paths})
        names = {name for node_path in node_paths for name in self.targets.get(node_path, ())}
        return names, not node_paths.isdisjoint(self.partial)

    def _closure(self, node_paths: set[Place]) -> set[Place]:
        """Return places with all places that ``same`` adds to them."""
        roles_of_node, waiting = set(node_paths), list(node_paths)
        while waiting:
            for node_path in self.same.get(waiting.pop(), ()):
                if node_path not in roles_of_node:
                    roles_of_node.add(node_path)
                    waiting.append(node_path)
        return roles_of_node

    def _read(self, group: str, content: Mapping[str, Any]) -> None:
        """Record the defaults, the classes and the references of one file."""
        for entry in content.get("defaults") or []:
            self._default(group, entry)
        for path, node in _mappings({key: value for key, value in content.items() if key != "defaults"}):
            # Record the class of the node.
            if isinstance(name := node.get("_target_"), str):
                self.targets[group, path].add(name)
            if node.get("_partial_") is True:
                self.partial.add((group, path))
            # Record references to keys of the whole config.
            for key, value in node.items():
                if isinstance(value, str) and "${" in value:
                    node_path = (group, f"{path}.{key}" if path else key)
                    self.same[node_path] |= {
                        ("", name) for name in re.findall(r"(?:\$\{|oc\.select:)(\w+)(?=[,}])", value)
                    }

    def _default(self, group: str, entry: Any) -> None:
        """Record an entry of a defaults list.

        Examples are ``rnn@words``, ``base/corpus@_here_``, ``score: dot`` and
        ``override /encoder@_global_.encoder: cnn``.
        """
        # Split the entry into the name of a group and a package.
        is_group = isinstance(entry, Mapping)
        text = next(iter(entry)) if is_group else str(entry)
        text = text.removeprefix("override ").removeprefix("optional ").strip()
        if text == "_self_" or text.startswith("hydra/"):
            return
        name, _, package = text.partition("@")
        if not is_group:  # the name of a file, not of a group
            name = name.rpartition("/")[0]
        absolute = name.startswith("/")
        name = name.removeprefix("/")
        other = name if absolute or not group else f"{group}/{name}".rstrip("/")
        # Find the place of the package.
        if package.startswith("_global_"):
            node_path = ("", package.removeprefix("_global_").removeprefix("."))
        elif package in ("_here_", "_group_") or (not package and not is_group):
            node_path = (group, "")
        elif package:
            node_path = (group, package)
        else:  # the default place of a group
            node_path = ("", name.replace("/", ".")) if absolute or not group else (group, name.replace("/", "."))
        if (other, "") != node_path:
            self.same[node_path].add((other, ""))


def roles() -> Roles:
    """Return the roles from ``conf/`` of this installation and from the files that the user adds."""
    return _roles(config_files())


@functools.cache
def _roles(files: tuple[tuple[Path, Path], ...]) -> Roles:
    """Return the roles from files, which are read once."""
    return Roles(files)


def check(config: Mapping[str, Any], name: str, prefix: str = "") -> None:
    """Refuse a config with a class that no file of ``conf/`` names for its key.

    Args:
        config: Config, or a part of it.
        name: Name of the file in messages; "" for the command line.
        prefix: Key of ``config`` in the whole config.

    Raises:
        UserError: A class or ``_partial_`` is refused. The message names the key and the class.
    """
    start = f"{name}: " if name else ""
    for path, node in _mappings(config, prefix):
        if "_target_" not in node and "_partial_" not in node:
            continue
        # Compare the class and _partial_ with those in conf/.
        target, (allowed, partial) = node.get("_target_"), roles().of(path)
        if not isinstance(target, str) or (target not in allowed and not is_trusted(target)):
            shown = str(target)[:200]
            raise UserError(
                f"{start}{path}._target_={shown} is refused: no file of conf/ names it for this key{hint(target)}"
            )
        # A class of the user may stand at a key of its own, which conf/ does not know.
        if allowed and node.get("_partial_", False) is not partial:
            shown = str(node.get("_partial_", False))[:200]
            raise UserError(f"{start}{path}._partial_={shown} is refused: it must be {str(partial).lower()} there")


def _mappings(value: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (path, mapping) of all mappings."""
    if isinstance(value, Mapping):
        yield path, value
        for key, below in value.items():
            yield from _mappings(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from _mappings(below, f"{path}.[{index}]")
