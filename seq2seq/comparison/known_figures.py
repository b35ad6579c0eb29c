"""Figures of a run that have an entry in the table of metrics; those of the user's own metrics with ``trust=``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seq2seq.config.extensions import hint, is_trusted
from seq2seq.config.instantiate import build_node
from seq2seq.metrics.table import find_metric
from seq2seq.metrics.text import names_in
from seq2seq.stored import moved_names

log = logging.getLogger(__name__)


def known_figures(file: Path, metrics: Mapping[str, Any], config: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the scores of known metrics under their current names; warn of the others.

    Args:
        file: File of the scores, for messages.
        metrics: {metric: score}.
        config: Returns the config of the run, which names the classes of the user's own metrics.
    """
    renamed = {moved_names.METRICS.get(name, name): figure for name, figure in metrics.items()}
    remedy = _add_own_metrics(config()) if any(find_metric(name) is None for name in renamed) else ""
    for name in renamed:
        if find_metric(name) is None:
            log.warning("%s: %s is left out: seq2seq/metrics/table.py has no entry for it%s", file, name, remedy)
    return {name: figure for name, figure in renamed.items() if find_metric(name) is not None}


def _add_own_metrics(config: Mapping[str, Any]) -> str:
    """Add the metrics of trusted packages that a config names to the table; return the remedy for the others."""
    task = config.get("task")
    listed = task.get("metrics") if isinstance(task, Mapping) else None
    nodes = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    names_in(build_node(node) for node in nodes if is_trusted(node.get("_target_")))
    return next((text for node in nodes if (text := hint(node.get("_target_")))), "")
