"""Walks over the nodes of a config that is plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of all that is neither a mapping nor a list."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for place, below in enumerate(value):
            yield from leaves(below, f"{path}[{place}]")
    else:
        yield path, value
