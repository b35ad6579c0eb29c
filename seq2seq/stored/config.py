"""A stored config, held against what a run's config can be before anything is built of it."""

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
"""The largest numbers at and below a key: what is larger would only fill the memory, or start processes without end."""
COUNTS = {"layers": 1000, "blocks": 1000, "hops": 1000, "samples": 1000, "beam_size": 1000, "n_best": 1000}
"""The same for how often something is repeated."""
WHOLE = "max_source_tokens", "max_source_sentences", "max_target_tokens"


def opened(content: Any, name: str, *, old: bool = False) -> dict[str, Any]:
    """Return the config that ``content`` is, as plain data without references and in today's names.

    Args:
        content: What the file holds.
        name: The file, as errors call it.
        old: Whether it was written before configs were stored resolved. Its references are resolved then.

    Raises:
        UserError: One line that names the file and the key: it is no plain data, it asks for a resolver, or names a
            class at a key where ``conf/`` does not.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{name} is refused: its config is {type(content).__name__}, not a mapping")
    plain.check(content, name)
    if old:
        config = plain.resolved(content, name)
    else:
        plain.refuse_references(content, name)
        config = {str(key): value for key, value in content.items()}
    config = moved_names.renamed(config)
    roles.check(config, name)
    for path, value in leaves(config):
        if isinstance(value, str) and value == "???":
            raise UserError(f"{name}: {path} was never given")
    _check_yaml_sizes(config, name)
    return config


def check_model(config: Mapping[str, Any], name: str) -> None:
    """Refuse a config that describes no model, codec and search, by its form alone."""
    check_present(config, name, FOR_MODEL)
    data, model = config.get("data"), config.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("share_embeddings"), bool):
        raise UserError(f"{name}: model.share_embeddings is missing, or neither true nor false")
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
        raise UserError(f"{name}: data.images is no node with a _target_")


def check_present(config: Mapping[str, Any], name: str, keys: Iterable[str]) -> None:
    """Refuse a config in which one of ``keys`` is no node, or has options that its class does not take."""
    for key in keys:
        node = config.get(key)
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise UserError(f"{name}: {key} is missing, or no node with a _target_")
        with_name(name, check_nodes, key, node)


def check_task(config: Mapping[str, Any], name: str) -> None:
    """Refuse a ``task`` or a ``seed`` that scoring could not use."""
    seed = config.get("seed")
    check_present(config, name, ("task",))
    if "metrics" not in config["task"]:
        raise UserError(f"{name}: task.metrics is missing")
    if not _is_count(seed, least=0) or seed is None:
        raise UserError(f"{name}: seed={seed}: must be a number of at least 0")


def with_name(name: str, check: Any, *args: Any) -> Any:
    """Call ``check(*args)``; its errors begin with the file's name."""
    try:
        return check(*args)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except Exception as error:  # a constructor that stumbles over what a stranger wrote
        raise UserError(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _check_yaml_sizes(config: Mapping[str, Any], name: str) -> None:
    for path, value in leaves(config):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        limits = [most for key, most in LIMITS.items() if path == key or path.startswith(f"{key}.")]
        last = path.rpartition(".")[2]
        if limits and last in COUNTS:
            limits.append(COUNTS[last])
        if limits and last != "seed" and not abs(value) <= min(limits):
            raise UserError(f"{name}: {path}={value} is refused: no stored config needs more than {min(limits)}")


def _is_count(value: Any, *, least: int) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least)
