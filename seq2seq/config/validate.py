"""Check of a composed config against the signatures of its classes, before any data is read.

Each key of a node must be a parameter of the node's ``_target_``. Each value must have the type of the parameter's
annotation, if that is a plain type. A component that no other component uses is refused, because it has no effect.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from seq2seq.config import signatures
from seq2seq.config.instantiate import CONF, origin, plain, signature_of
from seq2seq.config.ranges import LARGEST, Range
from seq2seq.config.signatures import Signature
from seq2seq.errors import UnknownOption, UserError


def check(
    config: DictConfig, *, keys: Iterable[str], components: Iterable[str] = (), typed: Iterable[str] | None = ()
) -> None:
    """Check the config of a run.

    Args:
        config: Composed config.
        keys: All keys that may stand at the top of the config.
        components: Keys that must have a node.
        typed: Names of the options on the command line. None for a stored config, which has no interpolations left, so
            that options without effect can't be found.

    Raises:
        UserError: A key or a value is wrong. The message names it, and what is right there.
    """
    # Check the keys at the top.
    for key in map(str, config):
        if key not in set(keys):
            raise UserError(f"unknown option {key}{suggest(key, keys)}; there are: {', '.join(sorted(keys))}")
    for key in (*components, *SLOTS):
        node = config.get(key)
        if (key in components or node is not None) and not (isinstance(node, DictConfig) and "_target_" in node):
            group = f"self_attention@{key}" if key in ("encoder_self", "decoder_self") else key
            raise UserError(f"{key} is not chosen; add {group}=CHOICE (--help lists the choices)")
    # Check the nodes, and that each of them has an effect.
    check_nodes("", plain(config), config)
    if typed is not None:
        _check_used(config, typed)


def suggest(name: str, among: Iterable[str]) -> str:
    """Return ``; did you mean X?`` about a similar name, or an empty text.

    Args:
        name: Unknown name.
        among: Known names.
    """
    among = list(among)
    # One slip in a short name leaves less in common than the cutoff: ``cvs`` and ``csv`` share two of three letters.
    near = [other for other in among if _is_one_slip(name, other)]
    near += difflib.get_close_matches(name, among, n=1, cutoff=0.75)
    near += sorted(other for other in among if len(name) > 2 and other.startswith(name))
    return f"; did you mean {near[0]}?" if near else ""


def _is_one_slip(typed: str, name: str) -> bool:
    """Return whether one letter is missing, added or wrong, or two neighbours have changed places."""
    start = 0
    while typed[start : start + 1] == name[start : start + 1] != "":
        start += 1
    a, b = typed[start:], name[start:]
    exchanged = a[:2] == b[1::-1] and a[2:] == b[2:]
    return min(len(typed), len(name)) > 2 and (exchanged or a[1:] == b[1:] or a[1:] == b or a == b[1:])


def check_nodes(path: str, value: Any, config: DictConfig | None = None) -> None:
    """Check all nodes in a part of a config against the signatures of their classes, outer nodes first.

    Args:
        path: Key of ``value`` in its config.
        value: Plain data.
        config: The whole config. With it, messages have the keys that a user types, instead of keys that are
            interpolations.

    Raises:
        UserError: An option is unknown, or its value is wrong.
    """
    for place, node in sorted(_nodes(value, path), key=lambda found: found[0].count(".")):
        place = origin(config, place)
        if not isinstance(node["_target_"], str):
            raise UserError(f"{place}._target_={node['_target_']}: must be the name of a class")
        if not isinstance(node.get("_partial_", False), bool):
            raise UserError(f"{place}._partial_={node['_partial_']}: must be bool")
        options = {key: option for key, option in node.items() if key not in ("_target_", "_partial_")}
        check_options(place, options, signature_of(node["_target_"], tools=True), config=config)


def check_options(
    path: str,
    options: Mapping[str, Any],
    target: Callable[..., Any] | Signature,
    beside: Iterable[str] = (),
    config: DictConfig | None = None,
) -> None:
    """Check options against the parameters of a class or function.

    Args:
        path: Key of the options in their config; "" for the top.
        options: {name: value}.
        target: Class or function that gets the options, or its signature.
        beside: Names of other known options, for messages about options at the top.
        config: The whole config, as in ``check_nodes``.

    Raises:
        UserError: An option is unknown, or its value is wrong.
    """
    signature = target if isinstance(target, Signature) else signatures.of(target)
    known = signature.parameters
    for key, value in options.items():
        place = origin(config, f"{path}.{key}" if path else key)
        if key not in known:
            if signature.open_ended:
                continue
            # Leave out parameters without a default: the code passes them (a vocabulary, an encoder), not the config.
            settable = {name for name, one in known.items() if not path or not one.required or name in options}
            right = ", ".join(sorted(settable.union(beside))) or "none"
            hint = f"{suggest(key, [*known, *beside])}; there are: {right}"
            raise UnknownOption(path, key, signature.name, hint) if path else UserError(f"unknown option {key}{hint}")
        hint = known[key].hint
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
            if "_target_" not in value:  # a node is checked by itself
                own = signature_of(hint.source) if hasattr(hint, "source") else hint
                check_options(place, value, own, config=config)
        elif not fits(value, hint) and not (value is None and known[key].optional):
            # A part of its own is chosen by its group.
            if (CONF / (group := place.replace(".", "/"))).is_dir():
                raise UserError(f"{place}={value}: must be chosen by {group}=CHOICE")
            named = typing.get_origin(hint) in (dict, Mapping)
            raise UserError(f"{place}={value}: must be {f'{place}.NAME=VALUE' if named else describe(hint)}")
        elif unusable := [number for number in _numbers(value) if not -LARGEST <= number <= LARGEST]:
            raise UserError(f"{place}={unusable[0]}: must be a number between {-LARGEST:.0e} and {LARGEST:.0e}")


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value fits a type.

    Args:
        value: Value from YAML.
        hint: Type annotation; any value fits an annotation that can't be checked here.
    """
    # Types with further types in them.
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [limit for limit in inner[1:] if isinstance(limit, Range)]
        return fits(value, inner[0]) and all(value in limit for limit in limits)
    if hint is Any or (isinstance(value, Mapping) and "_target_" in value):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is typing.Literal:
        return any(value == option and type(value) is type(option) for option in inner)
    # Plain types.
    if value is None or hint in (None, type(None)):
        return value is None and hint in (None, type(None))
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str)
    # Collections.
    if origin in (list, tuple, Sequence, Iterable):
        elements = inner[:1] if inner[1:] in ((), (...,)) else ()
        return isinstance(value, list) and all(fits(item, element) for item in value for element in elements)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    # Other classes (Tensor, Strategy) and functions: no value from YAML fits.
    return not (inspect.isclass(hint) or origin is Callable)


