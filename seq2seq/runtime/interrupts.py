"""Ctrl-C outside training: the program ends within seconds, without a traceback.

While a command imports and checks, it ends at once. There is nothing to clean up, and an exception in the middle of the
import of a library can abort the process. After ``unwind`` an interrupt raises KeyboardInterrupt. Destructors and
libraries can swallow this exception or replace it, so the interrupt is also remembered, and a thread ends the process
if nothing else does.
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

INTERRUPTED = 130  # exit code that shells expect after Ctrl-C
PATIENCE = 3.0  # seconds that the program has to clean up

# State of the signal handler: the process that installed it, whether SIGINT came, whether SIGINT raises an exception.
_process = 0
_received = False
_unwinds = False


@contextmanager
def stopping() -> Iterator[None]:
    """Handle SIGINT in the block; after an interrupt, end the program quietly with the exit code of Ctrl-C.

    The block may end in any way: an error after an interrupt does not matter.
    """
    take_over()
    try:
        yield
    except BaseException as error:
        if _received or isinstance(error, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        raise


def take_over() -> None:
    """Handle SIGINT from now on: it ends the process at once, until ``unwind`` is called."""
    global _process, _unwinds
    _process, _unwinds = os.getpid(), False
    signal.signal(signal.SIGINT, _handle)


def unwind() -> None:
    """Make the first SIGINT raise KeyboardInterrupt from now on, so that files and processes are cleaned up."""
    global _unwinds
    _unwinds = True


def received() -> bool:
    """Return True if the user has interrupted the program, so that later errors do not matter."""
    return _received


def end_with(parent: int) -> None:
    """End this process as soon as its parent has ended.

    Args:
        parent: Id of the process that started this one.
    """

    def watch() -> None:
        # A process gets another parent when its own has ended.
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


def _handle(signum: int, frame: FrameType | None) -> None:
    """Handle SIGINT: end the process, or raise KeyboardInterrupt."""
    global _received
    if os.getpid() != _process:  # a forked worker: no process waits for it any more
        os._exit(INTERRUPTED)
    if _received or not _unwinds:
        _end()
    # Raise the exception, and end the process later if the program does not end itself.
    _received = True
    # Do not print the exception if a destructor swallows it.
    sys.unraisablehook = lambda unraisable: None
    _thread.start_new_thread(_end_later, ())  # threading.Thread needs a lock that the interrupted code may hold
    raise KeyboardInterrupt


def _end_later() -> None:
    """End the process after the time to clean up."""
    time.sleep(PATIENCE)
    _end()


def _end() -> None:
    """End the process and its children at once."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(INTERRUPTED)
