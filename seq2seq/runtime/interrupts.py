"""Ctrl-C outside training: the program ends within seconds, without a traceback, wherever it is.

While a command imports and checks, there is nothing to clean up, and an exception in the middle of a library's start
can abort the process: it ends at once. From ``unwind`` on an interrupt arrives as an exception, which destructors and
libraries can swallow or turn into another one. So what was received is also remembered, and a thread ends the process
if nothing else has.
"""

from __future__ import annotations

import _thread
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # what a shell expects after Ctrl-C
PATIENCE = 3.0  # seconds that a program has to clean up

_process = 0
_received = False
_unwinds = False


@contextmanager
def stopping() -> Iterator[None]:
    """End the program quietly, with the code for Ctrl-C, if one came while the block ran, whatever became of it."""
    take_over()
    try:
        yield
    except BaseException as error:
        if _received or isinstance(error, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        raise


def take_over() -> None:
    """Handle SIGINT from now on, which ends the process at once until ``unwind`` is called."""
    global _process, _unwinds
    _process, _unwinds = os.getpid(), False
    signal.signal(signal.SIGINT, _handle)


def unwind() -> None:
    """Let the first SIGINT raise KeyboardInterrupt from now on: files and processes are to be cleaned up."""
    global _unwinds
    _unwinds = True


def received() -> bool:
    """Whether the user has stopped the program, so that no later error matters."""
    return _received


def end_with(parent: int) -> None:
    """End this process when ``parent``, which started it, has ended in any way."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


def _handle(signum: int, frame: FrameType | None) -> None:
    global _received
    if os.getpid() != _process:  # a forked worker: nobody waits for it any more
        os._exit(INTERRUPTED)
    if _received or not _unwinds:
        _end()
    _received = True
    sys.unraisablehook = lambda unraisable: None
    _thread.start_new_thread(_end_later, ())  # not threading's: the interrupted code may hold its lock
    raise KeyboardInterrupt


def _end_later() -> None:
    time.sleep(PATIENCE)
    _end()


def _end() -> None:
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(INTERRUPTED)
