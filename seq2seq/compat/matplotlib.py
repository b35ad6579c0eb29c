"""What matplotlib warns about."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Run a block without a warning for every missing glyph, which has no category of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
