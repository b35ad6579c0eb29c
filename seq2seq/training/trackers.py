"""Weights & Biases and TensorBoard: names of runs, pictures, outputs and final scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig
from PIL import Image

from seq2seq.config.instantiate import build_tool, plain
from seq2seq.config.nodes import leaves
from seq2seq.errors import UserError

WANDB = "lightning.pytorch.loggers.WandbLogger"
IN_NAME = ("data", "model", "attention")
"""Config groups whose choices name a run."""
NOT_IN_NAME = (*IN_NAME, "seed", "logger", "task", "trainer", "debug")
"""Options that do not name a run, or that have a fixed place in its name."""
NOT_SHOWN = ("hydra.", "data.path", "data.cache", "data.workers", "training.num_plots", "training.metrics")

MOST = 4
"""Largest number of typed options in a name; the last ones are taken."""


@dataclass(frozen=True)
class FinalReport:
    """Results of a run for trackers: scores of the best model, some outputs and plots.

    Args:
        split: Name of the split.
        scores: {SPLIT/METRIC: score}.
        columns: Names of the columns of ``outputs``.
        outputs: Rows with a source, its references and the output.
        plots: Directory of the plots, which may not exist.
    """

    split: str
    scores: Mapping[str, float]
    columns: Sequence[str] = ()
    outputs: Sequence[Sequence[str]] = ()
    plots: Path | None = None


def build_loggers(config: DictConfig, run_dir: Path) -> list[Logger]:
    """Build the loggers that a config selects.

    Args:
        config: Config of the run.
        run_dir: Directory of the run.

    Raises:
        UserError: A logger needs a package that is not installed.
    """
    try:
        return [
            build_tool(
                node,
                save_dir=run_dir,
                **(_wandb_options(node, config, run_dir) if node.get("_target_") == WANDB else {}),
            )
            for node in (config.get("logger") or {}).values()
        ]
    except ModuleNotFoundError as error:
        names = ", ".join(map(str, config.logger))
        raise UserError(f"logger: one of {names} needs a package that is not installed: {error}") from error


def _wandb_options(node: Mapping[str, Any], config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Return options of ``wandb.init`` that the user has not set: name, group, config, and the id of a resumed run."""
    found: dict[str, Any] = {"name": run_name(config), "group": sweep_name(), "config": plain(config)}
    # A resumed run continues the run of its directory.
    if earlier := sorted(run_dir.glob("wandb/*run-*-*")):
        found |= {"id": earlier[0].name.rpartition("-")[2], "resume": "allow"}
    return {name: value for name, value in found.items() if value is not None and node.get(name) is None}


def run_name(config: DictConfig) -> str:
    """Return a name that says what a run is: data, model, mechanism, seed and the other options that were typed.

    Args:
        config: Config of the run.
    """
    seed = f"seed{config.get('seed')}"
    if not HydraConfig.initialized():
        return f"{config.data.get('name', 'data')} {seed}"
    command = HydraConfig.get()
    parts = [str(command.runtime.choices[group]) for group in IN_NAME if command.runtime.choices.get(group)]
    typed = [str(override).lstrip("+") for override in command.overrides.task or ()]
    others = [one for one in typed if one.partition("=")[0] not in NOT_IN_NAME and not one.startswith(NOT_SHOWN)]
    return " ".join([*parts, *others[-MOST:], seed])


def sweep_name() -> str | None:
    """Return the name of the directory of the sweep that this run belongs to; None outside a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).name


def show_plots(loggers: Sequence[Logger], plots: Mapping[str, Path], step: int) -> None:
    """Send pictures to the trackers.

    Args:
        loggers: Loggers of the run.
        plots: {name of the picture: PNG file}.
        step: Number of updates.
    """
    for logger in loggers:
        for name, path in plots.items():
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)], step=step)
            elif isinstance(logger, TensorBoardLogger):
                with Image.open(path) as image:
                    logger.experiment.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")


def show_results(loggers: Sequence[Logger], report: FinalReport, config: DictConfig, step: int) -> None:
    """Send the final results to the trackers; ``metrics.csv`` has only the scores of training.

    Args:
        loggers: Loggers of the run.
        report: The results.
        config: Config of the run.
        step: Number of updates.
    """
    scores = dict(report.scores)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(scores)
            if report.outputs:
                logger.log_text(f"{report.split}/outputs", list(report.columns), [list(row) for row in report.outputs])
        elif isinstance(logger, TensorBoardLogger):
            # The table of hyperparameters has the options and the final scores of each run.
            options = {
                key: value for key, value in leaves(plain(config)) if isinstance(value, bool | int | float | str)
            }
            logger.log_hyperparams(options, scores, step)
            if report.outputs:
                logger.experiment.add_text(f"{report.split}/outputs", table(report.columns, report.outputs), step)
    if report.plots is not None:
        show_plots(loggers, {f"{report.split}/{path.stem}": path for path in sorted(report.plots.glob("*.png"))}, step)
    for logger in loggers:
        logger.save()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Args:
        columns: Names of the columns.
        rows: Cells of each row.
    """
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(str(cell).split()).replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def close(loggers: Sequence[Logger]) -> None:
    """Close the run of Weights & Biases: the next job of a sweep starts its own.

    Args:
        loggers: Loggers of the run.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
