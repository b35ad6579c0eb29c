"""Initial weights from another model, and parameters that training keeps."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import nn

from seq2seq.checkpoint import Checkpoint
from seq2seq.config.validate import suggest
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq

log = logging.getLogger(__name__)
MOST = 6
"""Largest number of modules that a message names."""


def start_from(model: Seq2Seq, stored: Checkpoint, *, strict: bool) -> None:
    """Give ``model`` the weights of another model that fit: those with the same name and shape.

    Args:
        model: Model to start; the rest of its weights stays as it is.
        stored: The other model.
        strict: Whether to refuse a model of which some weights do not fit.

    Raises:
        UserError: No weights fit, or ``strict`` and some do not.
    """
    own, given = model.state_dict(), stored.weights_for(model)
    fitting = {name: weight for name, weight in given.items() if name in own and own[name].shape == weight.shape}
    new, left = [name for name in own if name not in fitting], [name for name in given if name not in fitting]
    message = f"training.init_from={run_name(stored)}: {len(fitting)} of {len(own)} weights are taken"
    message += f"; new here: {modules(new)}" if new else ""
    message += f"; not used: {modules(left)}" if left else ""
    if not fitting or (strict and (new or left)):
        remedy = "training.strict=false takes those that fit" if fitting else "choose a run of a similar model"
        raise UserError(f"{message}; {remedy}")
    if new or left:
        log.warning("%s", message)
    with torch.no_grad():
        for name, weight in fitting.items():
            own[name].copy_(weight)


def run_name(stored: Checkpoint) -> str:
    """Return the name of a stored model for messages: the directory of its run, or its folder.

    Args:
        stored: The model.
    """
    folder = stored.path.parent
    return str(folder.parent if folder.name == "checkpoints" else folder)


def modules(names: Iterable[str]) -> str:
    """Return the modules of some weights for a message, with their number of weights.

    Args:
        names: Names of weights.
    """
    counts: dict[str, int] = {}
    for name in names:
        module = name.rpartition(".")[0] or name
        counts[module] = counts.get(module, 0) + 1
    shown = [f"{module} ({count})" for module, count in list(counts.items())[:MOST]]
    return ", ".join(shown) + (f" and {len(counts) - MOST} more modules" if len(counts) > MOST else "")


def freeze(model: nn.Module, names: Sequence[str]) -> None:
    """Keep parameters as they are: they get no gradient, no weight decay and no state in the optimiser.

    Args:
        model: Model to train.
        names: Names of modules or parameters. A name stands for all parameters with it in their dotted name:
            ``encoder``, ``attention``, ``decoder.embedding``.

    Raises:
        UserError: A name is of no parameter, or no parameter is left to train.
    """
    parameters = dict(model.named_parameters())
    for name in names:
        found = [parameter for key, parameter in parameters.items() if is_named(key, name)]
        if not found:
            parts = parts_of(parameters)
            raise UserError(f"freeze={name} is no part of this model{suggest(name, parts)}; it has {', '.join(parts)}")
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError(f"freeze=[{','.join(names)}] leaves nothing to train; leave a part out")


def is_named(key: str, name: str) -> bool:
    """Return whether a parameter is part of what a name stands for.

    Args:
        key: Dotted name of the parameter.
        name: Some of its successive parts, joined by dots.
    """
    return f".{name}." in f".{key}."


def parts_of(keys: Collection[str]) -> list[str]:
    """Return the names of the parts of a model, without numbers of layers.

    Args:
        keys: Dotted names of its parameters.
    """
    parts = (part for key in keys for part in key.split(".")[:-1] if not part.isdigit())
    return sorted(dict.fromkeys(parts))
