"""End of a command without a traceback: one line for a mistake of the user, nothing for a closed pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seq2seq.errors import UserError
from seq2seq.files.writing import FULL


@contextmanager
def one_line(
    mistakes: tuple[type[Exception], ...] = (UserError,),
    explain: Callable[[Exception], str] = str,
    *,
    traceback_wanted: bool = False,
) -> Iterator[None]:
    """End the program without a traceback: silently for a closed pipe, with one line for an error of the user.

    Args:
        mistakes: Types of errors that the user can repair.
        explain: Returns the line about such an error.
        traceback_wanted: Raise errors, except that of a closed pipe.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has ended, for example ``head``
        _drop_output()
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL or traceback_wanted:
            raise
        _drop_output()
        sys.exit(f"{Path(sys.argv[0]).name}: {error.filename or 'stdout'} can't be written ({error.strerror})")
    except mistakes as error:
        if traceback_wanted:
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {explain(error)}")


def _drop_output() -> None:
    """Drop the rest of the output in the buffer of stdout, so that Python does not fail to write it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
