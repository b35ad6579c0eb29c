"""The directory of a run. One process at a time works in it, and results and checkpoints are never overwritten.

.lock            lock of the process that works in the directory; the system releases it when the process ends
.hydra/*.yaml    the config as composed, Hydra's own config, and the options that the user typed
config.yaml      the config, with its references resolved
train.log        log of the run
failed.txt       reason why the last attempt failed
results.json     scores; a run with scores is finished
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
CHECKPOINTS, EVALUATIONS = "checkpoints", "evaluations"
REMADE = ("attention", "outputs", "metrics.csv", "frequencies.json", "profile.txt", RESULTS, FAILED)
"""Files that a run without a checkpoint may leave, and that a run can write again."""
COMPARED = (CONFIG, "metrics.csv", "frequencies.json", f"{HYDRA}/*.yaml", "outputs/*", "attention/*.npz")
"""Files that ``compare.py`` reads besides results.json."""
GOES_ON = ("last.ckpt", "best.ckpt")
"""Checkpoints that a run can be resumed from: the current one, and that of runs before there were model files."""
BESIDE = ("config.yaml", "source.model", "target.model", "model.next.safetensors")
"""Files that may be in ``checkpoints`` before the first ``last.ckpt``."""
TRACKERS = ("wandb", "tensorboard")
"""Directories of trackers. They contain links of their own, and new runs get new names there."""
KEPT = (LOCK, HYDRA, CONFIG, LOG, CHECKPOINTS, *TRACKERS)
"""Other files and directories that a run without a checkpoint may leave."""


class DirectoryTaken(UserError):
    """Error: the directory holds files that must not be overwritten."""


class RunInProgress(DirectoryTaken):
    """Error: another process works in the directory."""


@contextmanager
def claimed(folder: Path, config: DictConfig, *, composed: DictConfig | None = None) -> Iterator[None]:
    """Create the directory of a new run, and lock it while the block runs. A refusal changes nothing in it.

    Args:
        folder: A new or empty directory, or the directory of a run that was stopped before its first checkpoint.
        config: The config for config.yaml; its references are resolved.
        composed: The config of a training as it was composed. It is stored in .hydra with the typed options, which
            identify the jobs of a sweep, and train.log is written. None for an evaluation.

    Raises:
        DirectoryTaken: The directory holds results, checkpoints, or files that belong to no run.
        RunInProgress: Another process works in it.
        UserError: It can't be written.
    """
    if not is_first():
        yield
        return
    _check_free(folder)
    with _locked(folder):
        # Another process may have finished a run before the lock was acquired.
        _check_free(folder)
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
    """Lock the directory of a resumed run while the block runs.

    Args:
        folder: Directory of the run.

    Raises:
        DirectoryTaken: The directory has a link to a place outside it.
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


def set_aside(folder: Path, name: str) -> Path:
    """Move the results of a finished run to ``evaluations/NAME``, before its training goes on.

    A directory that was moved in part is completed.

    Args:
        folder: Directory of the run, which this process has locked.
        name: Name of the new directory.

    Returns:
        The new directory, which ``compare.py`` reads like a run.
    """
    aside = folder / EVALUATIONS / name
    aside.mkdir(parents=True, exist_ok=True)
    # Copy what the continued training needs too.
    for path in (folder / CONFIG, folder / "metrics.csv", folder / "frequencies.json", *folder.glob(f"{HYDRA}/*")):
        if path.exists():
            target = aside / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
    # Move the results; results.json is last, because it marks the run as finished.
    scored = [path for path in folder.glob("attention/*") if path.name != "validation"]
    for path in [*scored, *folder.glob("outputs/*"), folder / RESULTS]:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
    return aside


def results(folder: Path) -> dict[str, Any] | None:
    """Return the content of results.json, None where it is missing or damaged.

    Args:
        folder: Directory of the run.
    """
    try:
        content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = isinstance(content, dict) and isinstance(content.get("run"), dict) and len(content) > 1
    return content if complete else None


