"""Sweeps: the directory of each job, what an earlier launch finished, and what failed.

A job is known by its composed config: launched again with ``hydra.sweep.dir=OLD``, it finds the directory that it had,
whatever its number was, and a new job never gets another's.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seq2seq.errors import UserError

CONFIG, RESULTS, FAILED, LOCK = "config.yaml", "results.json", "failed.txt", ".lock"


def is_sweep() -> bool:
    """Whether this job is one of a sweep's."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def place(_root_: DictConfig) -> str:
    """The name of a job's directory in its sweep's: that of the same config before, else N, or N_2 ... if N is
    taken.
    """
    own = OmegaConf.to_yaml(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"]))
    sweep, number = Path(_root_.hydra.sweep.dir), str(_root_.hydra.job.num)
    for file in sorted(sweep.glob(f"*/{CONFIG}")):
        if file.read_text(encoding="utf-8") == own:
            return file.parent.name
    names = (number if n == 1 else f"{number}_{n}" for n in count(1))
    return next(name for name in names if not (sweep / name / CONFIG).exists())


class AtWork(UserError):
    """A directory is another process's."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While it lasts, ``folder`` is this process's: another that wants it is refused. What a dead one left is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, mine = folder / LOCK, f"{os.getpid()} {platform.node()}"
    while True:
        try:
            with lock.open("x", encoding="utf-8") as file:
                file.write(mine)
            break
        except FileExistsError:
            try:
                held = lock.read_text(encoding="utf-8")
            except FileNotFoundError:  # given back meanwhile
                continue
            process, _, node = held.partition(" ")
            if node != platform.node() or (process.isdigit() and _lives(int(process))):
                raise AtWork(
                    f"{folder} is at work in process {process} of {node}; if that has ended, remove {lock}"
                ) from None
            _take_away(lock, held)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _take_away(lock: Path, held: str) -> None:
    """Of several that find a dead process' lock one takes it away; not what another has put in its place meanwhile."""
    aside = lock.with_name(f"{lock.name}-{os.getpid()}")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    if aside.read_text(encoding="utf-8") != held and not lock.exists():
        aside.rename(lock)
    aside.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def fail(folder: Path, reason: str) -> None:
    """Leaves word of a job that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILED).write_text(reason + "\n", encoding="utf-8")
