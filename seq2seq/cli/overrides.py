"""Conversion of the overrides on the command line to Hydra's grammar.

``KEY=VALUE`` sets any option, whether or not its YAML file lists it; Hydra would require ``++KEY=VALUE``. A path is
quoted, because a shell completes file names with ``=``, ``,``, ``[`` or ``ü`` without quotes. A value that the grammar
can't read is quoted too.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
from collections.abc import Collection, Iterable
from pathlib import Path

from hydra.errors import HydraException

from seq2seq.compat.hydra import parse_override, quoted
from seq2seq.config.instantiate import config_files
from seq2seq.errors import UserError
from seq2seq.stored import moved_names

log = logging.getLogger(__name__)

FORCE = "++"
DIRECTORIES = ("hydra.run.dir", "hydra.sweep.dir")
RUNS = ("data.path", "data.cache", "encoder.cache", "data.tokenizer.source_model", "data.tokenizer.target_model")
PATHS: dict[str, Collection[str]] = {
    "train": (*DIRECTORIES, *RUNS, "training.init_from", "data.reader.file"),
    "resume": (*DIRECTORIES, "resume"),
    "evaluate": (*DIRECTORIES, *RUNS, "checkpoint", "source_file", "target_file", "alignment", "output"),
    "generate": (*DIRECTORIES, "checkpoint", "input", "output", "alignments", "plots"),
    "compare": (*DIRECTORIES, "runs", "output", "outputs.*", "attention.*", "references", "sources"),
}
"""Options of each command that are paths; ``outputs.*`` stands for every key below ``outputs``."""
LISTS = ("runs", "references")
"""Options that may be lists of paths: [a,b]."""


def as_override(argument: str, command: str = "train", *, sweeps: bool = False) -> str:
    """Return an argument of the command line in Hydra's grammar.

    Choices of groups (``attention=local``) and flags stay as they are.

    Args:
        argument: One word of the command line.
        command: Name of the command's config: train, resume, evaluate, generate or compare.
        sweeps: Whether ``a,b`` stands for two values, not for a path with a comma.
    """
    argument = _renamed(argument, command)
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    # Leave flags and choices of groups as they are.
    if not equals or not re.match(r"[A-Za-z_]", name) or "@" in name or "/" in name or name in groups():
        return argument
    # Quote a path, and a value that the grammar can't read.
    if name in PATHS[command] or f"{name.partition('.')[0]}.*" in PATHS[command]:
        value = _path(name, value, sweeps=sweeps)
    elif not _reads(f"key={value}"):
        value = literal(value)
    return f"{key}={value}" if key.startswith("+") or name.startswith("hydra.") else f"{FORCE}{key}={value}"


def _renamed(argument: str, command: str) -> str:
    """Return ``argument`` with the current names of keys and choices, with a warning about old names."""
    key, equals, value = argument.partition("=")
    name = key.lstrip("+~")
    if not equals:
        return argument
    # Look up the new names of the key and of the choice.
    names = {"train": moved_names.KEYS, "resume": moved_names.KEYS, "evaluate": moved_names.EVALUATION_KEYS}
    new_name = moved_names.key(name, names.get(command, {}))
    new_value = moved_names.CHOICES.get(name, {}).get(value, value)
    if (new_name, new_value) == (name, value):
        return argument
    log.warning(
        "%s=%s is called %s=%s now; use the new name, because the old one works for one release only",
        name,
        value,
        new_name,
        new_value,
    )
    return f"{key[: len(key) - len(name)]}{new_name}={new_value}"


def shown(text: str) -> str:
    """Return a message about overrides without the ``++`` that ``as_override`` adds.

    Args:
        text: Message, with overrides in it.
    """
    return re.sub(rf"(?<![^\s'\"(]){re.escape(FORCE)}(?=[A-Za-z_])", "", text)


def literal(value: str) -> str:
    """Quote a value, so that neither the grammar nor an interpolation changes a character of it.

    Args:
        value: Value as typed.
    """
    escaped = re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)
    return quoted(escaped)


def _path(name: str, value: str, *, sweeps: bool) -> str:
    """Quote a path, or each path of a list; ``value`` is one path if a file of this name exists."""
    # An existing file comes first, whatever characters its name has.
    if os.path.lexists(value):
        return _literal_path(name, value)
    if value in ("", "null") or (value[0] in "'\"" and _reads(f"key={value}")):
        return value
    # Quote each path of a list or of a sweep.
    if name in LISTS and value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_path(name, item, sweeps=False) for item in _items(value[1:-1]))}]"
    if sweeps and re.match(r"(choice|glob|shuffle|sort)\(", value) and _reads(f"key={value}"):
        return value
    if sweeps and len(items := _items(value)) > 1:
        return ",".join(_path(name, item, sweeps=False) for item in items)
    # Expand ~ at the start of a single path.
    first = value.partition("/")[0]
    return _literal_path(name, os.path.expanduser(value) if not os.path.lexists(first) else value)


def _literal_path(name: str, value: str) -> str:
    """Quote one path. The directory of a run may contain interpolations, such as ${now:%Y}."""
    if name not in DIRECTORIES or "${" not in value:
        return literal(value)
    if os.path.lexists(value) or not _reads(f"key={value}"):
        raise UserError(f"{name}={value}: the directory of a run can't have ${{ in its name; choose another name")
    return value


def _items(text: str) -> list[str]:
    """Split ``text`` at commas outside quotes."""
    return re.findall(r"""\s*((?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,])+)""", text)


def _reads(override: str) -> bool:
    """Return whether Hydra's grammar can read ``override``; an ambiguous list of values counts too."""
    try:
        parse_override(override)
    except (HydraException, RecursionError):
        return False
    return True


def retyped(overrides: Iterable[str], without: Collection[str] = ()) -> list[str]:
    """Return the stored overrides of a run as words of a shell command.

    Args:
        overrides: Overrides in Hydra's grammar, as in ``.hydra/overrides.yaml`` of the run.
        without: Names of options that are left out.
    """
    kept = (override.lstrip("+") for override in overrides if keys([override])[0] not in without)
    return [shlex.quote(re.sub(r"='([\w./-]+)'$", r"=\1", word)) for word in kept]


class Shown(logging.Filter):
    """Filter for Hydra's log lines about the jobs of a sweep; it shows overrides as they were typed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the message of a record, and keep the record.

        Args:
            record: Record of Hydra.
        """
        record.msg, record.args = shown(record.getMessage()), ()
        return True


def groups() -> frozenset[str]:
    """Return the names of all config groups, which are the folders of ``conf`` and of the user's config files."""
    return _groups(config_files())


@functools.cache
def _groups(files: Iterable[tuple[Path, Path]]) -> frozenset[str]:
    """Return the names of the folders of config files."""
    return frozenset(above.as_posix() for place, _ in files for above in place.parents if above.name)


def keys(overrides: Iterable[str]) -> list[str]:
    """Return the names of the options that overrides set.

    Args:
        overrides: Overrides, each as typed or in Hydra's grammar.
    """
    return [override.lstrip("+").partition("=")[0] for override in overrides]
