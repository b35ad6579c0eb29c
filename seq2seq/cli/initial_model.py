"""Initial weights of a run from another model (``training.init_from``)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch

from seq2seq.checkpoint import Checkpoint
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
