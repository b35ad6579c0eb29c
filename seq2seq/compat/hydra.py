"""Hydra's grammar, its flags, the choices of a config, and what its errors say."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig


def flag_parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's own flags. Hydra only ever runs it itself, and ends the program on a mistake."""
    return get_args_parser()


def parse_override(text: str) -> Override:
    """Parse one override by the grammar alone. Hydra documents the grammar, but not its parser.

    Raises:
        HydraException: The grammar does not read it.
    """
    return OverridesParser.create().parse_override(text)


def parse_overrides(texts: Sequence[str]) -> list[Override]:
    """Parse overrides inside ``hydra.initialize``, where ``glob(*)`` finds the files of a group.

    Raises:
        HydraException: The grammar does not read one of them.
    """
    return OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(texts))


def quoted(text: str) -> str:
    """Return ``text`` in single quotes, escaped as the grammar wants it."""
    return QuotedString(text, Quote.single).with_quotes()


def choices(config: DictConfig) -> dict[str, str | None]:
    """Return {group: file} of a config that was composed with ``return_hydra_config``.

    A group that fills another key than its own is ``group@key``.
    """
    return dict(config.hydra.runtime.choices)


def not_overridable(message: str) -> tuple[str, str] | None:
    """Return the group or key that an error says can't be overridden, and the sentence with another, or None.

    Hydra has no type for this error that tells it from others, and no attribute for the name.
    """
    text = " ".join(message.split())
    found = re.search(r"Could not override '([^']+)'\.( Did you mean to override [^?]*\?)?", text)
    return (found[1], (found[2] or "").strip()) if found else None