def digests(folder: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of all that ``compare.py`` reads of a finished run.

    Args:
        folder: Directory of the run.
        content: Content of results.json without the digests.

    Returns:
        {path in the directory: digest}.
    """
    plain = json.loads(json.dumps(content, default=str))
    found = {RESULTS: hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}
    files = (path for pattern in COMPARED for path in folder.glob(pattern))
    return found | {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(folder: Path) -> list[Path]:
    """Return the files of a finished run that were changed after it; none for an old run without digests.

    Args:
        folder: Directory of the run.
    """
    if not (folder / RESULTS).exists():
        return []
    if (content := results(folder)) is None:
        return [folder / RESULTS]
    # The digests themselves are not part of what they cover.
    kept = content["run"].pop("digests", None)
    if kept is None:
        return []
    if not isinstance(kept, dict):
        return [folder / RESULTS]
    now = digests(folder, content)
    return [folder / name for name in kept if kept[name] != now.get(name)]


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run can be resumed.

    Args:
        folder: Directory of the run.
    """
    return any((folder / CHECKPOINTS / name).is_file() for name in GOES_ON)


def check_links(folder: Path) -> None:
    """Refuse a directory, perhaps from a stranger, with a link that would redirect written files to other places.

    Args:
        folder: Directory of the run.

    Raises:
        DirectoryTaken: A link below ``folder`` leads out of it.
    """
    # Compare the target of each link with the directory.
    home = folder.resolve()
    for root, folders, files in os.walk(folder):
        for path in (Path(root, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise DirectoryTaken(f"{path} is a link that leads out of the run; replace it by a copy of its target")
        # Trackers make such links themselves.
        if Path(root) == folder:
            folders[:] = [name for name in folders if name not in TRACKERS]


def composed_config(folder: Path) -> str:
    """Return the config of a run as it was composed, in YAML; empty where there is none.

    Args:
        folder: Directory of the run.
    """
    for file in (folder / HYDRA / "config.yaml", folder / CONFIG):  # old runs have only the second one
        with suppress(OSError, ValueError):
            return file.read_text(encoding="utf-8")
    return ""


def is_first() -> bool:
    """Return whether this is the first process of a run; it holds the directory for all processes of the run."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _check_free(folder: Path) -> None:
    """Refuse a directory that holds more than a run without a checkpoint leaves."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DirectoryTaken(f"{folder} is a file; choose another directory")
    # Refuse results and checkpoints.
    choose = "choose another directory"
    if results(folder) is not None:
        raise DirectoryTaken(f"{folder} already holds a finished run; {choose}")
    if has_checkpoint(folder):
        raise DirectoryTaken(f"{folder} already holds a stopped run; continue it with resume={folder}, or {choose}")
    if (folder / RESULTS).exists():
        raise DirectoryTaken(f"{folder / RESULTS} is damaged; move it away to use the directory again, or {choose}")
    # Refuse files that belong to no run.
    check_links(folder)
    names = sorted(path.name for path in folder.iterdir())
    usual = (*KEPT, *REMADE) if _is_ours(folder) else (FAILED,)
    others = [name for name in names if name not in usual and not _is_temporary(name)]
    if (checkpoints := folder / CHECKPOINTS).is_dir():
        below = sorted(path.name for path in checkpoints.iterdir())
        others += [f"{CHECKPOINTS}/{name}" for name in below if name not in BESIDE and not _is_temporary(name)]
    if others:
        raise DirectoryTaken(f"{folder} already holds {others[0]}, which does not belong to a new run; {choose}")


def _is_ours(folder: Path) -> bool:
    """Return whether a run began here: there is our lock or, before there were locks, a Hydra config of train.py."""
    if (folder / LOCK).exists():
        return True
    with suppress(OSError, YAMLError, OmegaConfBaseException):
        return bool(OmegaConf.select(OmegaConf.load(folder / HYDRA / "hydra.yaml"), "hydra.job.config_name") == "train")
    return False


def _is_temporary(name: str) -> bool:
    """Return whether a file is a temporary file of a process that was killed."""
    return name.startswith(PREFIX) or name.endswith(PARTIAL)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``."""
    # The lock file needs the directory.
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise RunInProgress(f"{folder} is in use by another process; wait until it ends, or stop it") from None
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
    """Remove the files of a run without a checkpoint, except the log and the files of trackers."""
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
    """Remove temporary files of a killed process. Evaluations below the run may belong to other processes."""
    # Search only the directories that a run writes to itself.
    below = [folder, *(folder / name for name in (HYDRA, CHECKPOINTS, "outputs"))]
    found = [path for place in below if place.is_dir() for path in place.iterdir()]
    for path in [*found, *(folder / "attention").rglob("*")]:
        if _is_temporary(path.name) and path.is_file():
            path.unlink()


class _LogFile(logging.FileHandler):
    """Log file that stops on a full disk, without stopping the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Stop the log file and warn once."""
        # Remove the handler first: the warning itself must not reach it again.
        logging.getLogger().removeHandler(self)
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", error)
        log.warning("%s can't be written (%s); the log file ends here", self.baseFilename, reason)


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Write the log also to a file while the block runs."""
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
