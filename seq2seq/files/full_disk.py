"""Libraries that write files themselves report a full disk in errors of their own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError


@contextmanager
def told_as_os_error() -> Iterator[None]:
    """Raise what torch and safetensors say of a write that failed as an OSError, which ``files.writing`` explains."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
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
