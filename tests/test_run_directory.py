"""Tests of the directory of a run: locks, refused directories, repeated starts, and the files it keeps."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from seq2seq.errors import UserError
from seq2seq.run_directory import DirectoryTaken, RunInProgress, check_links, claimed, has_checkpoint, held, results
from seq2seq.stored import model_file

CONFIG = OmegaConf.create({"seed": 1, "a": {"b": "${seed}"}})
RESULTS = {"test": {}, "run": {"seed": 1}}


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time of the last change and content of ``folder`` and of all files and folders below it."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        about = path.lstat()
        found[str(path)] = (about.st_ino, about.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def write_files(folder: Path, *names: str) -> Path:
    """Write files with these names into ``folder`` and return it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(RESULTS) if name == "results.json" else "content")
    return folder


def claim(folder: Path, config: DictConfig = CONFIG) -> None:
    """Claim ``folder`` for a new run and release it."""
    with claimed(folder, config, composed=True):
        pass


@contextmanager
def worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process that locks ``folder``; kill it at the end."""
    code = "import sys, time; from pathlib import Path; from seq2seq.run_directory import held\n"
    code += "with held(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    line = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


# --- directories that are refused ---


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["results.json"], "already holds a finished run; choose another directory$"),
        ([".lock", "checkpoints/last.ckpt"], "a stopped run; continue it with resume=.*, or choose another"),
        ([".lock", "checkpoints/best.ckpt"], "a stopped run; continue it with resume="),
        (["thesis.tex"], r"already holds thesis\.tex, which does not belong to a new run"),
        ([".lock", "config.yaml", "notes/a.txt"], "already holds notes,"),
        (
            ["config.yaml", "outputs/mine.txt"],
            r"already holds config\.yaml,",
        ),  # without a lock file it is not the directory of a run
        ([".hydra/hydra.yaml", "multirun.yaml"], r"already holds \.hydra,"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_directory_with_other_files_is_refused_and_not_changed(tmp_path: Path, names: list[str], message: str) -> None:
    folder = write_files(tmp_path / "run", *names)
    before = snapshot(folder)
    with pytest.raises(DirectoryTaken, match=message):
        claim(folder)
    assert snapshot(folder) == before


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(DirectoryTaken, match="file is a file"):
        claim(tmp_path / "file")
    with pytest.raises(UserError, match="can't be written and locked"):
        claim(tmp_path / "file" / "below")


def test_directory_locked_by_another_process_is_refused_and_not_changed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with worker(folder) as process:
        before = snapshot(folder)
        for start in (lambda: claimed(folder, CONFIG), lambda: held(folder)):
            with pytest.raises(RunInProgress, match="run is in use by another process; wait until it ends"), start():
                pass
        assert snapshot(folder) == before
        process.kill()  # the system releases the lock
        process.wait()
        claim(folder)


def test_process_cannot_lock_a_directory_twice(tmp_path: Path) -> None:
    with claimed(tmp_path, CONFIG), pytest.raises(RunInProgress), held(tmp_path):
        pass


def test_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A worker of a data loader can outlive a training process that is killed."""
    code = "import os, sys, time; from pathlib import Path; from seq2seq.run_directory import held\n"
    code += "with held(Path(sys.argv[1])):\n    child = os.fork()\n"
    code += (
        "    os.write(1, f'{child or 0}\\n'.encode())\n    time.sleep(60)"  # each process writes its line in one call
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        printed = {process.stdout.readline().strip() for _ in range(2)}  # both processes run, and the child has started
        child = int((printed - {"0"}).pop())
        process.kill()
        process.wait()
        try:
            os.kill(child, 0)  # the child still runs
            claim(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_failure_to_lock_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(38, "Function not implemented")  # the file system has no locks

    monkeypatch.setattr("seq2seq.run_directory.FileLock.acquire", refuse)
    with pytest.raises(UserError, match=r"run can't be written and locked \(Function not implemented\); choose a"):
        claim(tmp_path / "run")


# --- directories that can be used again ---


def test_start_without_a_checkpoint_can_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    claim(folder)
    left = ["metrics.csv", "attention/validation/step_1/a.png", "outputs/.writing-x", "checkpoints/.writing-y"]
    write_files(folder, *left, ".writing-z.yaml", "failed.txt", "wandb/offline/x", "checkpoints/last.partial")
    before = (folder / "train.log").read_text()
    with claimed(folder, OmegaConf.create({"seed": 2}), composed=True):
        logging.getLogger("x").warning("second")
    assert (folder / "config.yaml").read_text() == "seed: 2\n"
    assert (folder / "train.log").read_text().startswith(before) and "second" in (folder / "train.log").read_text()
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {".lock", "config.yaml", "train.log", "wandb/offline/x"}


@pytest.mark.parametrize("text", ["", "{", '{"test": {}', "[]", "null", '{"run": {}}', '{"test": {}, "run": 1}'])
def test_damaged_results_are_not_read_and_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    assert results(tmp_path) is None
    (tmp_path / ".lock").touch()
    with pytest.raises(DirectoryTaken, match=r"results\.json is damaged; move it away"):
        claim(tmp_path)  # the other files of the run may be the only copies
    assert (tmp_path / "results.json").read_text() == text


def test_temporary_files_are_not_checkpoints(tmp_path: Path) -> None:
    write_files(tmp_path, "checkpoints/.writing-a.ckpt", "checkpoints/last.partial")
    assert not has_checkpoint(tmp_path)
    write_files(tmp_path, "checkpoints/last.ckpt")
    assert has_checkpoint(tmp_path)


def test_files_of_an_unfinished_best_model_are_not_a_checkpoint(tmp_path: Path) -> None:
    """A run that was killed while it saved its first best model starts again; the incomplete files are removed."""
    claim(tmp_path)
    beside = [f"checkpoints/{name}" for name in (model_file.CONFIG, *map(model_file.side_file, ("source", "target")))]
    write_files(tmp_path, *beside, f"checkpoints/{model_file.NEXT}")
    assert not has_checkpoint(tmp_path)
    claim(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("name", [model_file.NAME, "mine.ckpt", "notes.txt"])
def test_other_files_among_the_checkpoints_are_kept(tmp_path: Path, name: str) -> None:
    claim(tmp_path)
    write_files(tmp_path, f"checkpoints/{name}")
    with pytest.raises(DirectoryTaken, match=f"already holds checkpoints/{name}"):
        claim(tmp_path)
    assert (tmp_path / "checkpoints" / name).exists()


def test_killed_claim_can_be_repeated_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed before it renames the n-th file, for every n; then the directory can be claimed."""
    whole = Path.replace
    for n in range(10):
        folder = tmp_path / str(n)
        child = os.fork()
        if not child:
            left = [n]

            def replace(path: Path, target: Path, left: list[int] = left) -> Path:
                if not left[0]:
                    os._exit(9)
                left[0] -= 1
                return whole(path, target)

            monkeypatch.setattr(Path, "replace", replace)
            claim(folder)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        claim(folder)
        assert (folder / "config.yaml").exists() and not list(folder.rglob(".writing-*"))
        if code == 0:
            break
    assert 1 <= n < 9


# --- files that are kept ---


def test_config_is_saved_with_references_resolved(tmp_path: Path) -> None:
    claim(tmp_path)
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml")) == {"seed": 1, "a": {"b": 1}}


def test_full_disk_ends_the_log_with_one_warning(
    tmp_path: Path, full_disk: Callable[[], Any], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with claimed(tmp_path, CONFIG, composed=True):
        logging.getLogger("x").warning("before")
        with full_disk():
            logging.getLogger("x").warning("during")
        logging.getLogger("x").warning("after")
    assert "during" in caplog.text and caplog.text.count("train.log can't be written") == 1
    assert "before" in (tmp_path / "train.log").read_text()
    assert "Traceback" not in capfd.readouterr().err


def test_other_ranks_do_not_write_into_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claimed(tmp_path, CONFIG, composed=True):
        before = snapshot(tmp_path)
        monkeypatch.setenv("LOCAL_RANK", "1")
        with claimed(tmp_path, CONFIG, composed=True), held(tmp_path):
            assert snapshot(tmp_path) == before


def test_full_disk_at_a_claim_is_reported_in_one_line(tmp_path: Path, full_disk: Callable[[], Any]) -> None:
    with full_disk(), pytest.raises(UserError, match=r"config\.yaml can't be written \(File too large\)"):
        claim(tmp_path / "run")
    claim(tmp_path / "run")  # the directory can be used when there is room again


def test_locked_directory_is_refused_within_5_seconds(tmp_path: Path) -> None:
    with held(tmp_path):
        began = time.monotonic()
        with pytest.raises(RunInProgress), held(tmp_path):
            pass
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "name", ["train.log", "metrics.csv", "outputs", "checkpoints/last.ckpt", "evaluations", "wandb"]
)
def test_links_out_of_a_run_are_refused(tmp_path: Path, name: str) -> None:
    """A run directory from another person may contain links to private files of the user."""
    mine, run = tmp_path / "mine", tmp_path / "run"
    mine.mkdir()
    write_files(run, "checkpoints/model.safetensors", "notes/a")
    (run / "latest").symlink_to(run / "notes")  # a link inside the run is allowed
    if name != "wandb":  # wandb links its own log, which is outside the run, and does not write through the link
        write_files(run, "wandb/offline-run/config")
        (run / "wandb" / "offline-run" / "debug-core.log").symlink_to(mine / "core.log")
    check_links(run)
    (run / name).symlink_to(mine)
    with pytest.raises(DirectoryTaken, match="is a link that leads out of the run"), held(run):
        pass
    assert list(mine.iterdir()) == []
