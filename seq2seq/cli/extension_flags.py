"""``--config-dir DIR`` and ``trust=[PACKAGE]``, which add the user's config files and classes to a command.

They are read from the command line alone and are no options of a config, so that no stored config can set them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from seq2seq.cli.one_line import one_line
from seq2seq.config import extensions
from seq2seq.config.extensions import TRUST, Extensions
from seq2seq.config.instantiate import CONF, config_files
from seq2seq.errors import UserError

FLAGS = ("--config-dir", "-cd")


@contextmanager
def applied(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Let the extensions that the command line names count in the block; end the program with one line for a mistake.

    Args:
        arguments: Words of the command line.

    Yields:
        The other words.
    """
    with one_line():
        rest, named = taken(arguments)
    with extensions.using(named):
        use(named)
        yield rest


def use(named: Extensions) -> None:
    """Let extensions count from now on, and let Python find packages in the current directory, after all other places.

    Args:
        named: The extensions.
    """
    extensions.use(named)
    if named.packages and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def taken(arguments: Sequence[str]) -> tuple[list[str], Extensions]:
    """Take the extensions out of a command line.

    Args:
        arguments: Words of the command line.

    Returns:
        The other words; the extensions.

    Raises:
        UserError: A package or the folder does not exist or can't be used.
    """
    rest: list[str] = []
    packages: list[str] = []
    folder: Path | None = None
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in FLAGS:
            folder = _folder(value if equals else next(words, ""))
        elif name.lstrip("+") == TRUST:
            packages += [item.strip(" '\"") for item in value.strip("[] ").split(",") if item.strip()]
        else:
            rest.append(word)
    return rest, Extensions(folder, _importable(packages))


def overrides(named: Extensions) -> list[str]:
    """Return the overrides with which Hydra finds the config files of the user, in worker processes too.

    Args:
        named: The extensions.
    """
    from seq2seq.compat.hydra import quoted  # imports Hydra, for which help does not wait

    return [] if named.folder is None else [f"hydra.searchpath=[{quoted(f'file://{named.folder}')}]"]


def _importable(packages: list[str]) -> tuple[str, ...]:
    """Return names of packages that can be trusted, wherever a command looks for them."""
    before = list(sys.path)
    sys.path.append(os.getcwd())
    try:
        return extensions.checked(packages)
    finally:
        sys.path[:] = before


def _folder(text: str) -> Path:
    """Return the folder of the user's config files."""
    folder = Path(text).expanduser().absolute()
    if not text or not folder.is_dir():
        raise UserError(f"--config-dir={text} is not a folder; give one that is laid out like conf/")
    # A file of conf/ comes first, so that one of the same name would have no effect.
    with extensions.using(Extensions(folder)):
        files = config_files()
    usual = {place for place, file in files if file.is_relative_to(CONF)}
    own = [place for place, file in files if not file.is_relative_to(CONF)]
    if not own:
        groups = sorted({place.parts[0] for place in usual if len(place.parts) > 1} - {"hydra"})
        raise UserError(f"--config-dir={text} has no YAML in a folder of a config group: {', '.join(groups)}")
    if taken_names := [place for place in own if place in usual]:
        raise UserError(f"--config-dir={text}: conf/ has a file {taken_names[0]} too; give yours another name")
    return folder
