"""Options of training without effect: refused on the command line, accepted in a config file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from seq2seq.config.validate import suggest
from seq2seq.errors import UserError
from seq2seq.loss import estimator_of, terms_of
from seq2seq.model import Seq2Seq

ENDS = ("updates", "tokens", "seconds")
SOFT_ENDS = ("attention.selection.soft", "attention.selection.final_soft")
UNTIL = ("max_epochs", "max_steps", "max_time", "min_epochs", "min_steps")


@dataclass(frozen=True)
class Needless:
    """Condition under which options have no effect."""

    keys: tuple[str, ...]  # keys of the options; a key includes all keys below it
    when: Callable[[DictConfig], bool]  # whether the options have no effect in a config
    why: str  # the reason, or the remedy, for the message


def _is(key: str, *values: object) -> Callable[[DictConfig], bool]:
    """Return the condition that the option ``key`` has one of ``values``."""
    return lambda config: OmegaConf.select(config, key) in values


def _validates(config: DictConfig) -> bool:
    """Return whether training validates."""
    return bool(config.trainer.get("limit_val_batches") != 0)


def _generates(config: DictConfig) -> bool:
    """Return whether training generates text."""
    options = config.training
    return bool(options.get("reward") or (_validates(config) and (options.get("metrics") or options.get("num_plots"))))


def _updates(config: DictConfig) -> float:
    """Return the largest number of updates that ``max_epochs`` and ``limit_train_batches`` allow."""
    epochs, batches = config.trainer.get("max_epochs"), config.trainer.get("limit_train_batches")
    if not isinstance(batches, int) or not isinstance(epochs, int) or epochs < 0:
        return math.inf
    accumulated: int = config.trainer.get("accumulate_grad_batches", 1)
    return epochs * math.ceil(batches / accumulated)


TRAINING = (
    Needless(("training.ema_decay",), lambda c: c.training.averaging != "ema", "set training.averaging=ema"),
    Needless(("training.average_last",), lambda c: c.training.averaging != "last", "set training.averaging=last"),
    Needless(
        tuple(f"training.reward_{name}" for name in ("samples", "baseline", "contrast", "share")),
        _is("training.reward", None),
        "there is no reward; set training.reward",
    ),
    Needless(
        ("loss",),
        lambda c: c.training.get("reward") is not None and c.training.get("reward_share", 1) == 1,
        "the model learns only from the reward; set training.reward_share below 1",
    ),
    Needless(
        tuple(
            f"training.{name}"
            for name in ("monitor", "mode", "patience", "validate_every", "metrics", "attention_examples")
        ),
        lambda c: not _validates(c),
        "nothing is validated with trainer.limit_val_batches=0",
    ),
    Needless(
        ("training.plots_every", "training.plot_format", "training.plot_pieces"),
        _is("training.num_plots", 0),
        "nothing is drawn with training.num_plots=0",
    ),
    Needless(
        ("training.decoding",),
        lambda c: not _generates(c),
        "training generates no text; set training.metrics, training.num_plots or training.reward",
    ),
    Needless(
        ("trainer.gradient_clip_algorithm",),
        _is("trainer.gradient_clip_val", None, 0),
        "gradients are not clipped; set trainer.gradient_clip_val",
    ),
    Needless(
        ("trainer.limit_predict_batches", "trainer.model_registry", "trainer.enable_autolog_hparams"),
        lambda _: True,
        "training does not use it",
    ),
    Needless(
        tuple(f"trainer.{name}" for name in UNTIL),
        lambda c: any(OmegaConf.select(c, f"budget.{end}") is not None for end in ENDS),
        "the budget ends training; set budget.updates, budget.tokens and budget.seconds to null",
    ),
    Needless(
        ("trainer.max_steps",),
        lambda c: _updates(c) < c.trainer.get("max_steps", -1),
        "trainer.max_epochs and trainer.limit_train_batches end training earlier",
    ),
    Needless(
        ("attention.selection.anneal_from", "attention.selection.anneal_to"),
        lambda c: OmegaConf.select(c, SOFT_ENDS[1]) in (None, OmegaConf.select(c, SOFT_ENDS[0])),
        "the probability of soft passes does not change; set attention.selection.final_soft",
    ),
    Needless(("encoder.overlap",), _is("encoder.chunk", None), "sources are encoded whole; set encoder.chunk"),
)
"""Options of training that have no effect in some configs."""


def check_effects(config: DictConfig, typed: Iterable[str], model: Seq2Seq) -> None:
    """Refuse options on the command line that have no effect on training.

    Args:
        config: Config of the run.
        typed: Names of the options on the command line.
        model: Model that the config describes; it may be on the meta device.

    Raises:
        UserError: An option has no effect; the message names it and the reason.
    """
    # Check options that have no effect in this config.
    typed = list(typed)
    for key, needless in _found(config, typed):
        if OmegaConf.select(config, key) not in (None, False):
            raise UserError(f"{key}={OmegaConf.select(config, key)} has no effect here: {needless.why}")
    # A config of the group debug sets the end of training itself.
    if "debug" in typed and (ends := [key for key in (f"budget.{end}" for end in ENDS) if key in typed]):
        raise UserError(f"{ends[0]} has no effect with debug=, which itself ends training; leave one out")
    # Check options of loss terms that the model does not have.
    _check_terms(config, typed, terms_of(model))
    if "loss.baseline_decay" in typed and (baseline := estimator_of(model).baseline) != "moving":
        raise UserError(
            f"loss.baseline_decay has no effect here: selection.baseline={baseline} is not a moving average; set "
            "selection.baseline=moving"
        )


def _found(config: DictConfig, typed: Iterable[str]) -> Iterator[tuple[str, Needless]]:
    """Yield (option, condition) of the options in ``typed`` that have no effect in ``config``."""
    for key in typed:
        for needless in TRAINING:
            if any(key == one or key.startswith(f"{one}.") for one in needless.keys) and needless.when(config):
                yield key, needless


def _check_terms(config: DictConfig, typed: Iterable[str], terms: set[str]) -> None:
    """Refuse coefficients of loss terms that the model does not have."""
    for key in typed:
        group, _, name = key.rpartition(".")
        if group not in ("loss.weights", "loss.start_at") or OmegaConf.select(config, key) in (None, 0):
            continue
        if name not in terms:
            there = ", ".join(sorted(terms))
            raise UserError(f"{key} has no effect here{suggest(name, terms)}; this model's loss has: {there}")
        # A start has no effect without a weight.
        if group == "loss.start_at" and not OmegaConf.select(config, f"loss.weights.{name}"):
            raise UserError(f"{key} has no effect here: loss.weights.{name} is 0")
    if "loss.baseline_decay" in typed and "reinforce" not in terms:
        raise UserError("loss.baseline_decay has no effect here: the model does not sample; attention=hard does")
