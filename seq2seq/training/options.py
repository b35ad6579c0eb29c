"""The ``training:`` node: what a run does beside what ``lightning.Trainer`` itself is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seq2seq.errors import UserError
from seq2seq.metrics.rewards import reward
from seq2seq.metrics.table import find_metric, get_metric
from seq2seq.search import Search


@dataclass(frozen=True)
class TrainingOptions:
    """Checked when made, so a wrong value fails before any data is read."""

    monitor: str | None = None  # the validation metric that says which checkpoint is best; null: ``monitored``
    mode: Literal["min", "max"] | None = None  # its better direction; null: by its name
    patience: int | None = None  # stop after so many validations without a new best; null: never
    validate_every: int | None = None  # optimiser steps; null: at the end of every epoch
    metrics: Sequence[str] = ()  # scores of generated text at validation: bleu, chrf, ter
    decoding: Search | None = None  # how that text is generated
    num_plots: int = 0  # validation sentences whose attention is drawn as training goes
    plots_every: int | None = None  # draw every N validations; null: at the 1st, 2nd, 4th, 8th, ...
    save_attention: int = 0  # test outputs whose attention is kept for comparison
    faithfulness_examples: int = 0  # test records on which attention is held against erasing and gradients
    attention_examples: int = 0  # validation records on which each validation measures attention
    averaging: Literal["none", "ema", "last"] = "none"  # the weights that are validated and kept as best
    ema_decay: float = 0.999  # of averaging=ema
    average_last: int = 5  # validations whose weights averaging=last takes the mean of
    weight_decay_on: Literal["weights", "all"] = "weights"  # weights: not biases, norms and embeddings
    nonfinite: Literal["stop", "skip"] = "stop"  # what a loss or gradient that is not finite does
    save_steps: int | None = None  # last.ckpt also every so many optimiser steps
    save_minutes: float | None = 10.0  # and every so many minutes; it is always saved at validation
    init_from: str | None = None  # a run or checkpoint whose weights and tokenizers training starts with
    reward: str | None = None  # a metric of outputs to train by (``SelfCritical``); null: by likelihood alone
    reward_samples: int = 5  # outputs that are drawn of each record
    reward_baseline: Literal["greedy", "others"] = "greedy"  # what a sample has to beat
    reward_contrast: float = 0.0  # how many times an output's worth for the next record is taken off its reward
    reward_share: float = 1.0  # of the loss; the rest is the likelihood's
    overfit: float | None = None  # debug: repeat one batch until its nats a token fall below this
    profile: int | None = None  # debug: measure so many steps and say where their time went

    def __post_init__(self) -> None:
        """Check that the options are in range."""
        for name in (
            "patience",
            "validate_every",
            "plots_every",
            "average_last",
            "save_steps",
            "save_minutes",
            "overfit",
            "profile",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"{name}={value} must be greater than 0, or null")
        for name, choices in (
            ("mode", (None, "min", "max")),
            ("averaging", ("none", "ema", "last")),
            ("weight_decay_on", ("weights", "all")),
            ("nonfinite", ("stop", "skip")),
            ("reward_baseline", ("greedy", "others")),
        ):
            if getattr(self, name) not in choices:
                raise UserError(f"{name}={getattr(self, name)} must be one of {', '.join(map(str, choices))}")
        if self.reward_samples < (2 if self.reward_baseline == "others" else 1):
            raise UserError(f"reward_samples={self.reward_samples} must be at least 1, or 2 with baseline others")
        if not 0 <= self.reward_contrast < math.inf:
            raise UserError(f"reward_contrast={self.reward_contrast} must be 0 or a number above it")
        if self.reward_contrast and self.reward is None:
            raise UserError(f"reward_contrast={self.reward_contrast} has no reward: set reward")
        if not 0 < self.reward_share <= 1:
            raise UserError(f"reward_share={self.reward_share} must be above 0 and at most 1")
        if self.reward is not None:
            reward(self.reward, [])
            if self.overfit is not None:
                raise UserError(f"reward={self.reward} has no effect with debug=overfit, which has none")
        for name in ("num_plots", "save_attention", "faithfulness_examples", "attention_examples"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)} must be 0 or a number of sentences")
        if not 0 < self.ema_decay < 1:
            raise UserError(f"ema_decay={self.ema_decay} must lie between 0 and 1")
        if (self.metrics or self.num_plots) and self.decoding is None:
            raise UserError("decoding=null generates no text, which metrics and plots need: choose one, such as greedy")
        metric = find_metric(self.monitored)
        if self.mode is None and (metric is None or metric.higher_is_better is None):
            raise UserError(f"mode=null must be min or max: the name {self.monitored} does not say which is better")

    @property
    def monitored(self) -> str:
        """``monitor``; where none is chosen the ``reward``, which makes likelihoods worse, or without one ``nll``."""
        return self.monitor or self.reward or "nll"

    @property
    def direction(self) -> Literal["min", "max"]:
        """What is better in the monitored metric: less or more."""
        return self.mode or ("min" if get_metric(self.monitored).lower_is_better else "max")

    def better(self, score: float, best: float | None) -> bool:
        """Whether ``score`` of the monitored metric beats ``best``; not-a-number never does."""
        if score != score:
            return False
        return best is None or (score < best if self.direction == "min" else score > best)
