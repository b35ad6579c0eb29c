"""Parameters that training keeps as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from seq2seq.config.validate import suggest
from seq2seq.errors import UserError


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
