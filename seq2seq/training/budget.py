"""Equal budgets: as many updates, target tokens, seconds or parameters for every mechanism that is compared.

``budget.updates``, ``tokens`` and ``seconds`` say when training ends, in the place of ``trainer.max_epochs``;
``budget.parameters`` how large the model is, by its widths.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.instantiate import at_key
from seq2seq.config.ranges import Count, Positive
from seq2seq.config.validate import SLOTS, check_options
from seq2seq.data.corpus import Corpus
from seq2seq.errors import UserError
from seq2seq.model import build

log = logging.getLogger(__name__)
WIDTHS = ("dim", "embedding_dim", "ff_dim")
"""Keys of ``model`` that grow together."""
NEAR = 0.1
"""A share of the parameters asked for; what is further off is refused."""
PARTS = ("encoder", "decoder")


@dataclass(frozen=True)
class Budget:
    """What is given; at most one of the first three."""

    updates: Count | None = None
    tokens: Count | None = None  # of targets, with </s>
    seconds: Positive | None = None
    parameters: Count | None = None

    def __post_init__(self) -> None:
        if len(ends := [name for name in ("updates", "tokens", "seconds") if getattr(self, name) is not None]) > 1:
            first, second = (f"{name}={getattr(self, name)}" for name in ends[:2])
            raise UserError(f"{first} and {second} both say when training ends; give one")

    @staticmethod
    def of(config: DictConfig) -> Budget:
        """The ``budget`` node, if there is one."""
        node: Mapping[str, Any] = config.get("budget") or {}
        if not isinstance(node, Mapping | DictConfig):
            raise UserError(f"budget={node}: must be budget.NAME=VALUE")
        given = {str(name): value for name, value in node.items()}
        check_options("budget", given, Budget)
        with at_key("budget"):
            return Budget(**given)

    def sized(self, config: DictConfig, sizes: tuple[int, int]) -> DictConfig:
        """``config`` with the widths whose model, of these vocabularies, is nearest to ``parameters``."""
        if self.parameters is None:
            return config
        heads = (config[slot].get("heads") for slot in ("model", *SLOTS) if config.get(slot))
        step = 2 * math.lcm(*(int(number) for number in heads if number))
        usual = {name: int(config.model[name]) for name in WIDTHS if config.model.get(name)}

        def widened(times: int) -> DictConfig:
            changed = config.copy()
            dim = times * step
            for name, width in usual.items():
                changed.model[name] = dim if name == "dim" else max(1, round(width * dim / usual["dim"]))
            return changed

        low, high = 1, 2
        while _count(widened(high), sizes) < self.parameters and high * step < 2**16:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _count(widened(middle), sizes) < self.parameters else (low, middle)
        target = self.parameters
        nearest = min((low, high), key=lambda times: abs(_count(widened(times), sizes) - target))
        found = widened(nearest)
        for name in WIDTHS[1:]:  # in which the number of parameters is linear, and which heads don't divide
            if name in usual:
                count, more = _count(found, sizes), found.copy()
                more.model[name] += 1
                if not (gained := _count(more, sizes) - count):
                    continue  # of a part that this model does not have
                by = round((target - count) / gained)
                found.model[name] = max(found.model[name] // 2, found.model[name] + by)
        count = _count(found, sizes)
        told = ", ".join(f"model.{name} {width} -> {found.model[name]}" for name, width in usual.items())
        off = count / self.parameters - 1
        if abs(off) > NEAR:
            stay = [
                f"{part}.{key}={config[part][key]}" for part in PARTS for key in WIDTHS if _stays(config[part], key)
            ]
            why = f"; {', '.join(stay)} stays as it is (null follows model.dim)" if stay else ""
            raise UserError(f"budget.parameters={self.parameters} can't be met: {told} has {count}, the nearest{why}")
        log.info("budget.parameters=%d: %s; %d parameters (%+.1f %%)", self.parameters, told, count, 100 * off)
        return found

    def ended(self, config: DictConfig, corpus: Corpus) -> DictConfig:
        """``config`` with a trainer that stops when the budget is spent."""
        if self.updates is None and self.tokens is None and self.seconds is None:
            return config
        changed = config.copy()
        changed.trainer.max_epochs, changed.trainer.max_steps, changed.trainer.max_time = -1, -1, None
        if self.seconds is not None:
            changed.trainer.max_time = {"seconds": self.seconds}
            return changed
        changed.trainer.max_steps = self.updates
        if self.tokens is not None:
            batches, tokens = corpus.epoch()
            updates = batches / int(config.trainer.get("accumulate_grad_batches") or 1) / processes(config)
            changed.trainer.max_steps = max(1, math.ceil(self.tokens / tokens * updates))
            log.info("budget.tokens=%d: %d updates", self.tokens, changed.trainer.max_steps)
        return changed


def processes(config: DictConfig) -> int:
    """How many share an update."""
    devices = config.trainer.get("devices", 1)
    here = torch.cuda.device_count() or 1
    if not isinstance(devices, int):
        devices = int(devices) if str(devices).isdigit() else here if isinstance(devices, str) else len(devices)
    return max(1, here if devices == -1 else devices) * int(config.trainer.get("num_nodes") or 1)


def _count(config: DictConfig, sizes: tuple[int, int]) -> int:
    with torch.device("meta"):
        model = build(config, *sizes)
    return sum(parameter.numel() for parameter in model.parameters())


def _stays(part: DictConfig, key: str) -> bool:
    """Whether a width of its own does not follow the model's."""
    return part.get(key) is not None and not OmegaConf.is_interpolation(part, key)
