"""Position of a node in its config."""

from __future__ import annotations

from omegaconf import DictConfig


def full_key(node: DictConfig) -> str:
    """Return the key of a node from the root of its config, or "" for the root.

    The only public attribute with this key belongs to errors.

    Args:
        node: Node of a config.
    """
    return node._get_full_key(None)


def root(node: DictConfig) -> DictConfig | None:
    """Return the config that contains a node, or None if it is not a mapping. OmegaConf has no public name for it.

    Args:
        node: Node of a config.
    """
    found = node._get_root()
    return found if isinstance(found, DictConfig) else None
