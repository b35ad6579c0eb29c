"""The directory of a run: one process at a time works in it, and nothing that matters is ever written over.

.lock            held by the process that works in the directory; the system frees it when that process ends
.hydra/*.yaml    how the config came about: the config as composed, Hydra's own, and what was typed
config.yaml      the config, with its references resolved
train.log        what the run logged
failed.txt       why the last attempt failed
results.json     the scores; a run that has them is finished
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seq2seq.errors import UserError
from seq2seq.files.writing import PARTIAL, PREFIX, write_text

log = logging.getLogger(__name__)

LOCK, HYDRA, CONFIG, LOG, FAILED, RESULTS = ".lock", ".hydra", "config.yaml", "train.log", "failed.txt", "results.json"
CHECKPOINTS = "checkpoints"
REMADE = ("attention", "outputs", "metrics.csv", "frequencies.json", "profile.txt", RESULTS, FAILED)
"""What a run makes before it has a checkpoint, and after that what it can make again."""
COMPARED = (CONFIG, "metrics.csv", "frequencies.json", f"{HYDRA}/*.yaml", "outputs/*", "attention/*.npz")
"""What ``compare.py`` reads beside results.json."""
GOES_ON = ("last.ckpt", "best.ckpt")
"""The checkpoints that a run goes on from: today's, and that of a run of before there were model files."""
BESIDE = ("config.yaml", "source.model", "target.model", "model.next.safetensors")
"""What stands in ``checkpoints`` before the first ``last.ckpt`` does."""
TRACKERS = ("wandb", "tensorboard")
"""Directories of trackers, which have links of their own in them and write under new names."""
KEPT = (LOCK, HYDRA, CONFIG, LOG, CHECKPOINTS, *TRACKERS)
"""What a run that had no checkpoint may have left beside those."""


class DirectoryTaken(UserError):
    """The directory holds something that must not be written over."""


class RunInProgress(DirectoryTaken):
    """Another process works in the directory."""


