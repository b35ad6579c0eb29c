"""What the commands share: their own options, and those that change a run's config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf

from seq2seq.config import validate
from seq2seq.config.instantiate import build_node, plain
from seq2seq.errors import UserError
from seq2seq.search import Search
from seq2seq.stored import roles

T = TypeVar("T")


def search_of(config: DictConfig) -> Search:
    """Build the search of the config's ``decoding``."""
    search = build_node(config.decoding)
    if not isinstance(search, Search):
        raise UserError(f"decoding._target_={config.decoding._target_} is no way to decode")
    return search


def own_options(config: DictConfig, kind: type[T], groups: Iterable[str]) -> T:
    """Return a command's own options, checked, as ``kind``; ``groups`` are the keys that are no options of its own."""
    own = {key: value for key, value in plain(config).items() if key not in groups}
    validate.check_options("", own, kind, beside=groups)
    return kind(**own)


def merge_overrides(stored: DictConfig, typed: DictConfig, groups: Iterable[str]) -> DictConfig:
    """Return the run's config with what was typed: a group chosen anew replaces the run's, options change it."""
    config = stored.copy()
    for group in groups:
        if (node := typed.get(group)) is None:
            continue
        if not OmegaConf.is_dict(node):
            raise UserError(f"{group}={node}: choose one of the group's files (--help lists them)")
        config[group] = node if "_target_" in node else OmegaConf.merge(config.get(group) or {}, node)
        merged = plain(config[group])
        roles.check(merged, "", group)
        validate.check_nodes(group, merged)
    return config
