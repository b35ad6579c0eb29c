"""The user's own config files and classes, which the command line adds: ``--config-dir DIR`` and ``trust=[PACKAGE]``.

A config may name classes of this package. Classes of another package count only while a command or ``seq2seq.load``
trusts it: a stored config cannot do that.
"""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from seq2seq.errors import UserError

PACKAGE = "seq2seq"
TRUST = "trust"


@dataclass(frozen=True)
class Extensions:
    """Config files and classes beside those of this installation.

    Args:
        folder: Folder with config files of the user, laid out like ``conf/``.
        packages: Packages whose classes a config may name.
    """

    folder: Path | None = None
    packages: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Return the words of a command line that add them."""
        words = [] if self.folder is None else ["--config-dir", shlex.quote(str(self.folder))]
        return words + ([shlex.quote(f"{TRUST}=[{','.join(self.packages)}]")] if self.packages else [])


NONE = Extensions()
_CURRENT: ContextVar[Extensions] = ContextVar("extensions", default=NONE)


def current() -> Extensions:
    """Return the extensions that count now."""
    return _CURRENT.get()


def use(extensions: Extensions) -> None:
    """Let extensions count from now on.

    Args:
        extensions: The extensions, instead of those that count before.
    """
    _CURRENT.set(extensions)


@contextmanager
def using(extensions: Extensions) -> Iterator[None]:
    """Let extensions count in the block.

    Args:
        extensions: The extensions, instead of those that count outside.
    """
    token = _CURRENT.set(extensions)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def trusting(packages: str | Iterable[str]) -> Iterator[None]:
    """Trust packages in the block, besides those that are trusted outside.

    Args:
        packages: Name of a package, or several.

    Raises:
        UserError: There is no such package, or it can't be trusted.
    """
    names = checked([packages] if isinstance(packages, str) else packages)
    with using(replace(current(), packages=(*current().packages, *names))):
        yield


def checked(packages: Iterable[str]) -> tuple[str, ...]:
    """Return names of packages that can be trusted; a package is found but not imported.

    Args:
        packages: Dotted names of packages or modules.

    Raises:
        UserError: A name is none of a package, belongs to Python or to this application, or can't be found.
    """
    names = tuple(packages)
    for name in names:
        parts = name.split(".") if isinstance(name, str) else [""]
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
            raise UserError(f"{TRUST}={name}: must be the name of a package, such as {TRUST}=[mypackage]")
        if not _is_foreign(name):
            raise UserError(f"{TRUST}={name}: must be a package of yours, not one of Python or of this application")
        if find_spec(parts[0]) is None:
            raise UserError(
                f"{TRUST}={name}: no package {parts[0]} in the current directory, on PYTHONPATH or among the installed"
            )
    return names


def is_trusted(path: object) -> bool:
    """Return whether a dotted name is below a trusted package.

    Args:
        path: Name of a class or of a module.
    """
    return isinstance(path, str) and any(f"{path}.".startswith(f"{package}.") for package in current().packages)


def hint(path: object) -> str:
    """Return the remedy for a class that is refused, to be appended to a message: how to trust its package.

    Args:
        path: Name of the class. Python's own modules and those that ``conf/`` names have no remedy.
    """
    package = str(path).split(".")[0]
    if not re.fullmatch(r"\w+(\.\w+)+", str(path)) or not _is_foreign(package) or is_trusted(path):
        return ""
    return f"; if {package} is your own package, add {TRUST}=[{package}]"


def _is_foreign(name: str) -> bool:
    """Return whether a package is neither this one, nor one that it builds on, nor one of Python."""
    return name.split(".")[0] not in {PACKAGE, "torch", "lightning", *sys.stdlib_module_names}


def program(name: str) -> str:
    """Return how to start a command here: ``python train.py`` in a checkout, else ``seq2seq-train``.

    Args:
        name: Name of the command: train, evaluate, generate or compare.
    """
    is_installed = Path(sys.argv[0]).name.startswith(f"{PACKAGE}-")
    is_checkout = (Path(__file__).parents[2] / f"{name}.py").is_file()
    return f"python {name}.py" if is_checkout and not is_installed else f"{PACKAGE}-{name}"


def command(name: str) -> str:
    """Return how to start a command here, with the extensions that count now.

    Args:
        name: Name of the command: train, evaluate, generate or compare.
    """
    return " ".join([program(name), *current().words()])
