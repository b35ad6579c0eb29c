"""Where a node of a config stands."""

from __future__ import annotations

from omegaconf import DictConfig


def full_key(node: DictConfig) -> str:
    """Return the path of a node from the root of its config, "" of the root. Only errors have it as a public name."""
    return node._get_full_key(None)
