"""Texts about options: the comments of the files in ``conf``, read without Hydra.

The comment at the top of a file describes the file. The comment on the line of an option, with the comment lines below
it, describes the option. ``--help`` and ``docs/reference/options.md`` show these texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from seq2seq.config import extensions
from seq2seq.config.instantiate import CONF

HIDDEN = ("hydra", "base", "tuned")
"""Folders whose files are no choices: logging of Hydra, files that other files include, and tuned values."""
GLOBAL = "# @package _global_"
ABOUT = {
    "attention": "How the decoder attends to the source. In the equations, s (or q) is the query, the state of the "
    "decoder; h (or k) is a source position; e is a score, a is a weight; v, W and U are learned.",
    "attention/feature_map": "How linear attention maps queries and keys. It is a part of a mechanism.",
    "attention/normalizer": "How scores e become weights. It is a part of a mechanism.",
    "attention/score": "How a query q is compared with a position k. It is a part of a mechanism.",
    "attention/selection": "Which weights make the context. It is a part of a mechanism.",
    "attention/window": "Which positions are visible. It is a part of a mechanism.",
    "data": "The dataset.",
    "debug": "Short runs that find mistakes.",
    "decoder": "The network that writes the output.",
    "decoder/output": "How logits z become the probabilities p of words, and which loss trains them.",
    "decoding": "The search for outputs.",
    "encoder": "The network that reads the source.",
    "experiment": "Recipes: settings of several groups at once.",
    "logger": "Where the curves of training are written.",
    "lr_scheduler": "The learning rate over the updates.",
    "model": "Encoder, decoder and their sizes together.",
    "optimizer": "The optimiser.",
    "recipe": "One recipe for all mechanisms, or one for each. It has learning rate, warm-up and gain.",
    "self_attention": "How a sequence attends to itself. `self_attention=` sets the encoder and the decoder, "
    "`self_attention@encoder_self=` and `self_attention@decoder_self=` one of them.",
    "task": "What sources and targets are.",
    "trainer": "The hardware and the length of training.",
}
"""{group: its purpose}."""


@dataclass(frozen=True)
class Option:
    """An option of a file: its full key, its default as YAML and its comment."""

    key: str
    default: str
    comment: str


@dataclass
class ConfigFile:
    """A file of ``conf/``: its name, comments at the top, class, entries of ``defaults``, and options."""

    name: str
    comments: list[str] = field(default_factory=list)
    target: str = ""
    defaults: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)

    @property
    def header(self) -> str:
        """The comments at the top, as one line."""
        return " ".join(self.comments).replace(" For: ", ". For: ", 1)


def groups() -> list[str]:
    """Return the names of all groups that users choose from, such as ``attention/score``."""
    folders = (path for path in CONF.rglob("*") if path.is_dir())
    names = (path.relative_to(CONF) for path in folders if not set(HIDDEN) & set(path.relative_to(CONF).parts))
    return sorted(name.as_posix() for name in names)


def choices(group: str) -> list[str]:
    """Return the names of the choices of a group, with those of ``--config-dir``.

    Args:
        group: A folder of ``conf/``.
    """
    return sorted(file.stem for folder in _folders() for file in (folder / group).glob("*.yaml"))


def file_of(group: str, choice: str) -> Path:
    """Return the file of a choice, in ``conf/`` or in the folder of ``--config-dir``.

    Args:
        group: A folder of ``conf/``.
        choice: A file in it; it may lie in a folder below.
    """
    files = [folder / group / f"{choice}.yaml" for folder in _folders()]
    return next((file for file in files if file.exists()), files[0])


def _folders() -> list[Path]:
    """Return the folders of config files."""
    own = extensions.current().folder
    return [CONF] if own is None else [CONF, own]


def _group(file: Path) -> str:
    """Return the group of a file: the folder in which it is."""
    return next(file.parent.relative_to(top).as_posix() for top in _folders() if file.is_relative_to(top))


def read(file: Path, prefix: str | None = None) -> ConfigFile:
    """Return the texts of a file.

    Args:
        file: A YAML file of ``conf/``.
        prefix: Key at which the file is included; None for the key of its group.
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = ConfigFile(file.stem, comments=_top_comments(lines))
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        return found
    group = _group(file)
    if lines[0] == GLOBAL or group == ".":
        prefix = ""
    elif prefix is None:
        prefix = _key(group)
    for key, value in root.value:
        if key.value == "defaults":
            found.defaults = [_default(item) for item in value.value]
        elif key.value == "_target_":
            found.target = value.value
        elif key.value != "hydra":
            found.options += _options(f"{prefix}.{key.value}".lstrip("."), key, value, lines)
    found.options = [option for option in found.options if not option.key.endswith("_partial_")]
    return found


