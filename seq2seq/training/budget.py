"""Budgets for fair comparison: the same updates, target tokens, seconds or parameters for every mechanism.

``budget.updates``, ``tokens`` and ``seconds`` end training instead of ``trainer.max_epochs``.
``budget.parameters`` sets the size of the model by its widths.
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
from seq2seq.model import build, without_memory

log = logging.getLogger(__name__)
WIDTHS = ("dim", "embedding_dim", "ff_dim")
"""Widths of ``model`` that grow together."""
NEAR = 0.1
"""Largest relative difference between the requested and the actual number of parameters."""
PARTS = ("encoder", "decoder")


@dataclass(frozen=True)
class Budget:
    """Budget of one run; at most one of the first three fields is given."""

    updates: Count | None = None  # number of updates
    tokens: Count | None = None  # number of target tokens, </s> included
    seconds: Positive | None = None  # duration of training
    parameters: Count | None = None  # size of the model

    def __post_init__(self) -> None:
        if len(ends := [name for name in ("updates", "tokens", "seconds") if getattr(self, name) is not None]) > 1:
            first, second = (f"{name}={getattr(self, name)}" for name in ends[:2])
            raise UserError(f"{first} and {second} both say when training ends; give one")

    @staticmethod
    def of(config: DictConfig) -> Budget:
        """Return the budget that the ``budget`` node describes; without a node, it is empty.

        Args:
            config: The composed config of the run.

        Raises:
            UserError: The node has an unknown option or a wrong value.
        """
        node: Mapping[str, Any] = config.get("budget") or {}
        if not isinstance(node, Mapping | DictConfig):
            raise UserError(f"budget={node} is not a set of options; use budget.NAME=VALUE")
        given = {str(name): value for name, value in node.items()}
        check_options("budget", given, Budget)
        with at_key("budget"):
            return Budget(**given)

    def sized(self, config: DictConfig, sizes: tuple[int, int]) -> DictConfig:
        """Return ``config`` with the widths whose number of parameters is nearest to ``parameters``.

        Args:
            config: The composed config of the run.
            sizes: Sizes of the source and the target vocabulary.

        Returns:
            The changed config, or ``config`` itself without ``budget.parameters``.

        Raises:
            UserError: No widths come near enough.
        """
        if self.parameters is None:
            return config
        # Find the step of widths: every number of heads divides ``dim`` into even parts.
        heads = (config[slot].get("heads") for slot in ("model", *SLOTS) if config.get(slot))
        step = 2 * math.lcm(*(int(number) for number in heads if number))
        usual = {name: int(config.model[name]) for name in WIDTHS if config.model.get(name)}

        def widened(times: int) -> DictConfig:
            """Return the config with ``dim`` = ``times`` steps and the other widths in proportion."""
            changed = config.copy()
            dim = times * step
            for name, width in usual.items():
                changed.model[name] = dim if name == "dim" else max(1, round(width * dim / usual["dim"]))
            return changed

        # Bracket the target by doubling, then bisect.
        low, high = 1, 2
        while _count(widened(high), sizes) < self.parameters and high * step < 2**16:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _count(widened(middle), sizes) < self.parameters else (low, middle)
        target = self.parameters
        nearest = min((low, high), key=lambda times: abs(_count(widened(times), sizes) - target))
        found = widened(nearest)
        # Adjust the other widths. The number of parameters is linear in them, and heads do not divide them.
        for name in WIDTHS[1:]:
            if name in usual:
                count, more = _count(found, sizes), found.copy()
                more.model[name] += 1
                if not (gained := _count(more, sizes) - count):
                    continue  # this model has no such part
                by = round((target - count) / gained)
                found.model[name] = max(found.model[name] // 2, found.model[name] + by)
        # Check the result and log it.
        count = _count(found, sizes)
        changes = ", ".join(f"model.{name} {width} -> {found.model[name]}" for name, width in usual.items())
        deviation = count / self.parameters - 1
        if abs(deviation) > NEAR:
            fixed = [
                f"{part}.{key}={config[part][key]}" for part in PARTS for key in WIDTHS if _stays(config[part], key)
            ]
            reason = f"; {', '.join(fixed)} stays fixed (null makes it follow model.dim)" if fixed else ""
            raise UserError(
                f"budget.parameters={self.parameters} can't be met: {changes} has {count}, the nearest{reason}"
            )
        log.info("budget.parameters=%d: %s; %d parameters (%+.1f %%)", self.parameters, changes, count, 100 * deviation)
        return found

    def ended(self, config: DictConfig, corpus: Corpus) -> DictConfig:
        """Return ``config`` with a trainer that stops at the end of the budget.

        Args:
            config: The composed config of the run.
            corpus: The data, which tells the number of target tokens in an epoch.

        Returns:
            The changed config, or ``config`` itself if the budget does not end training.
        """
        if self.updates is None and self.tokens is None and self.seconds is None:
            return config
        # Remove the other limits of the trainer.
        changed = config.copy()
        changed.trainer.max_epochs, changed.trainer.max_steps, changed.trainer.max_time = -1, -1, None
        if self.seconds is not None:
            changed.trainer.max_time = {"seconds": self.seconds}
            return changed
        # Convert tokens to updates, by the mean number of tokens in an update.
        changed.trainer.max_steps = self.updates
        if self.tokens is not None:
            batches, tokens = corpus.epoch()
            updates = batches / int(config.trainer.get("accumulate_grad_batches") or 1) / processes(config)
            changed.trainer.max_steps = max(1, math.ceil(self.tokens / tokens * updates))
            log.info("budget.tokens=%d: %d updates", self.tokens, changed.trainer.max_steps)
        return changed


def processes(config: DictConfig) -> int:
    """Return the number of processes that share an update.

    Args:
        config: The composed config of the run.
    """
    devices = config.trainer.get("devices", 1)
    here = torch.cuda.device_count() or 1
    # ``devices`` is a number, "auto", or a list of devices.
    if not isinstance(devices, int):
        devices = int(devices) if str(devices).isdigit() else here if isinstance(devices, str) else len(devices)
    return max(1, here if devices == -1 else devices) * int(config.trainer.get("num_nodes") or 1)


def _count(config: DictConfig, sizes: tuple[int, int]) -> int:
    """Return the number of parameters of the model; the meta device holds no memory."""
    with without_memory():
        model = build(config, *sizes)
    return sum(parameter.numel() for parameter in model.parameters())


def _stays(part: DictConfig, key: str) -> bool:
    """Return True if the width ``key`` of ``part`` has its own value instead of the model's."""
    return part.get(key) is not None and not OmegaConf.is_interpolation(part, key)
