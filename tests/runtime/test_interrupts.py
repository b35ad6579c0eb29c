"""Tests of Ctrl-C at any time: the exit code is 130, nothing is printed, and no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START = """
import signal, sys, time
from seq2seq.runtime import interrupts
interrupts.PATIENCE = 0.5
with interrupts.stopping():
    interrupts.unwind()
    print("started", flush=True)
"""
SWALLOWED = {
    "by an except": """
    try:
        time.sleep(60)
    except BaseException:
        pass
    while True:
        time.sleep(60)
""",
    "by a destructor": """
    class Held:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)
    Held()
    while True:
        time.sleep(60)
""",
    "into another error": """
    try:
        time.sleep(60)
    except KeyboardInterrupt as error:
        raise RuntimeError("a worker died") from error
""",
    "into another exit": """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(1)
""",
    "by an import": """
    try:
        time.sleep(60)
    except KeyboardInterrupt as error:
        raise ImportError("half imported") from error
""",
    "not at all": """
    time.sleep(60)
""",
}


def started(code: str) -> subprocess.Popen[str]:
    """Start Python code in a process, and wait until it has started."""
    line = [sys.executable, "-c", code]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("how", SWALLOWED)
def test_a_swallowed_interrupt_ends_the_program(how: str) -> None:
    process = started(START + SWALLOWED[how])
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_no_exception_is_raised_in_the_middle_of_an_import() -> None:
    """Before ``unwind`` there is no exception: C++ code that calls Python would abort the process."""
    code = START.replace("    interrupts.unwind()\n", "")
    process = started(code + "    try:\n        time.sleep(60)\n    finally:\n        import os\n        os.abort()\n")
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_second_interrupt_ends_the_program_at_once() -> None:
    code = START.replace("0.5", "60") + "    try:\n        time.sleep(60)\n    finally:\n        time.sleep(60)\n"
    process = started(code)
    for _ in range(2):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130


def test_errors_without_an_interrupt_are_not_changed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + "    sys.exit('a line')"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (1, "a line\n")


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    """The worker also ends if its parent is killed by SIGKILL, which runs no clean-up."""
    worker = "import os, time; from seq2seq.runtime.interrupts import end_with; end_with({parent}); "
    worker += "print(os.getpid(), flush=True); time.sleep(60)"
    code = f"import os, subprocess, sys\nworker = {worker!r}.format(parent=os.getpid())\n"
    code += "print('started', flush=True)\nsubprocess.run([sys.executable, '-c', worker])"
    process = started(code)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_running(child)


def _is_running(process: int) -> bool:
    """Return True if a process is running; a zombie process is not."""
    try:
        return os.readlink(f"/proc/{process}/exe") != ""
    except OSError:
        return False


@pytest.mark.parametrize("name", ["train", "evaluate", "generate", "compare"])
def test_commands_can_be_interrupted_during_imports(name: str) -> None:
    code = "import builtins, runpy, signal, sys\nsys.argv = ['x.py']\nimport_, seen = builtins.__import__, []\n"
    code += "def slow(module, *args):\n    if module.startswith('hydra') and not seen:\n        seen.append(1)\n"
    code += "        signal.raise_signal(signal.SIGINT)\n    return import_(module, *args)\n"
    code += f"builtins.__import__ = slow\nrunpy.run_path('{name}.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
