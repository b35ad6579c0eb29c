"""Decoding options that ``evaluate.py tune=...`` chose for a run, kept in RUN/decoding.yaml and used from then on.

decoding.yaml   decoding: {OPTION: VALUE}, chosen_on: {split, metric, trials: [{OPTION: VALUE, METRIC: SCORE}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from seq2seq.errors import UserError
from seq2seq.files.writing import write_text
from seq2seq.stored import plain

FILE = "decoding.yaml"


def save_tuned(run: Path, options: Mapping[str, Any], split: str, metric: str, trials: Sequence[Any]) -> Path:
    """Write what was chosen, and what it was chosen from, into the directory of a run; return the file."""
    content = {"decoding": dict(options), "chosen_on": {"split": split, "metric": metric, "trials": list(trials)}}
    path = run / FILE
    write_text(path, yaml.safe_dump(content, sort_keys=False))
    return path


def tuned_options(run: Path) -> dict[str, Any]:
    """Return the decoding options that were chosen for a run; {} where none were.

    Raises:
        UserError: The file can't be read, or holds no options.
    """
    path = run / FILE
    if not path.is_file():
        return {}
    content = plain.read_yaml(path)
    options = content.get("decoding") if isinstance(content, Mapping) else None
    if not isinstance(options, Mapping):
        raise UserError(f"{path} has no decoding options; remove it, or choose again with evaluate.py tune=...")
    return dict(options)


def with_tuned(config: DictConfig, run: Path) -> DictConfig:
    """Return the config of a run with the decoding options that were chosen for it, if any were.

    Raises:
        UserError: The file can't be read, or names an option that the run's way to decode doesn't have.
    """
    options = tuned_options(run)
    for name, value in options.items():
        if name.startswith("_") or name not in config.decoding or isinstance(value, Mapping | list):
            raise UserError(f"{run / FILE}: decoding.{name} is no option of this run's decoding; remove the line")
    tuned = config.copy()
    tuned.decoding.update(options)
    return tuned
