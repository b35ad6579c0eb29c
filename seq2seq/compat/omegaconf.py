"""Where a node of a config stands."""

from __future__ import annotations

from omegaconf import DictConfig


def full_key(node: DictConfig) -> str:
    """Return the path of a node from the root of its config, "" of the root. Only errors have it as a public name."""
    return node._get_full_key(None)


def root(node: DictConfig) -> DictConfig | None:
    """Return the config that ``node`` is a part of, or None where it is no mapping. No public name leads upwards."""
    found = node._get_root()
    return found if isinstance(found, DictConfig) else None
