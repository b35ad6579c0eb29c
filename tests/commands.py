"""Helpers that run the commands as a shell does, in a forked process or in this one, without the slow imports."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["seq2seq.cli.train", "seq2seq.cli.hydra_app"])  # import once; each run is a fork


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python SCRIPT ARGUMENTS`` at the root of the repository, in a forked process."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = SERVER.Process(target=_main, args=([script, *arguments], out, err))
        with contextlib.chdir(ROOT):  # the server finds the package there
            process.start()
        process.join()
        code = process.exitcode if process.exitcode is not None else -1
        return subprocess.CompletedProcess([script, *arguments], code, out.read_text(), err.read_text())


def train_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python train.py ARGUMENTS`` in this process and in its current directory."""
    import pytest  # imported here, so that the fork server does not import them
    from hydra.core.global_hydra import GlobalHydra

    from seq2seq.cli import commands
    from tests.conftest import logging_kept

    out, err, code = io.StringIO(), io.StringIO(), 0
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch, logging_kept():
        patch.setattr(sys, "argv", ["train.py", *arguments])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        # Hydra closes all handlers that it finds. The handler of absl would close pytest's stderr.
        patch.setattr(logging, "_handlerList", [])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                commands.train()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
                print(ended.code, file=sys.stderr)  # as the interpreter does when it exits
    return subprocess.CompletedProcess(["train.py", *arguments], code, out.getvalue(), err.getvalue())


def _main(line: list[str], out: Path, err: Path) -> None:
    """Run a script as the main program, with its output in two files."""
    for stream, path in ((0, Path(os.devnull)), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    os.chdir(ROOT)
    sys.argv = line
    runpy.run_path(line[0], run_name="__main__")
