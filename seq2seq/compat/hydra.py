"""Hydra's grammar, its flags, the choices of a config, and the text of its errors."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.utils import configure_log
from hydra.core.utils import run_job as hydra_run_job
from hydra.types import HydraContext
from omegaconf import DictConfig


def flag_parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's own flags. Hydra has no public function for it."""
    return get_args_parser()


def run_job(task: Callable[[DictConfig], object], config: DictConfig) -> None:
    """Run a task as ``hydra.main`` runs a single job, with a config that is already composed.

    ``hydra.main`` would compose the config a second time. Call this inside ``hydra.initialize``.

    Args:
        task: Called with the config without Hydra's own node.
        config: Config that was composed with ``return_hydra_config``.

    Raises:
        Exception: Any error of ``task``.
    """
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks(config))
    job = hydra_run_job(task, config, "hydra.run.dir", None, context)
    _ = job.return_value  # raises the error of the job


def parse_override(text: str) -> Override:
    """Parse one override by the grammar alone. Hydra documents the grammar, but not its parser.

    Args:
        text: Override.

    Raises:
        HydraException: The grammar can't read it.
    """
    return OverridesParser.create().parse_override(text)


def parse_overrides(texts: Sequence[str]) -> list[Override]:
    """Parse overrides inside ``hydra.initialize``; there ``glob(*)`` finds the files of a group.

    Args:
        texts: Overrides.

    Raises:
        HydraException: The grammar can't read one of them.
    """
    return OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(texts))


def quoted(text: str) -> str:
    """Return a text in single quotes, escaped as the grammar requires.

    Args:
        text: Text without quotes.
    """
    return QuotedString(text, Quote.single).with_quotes()


def choices(config: DictConfig) -> dict[str, str | None]:
    """Return {group: file} of a config. A group at another key than its own has the name ``group@key``.

    Args:
        config: Config that was composed with ``return_hydra_config``.
    """
    return dict(config.hydra.runtime.choices)


def not_overridable(message: str) -> tuple[str, str] | None:
    """Return the group or key that can't be overridden, and Hydra's proposal of another one.

    Hydra has no type of its own for this error, and no attribute for the name.

    Args:
        message: Message of an error.

    Returns:
        (group or key, proposal or ""), or None for another error.
    """
    text = " ".join(message.split())
    found = re.search(r"Could not override '([^']+)'\.( Did you mean to override [^?]*\?)?", text)
    return (found[1], (found[2] or "").strip()) if found else None
