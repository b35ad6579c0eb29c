"""Ctrl-C wherever it arrives: the code that a shell expects, at most one line, and no process left."""

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
    line = [sys.executable, "-c", code]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("how", SWALLOWED)
def test_an_interrupt_that_is_swallowed_ends_the_program(how: str) -> None:
    process = started(START + SWALLOWED[how])
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_no_exception_is_raised_in_the_middle_of_an_import() -> None:
    """Where C++ code calls Python code, an exception that it does not expect aborts the process."""
    code = START.replace("    interrupts.unwind()\n", "")
    process = started(code + "    try:\n        time.sleep(60)\n    finally:\n        import os\n        os.abort()\n")
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_second_interrupt_ends_at_once() -> None:
    code = START.replace("0.5", "60") + "    try:\n        time.sleep(60)\n    finally:\n        time.sleep(60)\n"
    process = started(code)
    for _ in range(2):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130


def test_errors_without_an_interrupt_stay_what_they_are() -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + "    sys.exit('a line')"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (1, "a line\n")


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    """However that ends: here by kill -9, of which it can't tell anybody."""
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
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _lives(child)


def _lives(process: int) -> bool:
    """Whether it runs; what nobody has waited for is over as well."""
    try:
        return os.readlink(f"/proc/{process}/exe") != ""
    except OSError:
        return False


@pytest.mark.parametrize("name", ["train", "evaluate", "generate", "compare"])
def test_commands_are_stopped_while_they_import(name: str) -> None:
    code = "import builtins, runpy, signal, sys\nsys.argv = ['x.py']\nimport_, seen = builtins.__import__, []\n"
    code += "def slow(module, *args):\n    if module.startswith('hydra') and not seen:\n        seen.append(1)\n"
    code += "        signal.raise_signal(signal.SIGINT)\n    return import_(module, *args)\n"
    code += f"builtins.__import__ = slow\nrunpy.run_path('{name}.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
