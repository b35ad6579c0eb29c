"""Decoding options that ``evaluate.py tune=...`` has chosen for a run; evaluation and generation use them.

They are stored in RUN/decoding.yaml:

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
    """Write the chosen options of decoding and all trials into the directory of a run.

    Args:
        run: Directory of the run.
        options: {option: value} that was chosen.
        split: Split on which the trials were scored.
        metric: Metric by which the options were chosen.
        trials: {option: value, metric: score} of each trial.

    Returns:
        Path of the file.

    Raises:
        UserError: The file can't be written.
    """
    content = {"decoding": dict(options), "chosen_on": {"split": split, "metric": metric, "trials": list(trials)}}
    path = run / FILE
    write_text(path, yaml.safe_dump(content, sort_keys=False))
    return path


def tuned_options(run: Path) -> dict[str, Any]:
    """Return the options of decoding that were chosen for a run, or {}.

    Args:
        run: Directory of the run.

    Raises:
        UserError: The file can't be read, or has no options.
    """
    path = run / FILE
    if not path.is_file():
        return {}
    content = plain.read_yaml(path)
    options = content.get("decoding") if isinstance(content, Mapping) else None
    if not isinstance(options, Mapping):
        raise UserError(f"{path} has no decoding options; remove it, or choose options with tune=...")
    return dict(options)


def with_tuned(config: DictConfig, run: Path) -> DictConfig:
    """Return the config of a run with the options of decoding that were chosen for it.

    Args:
        config: Config of the run.
        run: Directory of the run.

    Raises:
        UserError: The file can't be read, or has an option that the decoding of the run does not have.
    """
    options = tuned_options(run)
    for name, value in options.items():
        if name.startswith("_") or name not in config.decoding or isinstance(value, Mapping | list):
            raise UserError(f"{run / FILE}: decoding.{name} is not an option of this run's decoding; remove the line")
    tuned = config.copy()
    tuned.decoding.update(options)
    return tuned
