"""Options of a command, and changes of a run's config by the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from omegaconf import DictConfig, OmegaConf

from seq2seq.config import validate
from seq2seq.config.instantiate import build_node, plain, signature_of
from seq2seq.errors import UserError
from seq2seq.stored import roles

if TYPE_CHECKING:
    from seq2seq.search import Search

T = TypeVar("T")


def search_of(config: DictConfig) -> Search:
    """Build the search that ``decoding`` of a config describes.

    Args:
        config: Config of a run.

    Raises:
        UserError: The class of ``decoding`` is not a search.
    """
    from seq2seq.search import Search  # imports torch: the check of options need not wait for it

    search = build_node(config.decoding)
    if not isinstance(search, Search):
        raise UserError(f"decoding._target_={config.decoding._target_} is not a way to decode; choose decoding=CHOICE")
    return search


def own_options(config: DictConfig, kind: type[T], groups: Iterable[str]) -> T:
    """Return the checked options of a command, without those of config groups.

    Args:
        config: Composed config of the command.
        kind: Dataclass of the options.
        groups: Keys of the config groups, which are left out.
    """
    own = {key: value for key, value in plain(config).items() if key not in groups}
    validate.check_options("", own, kind, beside=groups)
    return kind(**own)


def merge_overrides(stored: DictConfig, typed: DictConfig, groups: Iterable[str]) -> DictConfig:
    """Return the config of a run, changed by the options on the command line.

    A group that is chosen on the command line replaces the group of the run. Single options change it.

    Args:
        stored: Config of the run.
        typed: Composed config of the command.
        groups: Keys of the config groups that may change.

    Raises:
        UserError: A class or an option is not allowed at its key.
    """
    config = stored.copy()
    for group in groups:
        if (node := typed.get(group)) is None:
            continue
        if not OmegaConf.is_dict(node):
            raise UserError(f"{group}={node}: choose one of the group's files (--help lists them)")
        # Replace the whole group, or change its options.
        config[group] = node if "_target_" in node else OmegaConf.merge(config.get(group) or {}, node)
        # Check the changed group like a stored config.
        merged = plain(config[group])
        roles.check(merged, "", group)
        validate.check_nodes(group, merged)
        # A task takes any option, for references that a stored config has no more; an old trainer has no class.
        if "_target_" in node or "_target_" not in merged:
            continue
        known = {*signature_of(merged["_target_"], tools=True).parameters, *(stored.get(group) or ())}
        if unknown := [key for key in map(str, node) if key not in known]:
            hint = f"{validate.suggest(unknown[0], known)}; there are: {', '.join(sorted(known - {'_target_'}))}"
            raise UserError(f"{group}.{unknown[0]} has no effect here{hint}")
    return config