@contextmanager
def claimed(folder: Path, config: DictConfig, *, composed: DictConfig | None = None) -> Iterator[None]:
    """Make ``folder`` a new run's, and hold it while the block runs. A refusal changes nothing in it.

    Args:
        folder: A new or an empty directory, or one of a run that was stopped before its first checkpoint.
        config: What config.yaml keeps, resolved.
        composed: The config as it was composed, of training: it is kept in .hydra, which tells a sweep's jobs apart,
            with what was typed; and a log is kept.

    Raises:
        DirectoryTaken: The directory holds results, checkpoints, or files that are not a run's.
        RunInProgress: Another process works in it.
        UserError: It can't be written.
    """
    if not is_first():
        yield
        return
    _check_free(folder)
    with _locked(folder):
        _check_free(folder)  # another process may have finished a run meanwhile
        _clear(folder)
        if composed is not None and HydraConfig.initialized():
            hydra, typed = HydraConfig.instance().cfg, HydraConfig.get().overrides.task
            for name, node in {"config": composed, "hydra": hydra, "overrides": typed}.items():
                write_text(folder / HYDRA / f"{name}.yaml", OmegaConf.to_yaml(node))
        write_text(folder / CONFIG, OmegaConf.to_yaml(config, resolve=True))
        with _logged(folder / LOG) if composed is not None else nullcontext():
            yield


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the directory of a run that goes on while the block runs.

    Raises:
        RunInProgress: Another process works in it.
    """
    if not is_first():
        yield
        return
    check_links(folder)
    with _locked(folder):
        (folder / FAILED).unlink(missing_ok=True)
        _tidy(folder)
        with _logged(folder / LOG):
            yield


def results(folder: Path) -> dict[str, Any] | None:
    """The content of results.json; None where there is none, or only a damaged one."""
    try:
        content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = isinstance(content, dict) and isinstance(content.get("run"), dict) and len(content) > 1
    return content if complete else None


def digests(folder: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of what is compared of a finished run: its files, and ``content``, the rest of results.json."""
    plain = json.loads(json.dumps(content, default=str))
    found = {RESULTS: hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}
    files = (path for pattern in COMPARED for path in folder.glob(pattern))
    return found | {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(folder: Path) -> list[Path]:
    """The files of a finished run that are not as it left them; none of an older run, which has no digests."""
    if not (folder / RESULTS).exists():
        return []
    if (content := results(folder)) is None:
        return [folder / RESULTS]
    kept = content["run"].pop("digests", None)
    if kept is None:
        return []
    if not isinstance(kept, dict):
        return [folder / RESULTS]
    now = digests(folder, content)
    return [folder / name for name in kept if kept[name] != now.get(name)]


def has_checkpoint(folder: Path) -> bool:
    """Whether a run can go on from what ``folder`` holds."""
    return any((folder / CHECKPOINTS / name).is_file() for name in GOES_ON)


def check_links(folder: Path) -> None:
    """Refuse a run, perhaps a stranger's, in which a link would lead what is written to somewhere else.

    Raises:
        DirectoryTaken: A link below ``folder`` leads out of it.
    """
    home = folder.resolve()
    for root, folders, files in os.walk(folder):
        for path in (Path(root, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise DirectoryTaken(
                    f"{path} is a link out of the run, which is not written through; copy what it leads to"
                )
        if Path(root) == folder:
            folders[:] = [name for name in folders if name not in TRACKERS]


def composed_config(folder: Path) -> str:
    """The config of the run in ``folder`` as it was composed, in YAML; empty where it has none."""
    for file in (folder / HYDRA / "config.yaml", folder / CONFIG):  # the second one in older runs
        with suppress(OSError, ValueError):
            return file.read_text(encoding="utf-8")
    return ""


def is_first() -> bool:
    """Whether this process is the first of those that a launcher started for one run, which holds it for all."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _check_free(folder: Path) -> None:
    """Refuse a directory that holds more than what a run leaves that had no checkpoint."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DirectoryTaken(f"{folder} is a file; choose another directory")
    choose = "choose another directory"
    if results(folder) is not None:
        raise DirectoryTaken(f"{folder} already holds a run, which is not written over; {choose}")
    if has_checkpoint(folder):
        raise DirectoryTaken(f"{folder} already holds a run that was stopped; go on with resume={folder}, or {choose}")
    if (folder / RESULTS).exists():
        raise DirectoryTaken(f"{folder / RESULTS} is damaged; move it away to use the directory again, or {choose}")
    check_links(folder)
    names = sorted(path.name for path in folder.iterdir())
    usual = (*KEPT, *REMADE) if _is_ours(folder) else (FAILED,)
    others = [name for name in names if name not in usual and not _is_temporary(name)]
    if (checkpoints := folder / CHECKPOINTS).is_dir():
        below = sorted(path.name for path in checkpoints.iterdir())
        others += [f"{CHECKPOINTS}/{name}" for name in below if name not in BESIDE and not _is_temporary(name)]
    if others:
        raise DirectoryTaken(f"{folder} already holds {others[0]}, which is not a new run's; {choose}")


def _is_ours(folder: Path) -> bool:
    """Whether a run began here: it has our lock or, before there were locks, Hydra's notes of our command."""
    if (folder / LOCK).exists():
        return True
    with suppress(OSError, YAMLError, OmegaConfBaseException):
        return bool(OmegaConf.select(OmegaConf.load(folder / HYDRA / "hydra.yaml"), "hydra.job.config_name") == "train")
    return False


def _is_temporary(name: str) -> bool:
    """Whether a file was being written when its process was killed."""
    return name.startswith(PREFIX) or name.endswith(PARTIAL)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``."""
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise RunInProgress(f"{folder} is at work in another process; wait until that ends, or stop it") from None
    except (OSError, NotImplementedError) as error:  # no permission, no space, or no locks on this file system
        raise UserError(
            f"{folder} can't be written and locked ({getattr(error, 'strerror', None) or error}); "
            "choose a directory on another disk"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Remove what a run left that had no checkpoint. Trackers and the log keep what they have."""
    _tidy(folder)
    for name in BESIDE:
        (folder / CHECKPOINTS / name).unlink(missing_ok=True)
    for name in REMADE:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Remove temporary files of a process that was killed; evaluations below belong to others."""
    below = [folder, *(folder / name for name in (HYDRA, CHECKPOINTS, "outputs"))]
    found = [path for place in below if place.is_dir() for path in place.iterdir()]
    for path in [*found, *(folder / "attention").rglob("*")]:
        if _is_temporary(path.name) and path.is_file():
            path.unlink()


class _LogFile(logging.FileHandler):
    """A log that may end, where the disk is full, and does not end the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the log ends."""
        logging.getLogger().removeHandler(self)
        error = sys.exc_info()[1]
        log.warning("%s can't be written (%s) and ends here", self.baseFilename, getattr(error, "strerror", error))


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Copy what is logged into ``file`` while the block runs."""
    try:
        handler = _LogFile(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{file} can't be written ({error.strerror or error})") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with suppress(OSError):
            handler.close()