def describe(hint: Any) -> str:
    """Return a description of a type for messages: its choices or its name.

    Args:
        hint: Type annotation. Of a union only the types that YAML can write are described.
    """
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    # Leave out types that no value from YAML has.
    writable = [option for option in options if option in _WRITABLE or not inspect.isclass(option)]
    words: list[str] = []
    for option in writable or options:
        if typing.get_origin(option) is typing.Literal:
            words += [str(choice) for choice in typing.get_args(option)]
        elif option in (None, type(None)):
            words.append("null")
        elif typing.get_origin(option) is Sequence and typing.get_args(option):
            words.append(f"Sequence[{describe(typing.get_args(option)[0])}]")
        elif typing.get_origin(option) is Annotated:
            words += [f"{describe(typing.get_args(option)[0])} {limit}" for limit in typing.get_args(option)[1:]]
        else:
            words.append(inspect.formatannotation(option).rsplit(".", 1)[-1])
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _numbers(value: Any) -> Iterable[int | float]:
    """Yield all numbers in a value from YAML, except those in nodes, which are checked by themselves."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, Mapping) and "_target_" not in value:
        for item in value.values():
            yield from _numbers(item)


_WRITABLE = (bool, int, float, str, type(None))


def _nodes(value: Any, path: str = "") -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield (path, node) of all mappings with a ``_target_``."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield path, value
        for key, child in value.items():
            yield from _nodes(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _nodes(child, f"{path}[{place}]")


_READ_BY_CODE = {"model.share_embeddings"}
SLOTS = {
    "attention": "the decoder attends to no source",
    "self_attention": "neither encoder nor decoder attends to itself",
    "encoder_self": "the encoder does not attend to itself",
    "decoder_self": "the decoder does not attend to itself",
}
"""{key of an attention mechanism: reason why it has no effect if no component mentions it}."""


def _check_used(config: DictConfig, typed: Iterable[str]) -> None:
    """Refuse mechanisms and options that no component reads by interpolation, because they have no effect."""
    # Collect all keys that a component reads by interpolation.
    mentioned = set(re.findall(r"\$\{(?:[\w.]+:)?([\w.]+)", OmegaConf.to_yaml(config, resolve=False)))
    for slot, reason in SLOTS.items():
        if config.get(slot) is not None and slot not in mentioned:
            raise UserError(f"{slot} has no effect here: {reason}")
    # Refuse options of these groups that no component reads.
    for group in ("model", "task"):
        read = {name.removeprefix(f"{group}.") for name in mentioned | _READ_BY_CODE if name.startswith(f"{group}.")}
        if "_target_" in (config.get(group) or ()):  # parameters of its own class have an effect too
            read |= {"_target_", *signature_of(config[group]["_target_"]).parameters}
        for key in typed:
            name = key.removeprefix(f"{group}.")
            if name not in (key, "", *read):
                right = f"{suggest(name, read)}; {group} has: {', '.join(sorted(read))}"
                raise UserError(f"{key} has no effect here{right}")