def composed(group: str, choice: str, prefix: str | None = None) -> list[Option]:
    """Return all options of a choice: its own, and those of the files that it includes.

    An option without a comment keeps the comment of the included file.

    Args:
        group: A folder of ``conf/``.
        choice: A file in it; it may lie in a folder below.
        prefix: Key at which the choice is included; None for the key of its group.
    """
    file = file_of(group, choice)
    group = _group(file)
    found = read(file, prefix)
    options: dict[str, Option] = {}
    # A file without _self_ in its list comes after the files that it includes.
    for entry in found.defaults if "_self_" in found.defaults else [*found.defaults, "_self_"]:
        for option in found.options if entry == "_self_" else _included(entry, group, prefix):
            earlier = options.get(option.key, option)
            options[option.key] = replace(option, comment=option.comment or earlier.comment)
    return list(options.values())


def inherited(group: str, choice: str) -> dict[str, Option]:
    """Return {key: option} of all files that a choice includes.

    Args:
        group: A folder of ``conf/``.
        choice: A file in it.
    """
    entries = read(file_of(group, choice)).defaults
    return {option.key: option for entry in entries for option in _included(entry, group, None)}


def shared(group: str) -> list[ConfigFile]:
    """Return the files that choices of a group include and that are no choices themselves.

    Args:
        group: A folder of ``conf/``.
    """
    found: dict[Path, ConfigFile] = {}
    pending = [file_of(group, choice) for choice in choices(group)]
    for file in pending:
        for entry in read(file).defaults:
            path, _, place = entry.partition("@")
            included = CONF / path[1:] if path.startswith("/") else CONF / _group(file) / path
            if "=" in entry or path == "_self_" or place not in ("", "_here_") or "base" not in included.parts:
                continue
            included = included.with_suffix(".yaml")
            if included not in found:
                found[included] = read(included, _key(group))
                pending.append(included)
    return [found[file] for file in sorted(found)]


def _included(entry: str, group: str, prefix: str | None) -> list[Option]:
    """Return the options of a file in ``defaults``; nothing for ``_self_`` and for the choice of another group.

    Args:
        entry: Entry as in ``ConfigFile.defaults``.
        group: Group of the file with this entry.
        prefix: Key at which that file is included; None for the key of its group.
    """
    path, _, choice = entry.partition("=")
    path, _, place = path.partition("@")
    if entry == "_self_" or choice == "null" or place.startswith("_global_"):
        return []
    if choice and not place and path.startswith("/"):
        return []
    # Find the folder and the name of the file.
    own = _key(group) if prefix is None else prefix
    if choice:
        at, name = f"{own}.{place or path}", choice
        folder = path[1:] if path.startswith("/") else f"{group}/{path}"
    else:
        at = own if place in ("", "_here_") else f"{own}.{place}"
        folder, name = path[1:].rsplit("/", 1) if path.startswith("/") else (group, path)
    return composed(folder, name, at)


def _key(group: str) -> str:
    """Return the key of the config at which the files of a group are."""
    return group.removesuffix("/base").replace("/", ".")


def _top_comments(lines: Sequence[str]) -> list[str]:
    """Return the comments at the top of a file; a line that starts with a small letter goes on with the line before."""
    comments: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if comments and text[:1].islower():
            comments[-1] += f" {text}"
        elif line != GLOBAL:
            comments.append(text)
    return comments


def _default(item: yaml.Node) -> str:
    """Return an entry of ``defaults`` as it is written on a command line: ``score=general``."""
    if isinstance(item, yaml.MappingNode):
        key, value = item.value[0]
        return f"{key.value.removeprefix('override ').removeprefix('optional ')}={value.value}"
    return str(item.value)


def _options(key: str, name: yaml.Node, value: yaml.Node, lines: Sequence[str]) -> Iterator[Option]:
    """Yield an option and those below it.

    Args:
        key: The full key.
        name: The node of the key.
        value: The node of the value.
        lines: All lines of the file.
    """
    if isinstance(value, yaml.MappingNode) and not value.flow_style:
        nested = list(value.value)
        targets = [item.value for part, item in nested if part.value == "_target_"]
        comment = _comment(lines, name.start_mark.line, name.end_mark.column)
        if targets or comment:
            yield Option(key, f"class {targets[0]}" if targets else "", comment)
        for part, item in nested:
            if part.value != "_target_":
                yield from _options(f"{key}.{part.value}", part, item, lines)
        return
    start, end = value.start_mark, value.end_mark
    default = "\n".join(lines)[_offset(lines, start) : _offset(lines, end)]
    yield Option(key, " ".join(default.split()), _comment(lines, end.line, end.column))


def _offset(lines: Sequence[str], mark: yaml.Mark) -> int:
    """Return the position of a mark in the text of all lines."""
    column: int = mark.column
    return sum(len(line) + 1 for line in lines[: mark.line]) + column


def _comment(lines: Sequence[str], number: int, column: int) -> str:
    """Return the comment at the end of a line, with the comment lines that go on with it.

    Args:
        lines: All lines of the file.
        number: The line on which the value ends.
        column: The column at which it ends.
    """
    found = re.search(r"#\s*(.*)$", lines[number][column:])
    parts = [found[1]] if found else []
    for line in lines[number + 1 :]:
        if not re.match(r"\s+#", line):
            break
        parts.append(line.strip().lstrip("#").strip())
    return " ".join(parts)
