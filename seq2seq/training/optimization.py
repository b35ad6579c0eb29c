"""Optimiser and learning-rate schedule, as built from their config nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from seq2seq.training.schedules import Schedule

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]
"""Function built from ``conf/optimizer/NAME.yaml``: parameter groups -> optimiser."""
ScheduleFactory = Callable[[Optimizer], Schedule]
"""Function built from ``conf/lr_scheduler/NAME.yaml``: optimiser -> schedule."""


def parameter_groups(module: nn.Module, weight_decay_on: str) -> list[dict[str, Any]]:
    """Return the parameters in two groups: with and without weight decay.

    With ``weights`` only matrices decay. Biases, gains of norms and parameters with one number per head do not. Nor do
    embeddings: a row would shrink in every update whose batch lacks its word. With ``all`` every parameter decays.

    Args:
        module: Module with the parameters.
        weight_decay_on: ``weights`` or ``all``.

    Returns:
        Parameter groups for an optimiser, without empty ones.
    """
    names, parameters = zip(*((n, p) for n, p in module.named_parameters() if p.requires_grad), strict=True)
    if weight_decay_on == "all":
        return [{"params": list(parameters)}]
    # Find the matrices that are not embeddings.
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    decays = [
        p.ndim > 1 and p[0].numel() > 1 and not name.endswith("bias") and id(p) not in embeddings
        for name, p in zip(names, parameters, strict=True)
    ]
    # Split the parameters; a group without weight decay overrides the optimiser's default.
    groups: list[dict[str, Any]] = [
        {"params": [p for p, d in zip(parameters, decays, strict=True) if d]},
        {"params": [p for p, d in zip(parameters, decays, strict=True) if not d], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
