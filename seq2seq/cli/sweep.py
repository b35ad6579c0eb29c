"""Sweeps: the directory of each job, and what failed.

A job is known by its composed config: launched again with ``hydra.sweep.dir=OLD``, it finds the directory that it had,
whatever its number was, and a new job never gets another's. What ``compare.py runs=multirun/NAME pack=results/NAME``
kept of a finished job counts as that job.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seq2seq.errors import UserError
from seq2seq.files.writing import write_text
from seq2seq.run_directory import CHECKPOINTS, CONFIG, FAILED, HYDRA, RESULTS, composed_config, results

if TYPE_CHECKING:
    from seq2seq.comparison.packs import PackedRun

PACKS = Path("results")
"""Where ``results/NAME`` has the packs of the sweep ``multirun/NAME``."""


def is_sweep() -> bool:
    """Whether this job is one of a sweep's."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def place(_root_: DictConfig) -> str:
    """Name a job's directory in its sweep's: that of the same config before, else N, or N_2 ... if N is taken."""
    own = OmegaConf.to_yaml(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"]))
    sweep, number = Path(_root_.hydra.sweep.dir), str(_root_.hydra.job.num)
    for file in sorted(sweep.glob(f"*/{CONFIG}")):
        if composed_config(file.parent) == own:
            return file.parent.name
    names = (number if n == 1 else f"{number}_{n}" for n in count(1))
    return next(name for name in names if not composed_config(sweep / name))


def packed(config: DictConfig) -> PackedRun | None:
    """Return the pack of this job in the folder that is named as its sweep, where the job was finished and packed."""
    from seq2seq.comparison.packs import find_job  # imports torch: --help need not wait for it

    return find_job(PACKS / Path(HydraConfig.get().sweep.dir).name, OmegaConf.to_yaml(config))


def check_directory(sweep: Path) -> None:
    """Refuse to sweep into the directory of a run, or into what is no directory.

    Raises:
        UserError: Nothing has been written.
    """
    if sweep.exists() and not sweep.is_dir():
        raise UserError(f"hydra.sweep.dir={sweep} is a file; choose a directory")
    if held := [name for name in (HYDRA, CONFIG, CHECKPOINTS, RESULTS) if (sweep / name).exists()]:
        raise UserError(f"hydra.sweep.dir={sweep} is the directory of a run (it has {held[0]}); choose another")


def fail(folder: Path, config: DictConfig, reason: str) -> None:
    """Leave word of a job that failed in its directory, unless that is another job's or a finished run's."""
    own = composed_config(folder) in ("", OmegaConf.to_yaml(config)) and results(folder) is None
    if own:
        with suppress(UserError):  # a full disk
            write_text(folder / FAILED, reason + "\n")
