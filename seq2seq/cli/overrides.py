"""Overrides as people type them, in the form that Hydra's grammar reads.

``KEY=VALUE`` sets any option whether or not its YAML lists it, for which Hydra would ask ``++KEY=VALUE``. A value that
is a path, or that the grammar can't read, is quoted: a shell completes names with ``=``, ``,``, ``[`` or ``ü`` as they
are.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
from collections.abc import Collection, Iterable

from hydra.errors import HydraException

from seq2seq.compat.hydra import parse_override, quoted
from seq2seq.config.instantiate import CONF
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
"""The options of each command that are paths; ``outputs.*`` is every key below ``outputs``."""
LISTS = ("runs", "references")
"""Those that may be several paths: [a,b]."""


def as_override(argument: str, command: str = "train", *, sweeps: bool = False) -> str:
    """Return ``argument`` of a ``command`` in Hydra's grammar; groups (``attention=local``) and flags stay as they are.

    Args:
        argument: one word of the command line.
        command: the name of its config: train, resume, evaluate, generate, compare.
        sweeps: whether ``a,b`` stands for two values, and not for a path with a comma.
    """
    argument = _renamed(argument, command)
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if not equals or not re.match(r"[A-Za-z_]", name) or "@" in name or "/" in name or name in groups():
        return argument
    if name in PATHS[command] or f"{name.partition('.')[0]}.*" in PATHS[command]:
        value = _path(name, value, sweeps=sweeps)
    elif not _reads(f"key={value}"):
        value = literal(value)
    return f"{key}={value}" if key.startswith("+") or name.startswith("hydra.") else f"{FORCE}{key}={value}"


def _renamed(argument: str, command: str) -> str:
    """Return ``argument`` with today's names of keys and choices, and warn where it has old ones."""
    key, equals, value = argument.partition("=")
    name = key.lstrip("+~")
    if not equals:
        return argument
    names = {"train": moved_names.KEYS, "resume": moved_names.KEYS, "evaluate": moved_names.EVALUATION_KEYS}
    new_name = moved_names.key(name, names.get(command, {}))
    new_value = moved_names.CHOICES.get(name, {}).get(value, value)
    if (new_name, new_value) == (name, value):
        return argument
    log.warning(
        "%s=%s is called %s=%s now; the old name is understood for one release", name, value, new_name, new_value
    )
    return f"{key[: len(key) - len(name)]}{new_name}={new_value}"


def shown(text: str) -> str:
    """Return what is said of overrides without the ``++`` that ``as_override`` put before them."""
    return re.sub(rf"(?<![^\s'\"(]){re.escape(FORCE)}(?=[A-Za-z_])", "", text)


def literal(value: str) -> str:
    """Quote ``value`` so that it is a string, character for character: neither grammar nor interpolation reads it."""
    escaped = re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)
    return quoted(escaped)


def _path(name: str, value: str, *, sweeps: bool) -> str:
    """Quote a path, or each of several; what exists under the name as it stands is that file."""
    if os.path.lexists(value):
        return _literal_path(name, value)
    if value in ("", "null") or (value[0] in "'\"" and _reads(f"key={value}")):
        return value
    if name in LISTS and value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_path(name, item, sweeps=False) for item in _items(value[1:-1]))}]"
    if sweeps and re.match(r"(choice|glob|shuffle|sort)\(", value) and _reads(f"key={value}"):
        return value
    if sweeps and len(items := _items(value)) > 1:
        return ",".join(_path(name, item, sweeps=False) for item in items)
    first = value.partition("/")[0]
    return _literal_path(name, os.path.expanduser(value) if not os.path.lexists(first) else value)


def _literal_path(name: str, value: str) -> str:
    """Quote one path. Hydra fills in what stands in the name of a run's directory, such as ${now:%Y}."""
    if name not in DIRECTORIES or "${" not in value:
        return literal(value)
    if os.path.lexists(value) or not _reads(f"key={value}"):
        raise UserError(f"{name}={value}: a run's directory can't have ${{ in its name; choose another")
    return value


def _items(text: str) -> list[str]:
    """Split at commas outside quotes."""
    return re.findall(r"""\s*((?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,])+)""", text)


def _reads(override: str) -> bool:
    """Tell whether Hydra's grammar reads ``override``, an ambiguous list of values included."""
    try:
        parse_override(override)
    except (HydraException, RecursionError):
        return False
    return True


def retyped(overrides: Iterable[str], without: Collection[str] = ()) -> list[str]:
    """Return stored overrides as the words of a shell's command, but for those of the keys ``without``.

    Args:
        overrides: Each as a run keeps it (``.hydra/overrides.yaml``), in Hydra's grammar.
        without: Names of options that are left out.
    """
    kept = (override.lstrip("+") for override in overrides if keys([override])[0] not in without)
    return [shlex.quote(re.sub(r"='([\w./-]+)'$", r"=\1", word)) for word in kept]


class Shown(logging.Filter):
    """Hydra's own lines (the jobs of a sweep) with overrides as they were typed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the line; keep it."""
        record.msg, record.args = shown(record.getMessage()), ()
        return True


@functools.cache
def groups() -> frozenset[str]:
    """Return the names of the folders of ``conf``."""
    return frozenset(path.relative_to(CONF).as_posix() for path in CONF.rglob("*") if path.is_dir())


def keys(overrides: Iterable[str]) -> list[str]:
    """Return the names of the options that ``overrides`` set."""
    return [override.lstrip("+").partition("=")[0] for override in overrides]
