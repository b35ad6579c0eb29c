"""The optimiser and its learning-rate schedule, built from their config nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from seq2seq.training.schedules import Schedule

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]
"""What ``conf/optimizer/NAME.yaml`` builds: parameter groups -> optimiser."""
ScheduleFactory = Callable[[Optimizer], Schedule]
"""What ``conf/lr_scheduler/NAME.yaml`` builds: optimiser -> schedule."""


def parameter_groups(module: nn.Module, weight_decay_on: str) -> list[dict[str, Any]]:
    """Parameters that decay and those that never do.

    ``weights``: matrices decay; biases, gains of norms and numbers, one a head, don't, nor do embeddings, whose rows
    would shrink whenever their words are absent. ``all``: everything decays.
    """
    names, parameters = zip(*((n, p) for n, p in module.named_parameters() if p.requires_grad), strict=True)
    if weight_decay_on == "all":
        return [{"params": list(parameters)}]
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    decays = [
        p.ndim > 1 and p[0].numel() > 1 and not name.endswith("bias") and id(p) not in embeddings
        for name, p in zip(names, parameters, strict=True)
    ]
    groups: list[dict[str, Any]] = [
        {"params": [p for p, d in zip(parameters, decays, strict=True) if d]},
        {"params": [p for p, d in zip(parameters, decays, strict=True) if not d], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
