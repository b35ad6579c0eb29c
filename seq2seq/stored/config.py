"""Check of a stored config before anything is built from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from seq2seq.config.nodes import leaves
from seq2seq.config.validate import check_nodes
from seq2seq.errors import UserError
from seq2seq.stored import moved_names, plain, roles

FOR_MODEL = ("encoder", "decoder", "decoding")
FOR_TRAINING = ("loss", "optimizer", "lr_scheduler", "trainer", "training")
LIMITS = {
    "decoding": 10_000,
    "training.decoding": 10_000,
    "data.images.size": 8192,
    "data.images.frames": 4096,
    "data.reader": 100_000_000,
    **dict.fromkeys(("data.workers", "trainer.devices", "trainer.num_nodes"), 1000),
    **dict.fromkeys(("encoder", "decoder", "attention", "self_attention"), 1_000_000),
    **dict.fromkeys(("encoder_self", "decoder_self", "default_self"), 1_000_000),
}
"""Largest numbers at and below a key. A larger number would only fill the memory, or start too many processes."""
COUNTS = {"layers": 1000, "blocks": 1000, "hops": 1000, "samples": 1000, "beam_size": 1000, "n_best": 1000}
"""Largest values of options that are numbers of repetitions."""
WHOLE = "max_source_tokens", "max_source_sentences", "max_target_tokens"
"""Options of ``data`` that are positive integers or null."""


def opened(content: Any, name: str, *, old: bool = False) -> dict[str, Any]:
    """Return a stored config as plain data, without references and with the current names.

    Args:
        content: Content of the file.
        name: Name of the file in messages.
        old: Whether the config is older than the rule that stored configs have no references. Then its references are
            resolved.

    Raises:
        UserError: The config is not plain data, uses a resolver, or names a class that ``conf/`` does not name at this
            key. The message names the file and the key.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{name} is refused: its config is {type(content).__name__}, not a mapping")
    # Check the form, and resolve references.
    plain.check(content, name)
    if old:
        config = plain.resolved(content, name)
    else:
        plain.refuse_references(content, name)
        config = {str(key): value for key, value in content.items()}
    # Rename keys and classes, and check classes and values.
    config = moved_names.renamed(config)
    roles.check(config, name)
    for path, value in leaves(config):
        if isinstance(value, str) and value == "???":
            raise UserError(f"{name}: {path} has no value")
    _check_yaml_sizes(config, name)
    return config


def check_model(config: Mapping[str, Any], name: str) -> None:
    """Check the form of a config of a model, with its codec and search.

    Args:
        config: Stored config.
        name: Name of the file in messages.

    Raises:
        UserError: A key is missing, or has a wrong value.
    """
    check_present(config, name, FOR_MODEL)
    data, model = config.get("data"), config.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("share_embeddings"), bool):
        raise UserError(f"{name}: model.share_embeddings is missing, or neither true nor false")
    # Check the options of the data on which the codec depends.
    if not isinstance(data, Mapping) or not isinstance(data.get("tokenizer"), Mapping):
        raise UserError(f"{name}: data.tokenizer is missing")
    if not isinstance(data["tokenizer"].get("joint", True), bool):
        raise UserError(f"{name}: data.tokenizer.joint={data['tokenizer']['joint']}: must be true or false")
    for key in ("documents", "copy"):
        if not isinstance(data.get(key) or False, bool):
            raise UserError(f"{name}: data.{key}={data[key]}: must be true or false")
    for key in WHOLE:
        if not _is_count(data.get(key), least=1):
            raise UserError(f"{name}: data.{key}={data[key]}: must be a number of at least 1, or null")
    if (images := data.get("images")) is not None and not (isinstance(images, Mapping) and "_target_" in images):
        raise UserError(f"{name}: data.images is not a node with a _target_")


def check_present(config: Mapping[str, Any], name: str, keys: Iterable[str]) -> None:
    """Check that a config has nodes at some keys, with options that their classes accept.

    Args:
        config: Stored config.
        name: Name of the file in messages.
        keys: Keys of the nodes.

    Raises:
        UserError: A node is missing, or has a wrong option.
    """
    for key in keys:
        node = config.get(key)
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise UserError(f"{name}: {key} is missing, or is not a node with a _target_")
        with_name(name, check_nodes, key, node)


def check_task(config: Mapping[str, Any], name: str) -> None:
    """Check ``task`` and ``seed`` of a config, which are needed to score a model.

    Args:
        config: Stored config.
        name: Name of the file in messages.

    Raises:
        UserError: One of them is missing or wrong.
    """
    seed = config.get("seed")
    check_present(config, name, ("task",))
    if "metrics" not in config["task"]:
        raise UserError(f"{name}: task.metrics is missing")
    if not _is_count(seed, least=0) or seed is None:
        raise UserError(f"{name}: seed={seed}: must be a number of at least 0")


def with_name(name: str, check: Any, *args: Any) -> Any:
    """Call a function, and put the name of a file before its errors.

    Args:
        name: Name of the file in messages.
        check: Function that checks or builds a part of a config.
        *args: Arguments of the function.

    Returns:
        Return value of the function.

    Raises:
        UserError: The function raises any error.
    """
    try:
        return check(*args)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except Exception as error:  # a constructor may raise any error for a value in a file of somebody else
        raise UserError(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _check_yaml_sizes(config: Mapping[str, Any], name: str) -> None:
    """Refuse numbers that are larger than ``LIMITS`` and ``COUNTS`` allow."""
    for path, value in leaves(config):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        # Collect the limits of all keys at or above this one.
        limits = [most for key, most in LIMITS.items() if path == key or path.startswith(f"{key}.")]
        last = path.rpartition(".")[2]
        if limits and last in COUNTS:
            limits.append(COUNTS[last])
        if limits and last != "seed" and not abs(value) <= min(limits):
            raise UserError(f"{name}: {path}={value} is refused: a stored config may have at most {min(limits)} there")


def _is_count(value: Any, *, least: int) -> bool:
    """Return whether ``value`` is null or an integer of at least ``least``."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least)
