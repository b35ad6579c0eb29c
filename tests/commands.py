"""The commands in processes of their own, as a shell starts them, without the seconds that their imports take."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["seq2seq.cli.train", "seq2seq.cli.hydra_app"])  # imported once, then each run is a fork


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Do what ``python SCRIPT ARGUMENTS`` does at the root of the repository."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = SERVER.Process(target=_main, args=([script, *arguments], out, err))
        with contextlib.chdir(ROOT):  # where the server finds the package
            process.start()
        process.join()
        code = process.exitcode if process.exitcode is not None else -1
        return subprocess.CompletedProcess([script, *arguments], code, out.read_text(), err.read_text())


def _main(line: list[str], out: Path, err: Path) -> None:
    for stream, path in ((0, Path(os.devnull)), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    os.chdir(ROOT)
    sys.argv = line
    runpy.run_path(line[0], run_name="__main__")
