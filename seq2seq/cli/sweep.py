"""Sweeps: the directory of each job, and records of jobs that failed.

The composed config identifies a job. If a sweep is started again with ``hydra.sweep.dir=OLD``, a job finds the
directory that it had, even if its number changed. A new job never gets the directory of another job. A pack of a
finished job (``compare.py runs=multirun/NAME pack=results/NAME``) counts as that job.
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
from seq2seq.stored.job_identity import identity

if TYPE_CHECKING:
    from seq2seq.comparison.packs import PackedRun

PACKS = Path("results")
"""Directory of packs: ``results/NAME`` has the packs of the sweep ``multirun/NAME``."""


def is_sweep() -> bool:
    """Return whether this process runs a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def place(_root_: DictConfig) -> str:
    """Return the name of a job's directory in the directory of its sweep.

    It is the directory of an earlier job with the same config. Otherwise it is the number N of the job, or N_2, N_3 ...
    if N belongs to another job.

    Args:
        _root_: Composed config of the job, with Hydra's own node.
    """
    own = identity(OmegaConf.to_yaml(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])))
    sweep, number = Path(_root_.hydra.sweep.dir), str(_root_.hydra.job.num)
    for file in sorted(sweep.glob(f"*/{CONFIG}")):
        if identity(composed_config(file.parent)) == own:
            return file.parent.name
    # Otherwise choose a name that no other job has.
    names = (number if n == 1 else f"{number}_{n}" for n in count(1))
    return next(name for name in names if not composed_config(sweep / name))


def packed(config: DictConfig) -> PackedRun | None:
    """Return the pack of this job, or None if the job is not finished and packed.

    Args:
        config: Composed config of the job.
    """
    from seq2seq.comparison.packs import find_job  # imports torch: --help need not wait for it

    return find_job(PACKS / Path(HydraConfig.get().sweep.dir).name, OmegaConf.to_yaml(config))


def check_directory(sweep: Path) -> None:
    """Check that a directory can hold the jobs of a sweep.

    Args:
        sweep: Directory of the sweep, which may not exist yet.

    Raises:
        UserError: It is a file, or the directory of a run. Nothing has been written.
    """
    if sweep.exists() and not sweep.is_dir():
        raise UserError(f"hydra.sweep.dir={sweep} is a file; choose a directory")
    if held := [name for name in (HYDRA, CONFIG, CHECKPOINTS, RESULTS) if (sweep / name).exists()]:
        raise UserError(f"hydra.sweep.dir={sweep} is the directory of a run (it has {held[0]}); choose another")


def belongs(folder: Path, config: DictConfig) -> bool:
    """Return whether a directory is free for a job, or belongs to it since an earlier start.

    Args:
        folder: Directory of the job.
        config: Composed config of the job.
    """
    return identity(composed_config(folder)) in ("", identity(OmegaConf.to_yaml(config)))


def fail(folder: Path, config: DictConfig, reason: str) -> None:
    """Write the reason why a job failed into its directory.

    Nothing is written into the directory of another job or of a finished run, or onto a full disk.

    Args:
        folder: Directory of the job.
        config: Composed config of the job.
        reason: Message of the error.
    """
    if belongs(folder, config) and results(folder) is None:
        with suppress(UserError):  # a full disk
            write_text(folder / FAILED, reason + "\n")
