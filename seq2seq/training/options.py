"""Options of training: the ``training:`` node of the config, which completes the options of ``lightning.Trainer``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seq2seq.errors import UserError
from seq2seq.metrics.metric import Metric
from seq2seq.metrics.rewards import reward
from seq2seq.metrics.table import find_metric, get_metric
from seq2seq.metrics.text import names_in
from seq2seq.search import Search


@dataclass(frozen=True)
class TrainingOptions:
    """Options of training, checked on construction: a wrong value fails before any data is read."""

    monitor: str | None = None  # validation metric that selects the best checkpoint; null: see ``monitored``
    mode: Literal["min", "max"] | None = None  # whether lower or higher is better; null: known from the metric's name
    patience: int | None = None  # stop after this many validations without a new best; null: never
    validate_every: int | None = None  # number of optimiser steps between validations; null: at the end of every epoch
    metrics: Sequence[str | Metric] = ()  # scores of generated text at validation: bleu, chrf, ter
    decoding: Search | None = None  # search that generates this text
    test: bool = True  # score the best model on the test split; false: on the validation split
    num_plots: int = 0  # number of validation sentences whose attention is drawn during training
    plots_every: int | None = None  # draw every N validations; null: at the 1st, 2nd, 4th, 8th, ...
    plot_format: Literal["png", "pdf", "svg"] = "png"  # pdf, svg: write each plot in this format too
    plot_pieces: bool = False  # whether plots show pieces of words in place of words
    save_attention: int = 0  # number of test outputs whose attention is stored for comparison
    faithfulness_examples: int = 0  # number of test records for tests of faithfulness (erasure, gradients)
    attention_examples: int = 0  # number of validation records on which each validation measures attention
    averaging: Literal["none", "ema", "last"] = "none"  # average of weights to validate and to keep as the best model
    ema_decay: float = 0.999  # decay of averaging=ema
    average_last: int = 5  # number of validations whose weights averaging=last averages
    weight_decay_on: Literal["weights", "all"] = "weights"  # weights: no decay of biases, norms and embeddings
    nonfinite: Literal["stop", "skip"] = "stop"  # reaction to a loss or gradient that is not finite
    save_steps: int | None = None  # save last.ckpt also every N optimiser steps; null: no
    save_minutes: float | None = 10.0  # save it also every N minutes; null: no. Each validation saves it anyway
    init_from: str | None = None  # run or checkpoint with the initial weights and tokenizers
    strict: bool = False  # refuse init_from if some weights do not fit; false: take those that fit
    freeze: Sequence[str] = ()  # modules or parameters that training does not change
    reward: str | None = None  # metric of outputs to train by (``SelfCritical``); null: train by likelihood alone
    reward_samples: int = 5  # number of outputs sampled for each record
    reward_baseline: Literal["greedy", "others"] = "greedy"  # reward to subtract: of the greedy output or other samples
    reward_contrast: float = 0.0  # weight of the output's score for another record, which is subtracted from its reward
    reward_share: float = 1.0  # weight of the reward in the loss; the likelihood has the rest
    verbose: bool = False  # print all figures with their signatures after the test
    overfit: float | None = None  # debug: repeat one batch until its loss is below this (nats per token)
    profile: int | None = None  # debug: number of steps whose time is measured

    def __post_init__(self) -> None:
        """Check that the options are in range.

        Raises:
            UserError: The option that is out of range or lacks another one.
        """
        names_in(self.metrics)  # a metric of the user is known from here on
        # Check numbers that must be positive, and choices.
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
        if self.strict and self.init_from is None:
            raise UserError("strict=true has no effect without init_from=RUN")
        # Check the options of rewards.
        if self.reward_samples < (2 if self.reward_baseline == "others" else 1):
            raise UserError(
                f"reward_samples={self.reward_samples} must be at least 1, and at least 2 with reward_baseline=others"
            )
        if not 0 <= self.reward_contrast < math.inf:
            raise UserError(f"reward_contrast={self.reward_contrast} must be a finite number, 0 or greater")
        if self.reward_contrast and self.reward is None:
            raise UserError(f"reward_contrast={self.reward_contrast} has no effect without a reward; set reward")
        if not 0 < self.reward_share <= 1:
            raise UserError(f"reward_share={self.reward_share} must be above 0 and at most 1")
        if self.reward is not None:
            reward(self.reward, [])
            if self.overfit is not None:
                raise UserError(f"reward={self.reward} has no effect with debug=overfit; use reward=null")
        # Check the remaining numbers.
        for name in ("num_plots", "save_attention", "faithfulness_examples", "attention_examples"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)} must be 0 or a number of sentences")
        if not 0 < self.ema_decay < 1:
            raise UserError(f"ema_decay={self.ema_decay} must lie between 0 and 1")
        # Check that text is generated if metrics or plots need it, and that the best checkpoint is well defined.
        if (self.metrics or self.num_plots) and self.decoding is None:
            raise UserError(
                "decoding=null generates no text, but metrics and plots need it; use decoding=greedy or beam"
            )
        metric = find_metric(self.monitored)
        if self.mode is None and (metric is None or metric.higher_is_better is None):
            raise UserError(
                f"mode=null: the metric {self.monitored} does not say which direction is better; use min or max"
            )

    @property
    def monitored(self) -> str:
        """Metric that selects the best checkpoint: ``monitor``, else ``reward``, else ``nll``.

        A reward takes the place of ``nll``, because training by a reward makes likelihoods worse. With a sparse output
        layer, ``training/trainer_parts.py`` sets ``monitor`` to its loss in place of ``nll``.
        """
        return self.monitor or self.reward or "nll"

    @property
    def direction(self) -> Literal["min", "max"]:
        """Better direction of the monitored metric: min or max."""
        return self.mode or ("min" if get_metric(self.monitored).lower_is_better else "max")

    def better(self, score: float, best: float | None) -> bool:
        """Return True if ``score`` is better than ``best``; not-a-number never is.

        Args:
            score: New value of the monitored metric.
            best: Best value so far; None if there is none.
        """
        # Only not-a-number differs from itself.
        if score != score:
            return False
        return best is None or (score < best if self.direction == "min" else score > best)
