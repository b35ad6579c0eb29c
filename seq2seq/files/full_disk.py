"""Conversion of the errors with which libraries report a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError


@contextmanager
def told_as_os_error() -> Iterator[None]:
    """Raise an OSError if torch or safetensors fails to write a file in the block.

    They raise errors of other types. ``files.writing`` turns the OSError into a message for the user.

    Raises:
        OSError: A file can't be written.
    """
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        # Use the OSError that caused the error, or the error number in its message.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        text = " ".join(str(error).split())
        known = next(
            (
                number
                for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
                if f"(os error {number})" in text or f"code: {number}" in text
            ),
            None,
        )
        if known is None and "write" not in text.lower():
            raise
        raise OSError(known or errno.EIO, text[:200] if known is None else os.strerror(known)) from error
