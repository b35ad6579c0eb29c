"""Who may write into a directory: a refusal changes nothing, a start that came to nothing can be repeated."""

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
    """Every file and folder at or below ``folder``: inode, time of its last change, and content."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        about = path.lstat()
        found[str(path)] = (about.st_ino, about.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(RESULTS) if name == "results.json" else "content")
    return folder


def take(folder: Path, config: DictConfig = CONFIG) -> None:
    with claimed(folder, config, composed=True):
        pass


@contextmanager
def worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds ``folder``."""
    code = "import sys, time; from pathlib import Path; from seq2seq.run_directory import held\n"
    code += "with held(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    line = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


# --- what is refused ---


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["results.json"], "already holds a finished run; choose another directory$"),
        ([".lock", "checkpoints/last.ckpt"], "a stopped run; continue it with resume=.*, or choose another"),
        ([".lock", "checkpoints/best.ckpt"], "a stopped run; continue it with resume="),
        (["thesis.tex"], r"already holds thesis\.tex, which does not belong to a new run"),
        ([".lock", "config.yaml", "notes/a.txt"], "already holds notes,"),
        (["config.yaml", "outputs/mine.txt"], r"already holds config\.yaml,"),  # not ours: there is no lock
        ([".hydra/hydra.yaml", "multirun.yaml"], r"already holds \.hydra,"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_is_there_is_refused_and_stays_as_it_was(tmp_path: Path, names: list[str], message: str) -> None:
    folder = made(tmp_path / "run", *names)
    before = snapshot(folder)
    with pytest.raises(DirectoryTaken, match=message):
        take(folder)
    assert snapshot(folder) == before


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(DirectoryTaken, match="file is a file"):
        take(tmp_path / "file")
    with pytest.raises(UserError, match="can't be written and locked"):
        take(tmp_path / "file" / "below")


def test_a_directory_at_work_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with worker(folder) as process:
        before = snapshot(folder)
        for start in (lambda: claimed(folder, CONFIG), lambda: held(folder)):
            with pytest.raises(RunInProgress, match="run is in use by another process; wait until it ends"), start():
                pass
        assert snapshot(folder) == before
        process.kill()  # the system gives the lock back
        process.wait()
        take(folder)


def test_this_process_holds_it_once(tmp_path: Path) -> None:
    with claimed(tmp_path, CONFIG), pytest.raises(RunInProgress), held(tmp_path):
        pass


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As a loader's, which outlives a training process that is killed."""
    code = "import os, sys, time; from pathlib import Path; from seq2seq.run_directory import held\n"
    code += "with held(Path(sys.argv[1])):\n    child = os.fork()\n"
    code += "    os.write(1, f'{child or 0}\\n'.encode())\n    time.sleep(60)"  # each a line in one write
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        said = {process.stdout.readline().strip() for _ in range(2)}  # both live, and the child has begun
        child = int((said - {"0"}).pop())
        process.kill()
        process.wait()
        try:
            os.kill(child, 0)  # it lives
            take(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_no_permission_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(38, "Function not implemented")  # no locks on this file system

    monkeypatch.setattr("seq2seq.run_directory.FileLock.acquire", refuse)
    with pytest.raises(UserError, match=r"run can't be written and locked \(Function not implemented\); choose a"):
        take(tmp_path / "run")


# --- what can be used again ---


def test_a_start_that_came_to_nothing_is_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    take(folder)
    left = ["metrics.csv", "attention/validation/step_1/a.png", "outputs/.writing-x", "checkpoints/.writing-y"]
    made(folder, *left, ".writing-z.yaml", "failed.txt", "wandb/offline/x", "checkpoints/last.partial")
    before = (folder / "train.log").read_text()
    with claimed(folder, OmegaConf.create({"seed": 2}), composed=True):
        logging.getLogger("x").warning("second")
    assert (folder / "config.yaml").read_text() == "seed: 2\n"
    assert (folder / "train.log").read_text().startswith(before) and "second" in (folder / "train.log").read_text()
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {".lock", "config.yaml", "train.log", "wandb/offline/x"}


@pytest.mark.parametrize("text", ["", "{", '{"test": {}', "[]", "null", '{"run": {}}', '{"test": {}, "run": 1}'])
def test_half_a_file_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    assert results(tmp_path) is None
    (tmp_path / ".lock").touch()
    with pytest.raises(DirectoryTaken, match=r"results\.json is damaged; move it away"):
        take(tmp_path)  # what else the run left may be all that there is of it
    assert (tmp_path / "results.json").read_text() == text


def test_a_temporary_file_is_no_checkpoint(tmp_path: Path) -> None:
    made(tmp_path, "checkpoints/.writing-a.ckpt", "checkpoints/last.partial")
    assert not has_checkpoint(tmp_path)
    made(tmp_path, "checkpoints/last.ckpt")
    assert has_checkpoint(tmp_path)


def test_what_is_written_before_the_first_checkpoint_is_none(tmp_path: Path) -> None:
    """A run that was killed while it saved its first best model starts again, without what it left of that."""
    take(tmp_path)
    beside = [f"checkpoints/{name}" for name in (model_file.CONFIG, *map(model_file.side_file, ("source", "target")))]
    made(tmp_path, *beside, f"checkpoints/{model_file.NEXT}")
    assert not has_checkpoint(tmp_path)
    take(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("name", [model_file.NAME, "mine.ckpt", "notes.txt"])
def test_what_else_is_among_the_checkpoints_is_kept(tmp_path: Path, name: str) -> None:
    take(tmp_path)
    made(tmp_path, f"checkpoints/{name}")
    with pytest.raises(DirectoryTaken, match=f"already holds checkpoints/{name}"):
        take(tmp_path)
    assert (tmp_path / "checkpoints" / name).exists()


def test_a_killed_claim_can_be_repeated_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the n-th file takes its name, for every n."""
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
            take(folder)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        take(folder)
        assert (folder / "config.yaml").exists() and not list(folder.rglob(".writing-*"))
        if code == 0:
            break
    assert 1 <= n < 9


# --- what is kept ---


def test_the_config_is_kept_resolved(tmp_path: Path) -> None:
    take(tmp_path)
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml")) == {"seed": 1, "a": {"b": 1}}


def test_the_log_ends_where_the_disk_does(
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


def test_other_ranks_leave_the_directory_to_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claimed(tmp_path, CONFIG, composed=True):
        before = snapshot(tmp_path)
        monkeypatch.setenv("LOCAL_RANK", "1")
        with claimed(tmp_path, CONFIG, composed=True), held(tmp_path):
            assert snapshot(tmp_path) == before


def test_a_full_disk_is_one_line_at_each_file_of_a_claim(tmp_path: Path, full_disk: Callable[[], Any]) -> None:
    with full_disk(), pytest.raises(UserError, match=r"config\.yaml can't be written \(File too large\)"):
        take(tmp_path / "run")
    take(tmp_path / "run")  # which is free once there is room


def test_time_is_not_lost_on_a_refusal(tmp_path: Path) -> None:
    with held(tmp_path):
        began = time.monotonic()
        with pytest.raises(RunInProgress), held(tmp_path):
            pass
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "name", ["train.log", "metrics.csv", "outputs", "checkpoints/last.ckpt", "evaluations", "wandb"]
)
def test_links_out_of_a_run_are_not_followed(tmp_path: Path, name: str) -> None:
    """A directory from elsewhere may hold links to anything of its reader's."""
    mine, run = tmp_path / "mine", tmp_path / "run"
    mine.mkdir()
    made(run, "checkpoints/model.safetensors", "notes/a")
    (run / "latest").symlink_to(run / "notes")  # within the run
    if name != "wandb":  # which links its own log out of the run, and never writes it through the run
        made(run, "wandb/offline-run/config")
        (run / "wandb" / "offline-run" / "debug-core.log").symlink_to(mine / "core.log")
    check_links(run)
    (run / name).symlink_to(mine)
    with pytest.raises(DirectoryTaken, match="is a link that leads out of the run"), held(run):
        pass
    assert list(mine.iterdir()) == []
