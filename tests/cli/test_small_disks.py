"""Tests of full disks: a run is refused in one line, and resumes when there is room again."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig

from seq2seq.cli import train
from seq2seq.errors import UserError
from seq2seq.run_directory import results
from tests.cli.test_kills import assert_same, composed, ended, forked, start

ROOM = "size=1g,nr_inodes=100000"


@contextlib.contextmanager
def disk(place: Path, room: str) -> Iterator[None]:
    """Mount a file system in memory at ``place``; skip the test if this user can't mount one."""
    place.mkdir(exist_ok=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", room, "tmpfs", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user can't mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DictConfig, Path]]:
    """Yield a config and a run of it on a disk with enough room."""
    base = tmp_path_factory.mktemp("disks")
    config = composed(base / "cache", "training.num_plots=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "cost", lambda *args: {})
        patch.setattr(train, "update_memory", lambda *args: None)
        start(config, base / "whole")
        yield config, base / "whole"


def attempt(config: DictConfig, folder: Path, message: Path) -> str:
    """Start or resume a run in a forked process; return the message if it is refused, else an empty text."""
    message.write_text("")

    def work() -> None:
        try:
            start(config, folder)
        except UserError as error:
            message.write_text(str(error))

    assert ended(forked(work)) == 0
    return message.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["bytes", "files"])
def test_a_run_is_refused_on_disks_of_all_sizes_and_then_resumed(
    whole: tuple[DictConfig, Path], tmp_path: Path, unit: str
) -> None:
    config, complete = whole
    everything = list(complete.rglob("*"))
    size = sum(file.stat().st_size for file in everything if file.is_file()) // 1024
    sizes = range(4, 2 * size, max(8, size // 14)) if unit == "bytes" else range(2, len(everything) + 4, 2)
    refusals = 0
    for number in sizes:
        with disk(tmp_path / "disk", f"size={number}k" if unit == "bytes" else f"nr_inodes={number}"):
            folder = tmp_path / "disk" / "run"
            if said := attempt(config, folder, tmp_path / "said"):
                refusals += 1
                assert "can't be written" in said and "\n" not in said
            subprocess.run(["mount", "-o", f"remount,{ROOM}", tmp_path / "disk"], check=True)
            if results(folder) is None:
                assert attempt(config, folder, tmp_path / "said") == ""
            assert_same(complete, folder)
    assert refusals > 9
