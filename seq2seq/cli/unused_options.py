"""Options that would have no effect: refused where they were typed, and left alone where a recipe set them."""

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
    """Options that do nothing where ``when`` holds, and what to do about it."""

    keys: tuple[str, ...]  # KEY is also every key below it
    when: Callable[[DictConfig], bool]
    why: str


def _is(key: str, *values: object) -> Callable[[DictConfig], bool]:
    return lambda config: OmegaConf.select(config, key) in values


def _validates(config: DictConfig) -> bool:
    return bool(config.trainer.get("limit_val_batches") != 0)


def _generates(config: DictConfig) -> bool:
    o = config.training
    return bool(o.get("reward") or (_validates(config) and (o.get("metrics") or o.get("num_plots"))))


def _updates(config: DictConfig) -> float:
    """Return the most updates that the trainer's epochs and its limit on batches leave."""
    epochs, batches = config.trainer.get("max_epochs"), config.trainer.get("limit_train_batches")
    if not isinstance(batches, int) or not isinstance(epochs, int) or epochs < 0:
        return math.inf
    accumulated: int = config.trainer.get("accumulate_grad_batches", 1)
    return epochs * math.ceil(batches / accumulated)


TRAINING = (
    Needless(("training.ema_decay",), lambda c: c.training.averaging != "ema", "it is of training.averaging=ema"),
    Needless(("training.average_last",), lambda c: c.training.averaging != "last", "it is of training.averaging=last"),
    Needless(
        tuple(f"training.reward_{name}" for name in ("samples", "baseline", "contrast", "share")),
        _is("training.reward", None),
        "it is of a reward: set training.reward",
    ),
    Needless(
        ("loss",),
        lambda c: c.training.get("reward") is not None and c.training.get("reward_share", 1) == 1,
        "the reward is all that is learnt from: set training.reward_share below 1",
    ),
    Needless(
        tuple(
            f"training.{name}"
            for name in ("monitor", "mode", "patience", "validate_every", "metrics", "attention_examples")
        ),
        lambda c: not _validates(c),
        "nothing is validated with trainer.limit_val_batches=0",
    ),
    Needless(("training.plots_every",), _is("training.num_plots", 0), "nothing is drawn with training.num_plots=0"),
    Needless(
        ("training.decoding",),
        lambda c: not _generates(c),
        "training generates no text: set training.metrics, training.num_plots or training.reward",
    ),
    Needless(
        ("trainer.gradient_clip_algorithm",),
        _is("trainer.gradient_clip_val", None, 0),
        "nothing is clipped: set trainer.gradient_clip_val",
    ),
    Needless(
        ("trainer.limit_predict_batches", "trainer.model_registry", "trainer.enable_autolog_hparams"),
        lambda _: True,
        "training has no use for it",
    ),
    Needless(
        tuple(f"trainer.{name}" for name in UNTIL),
        lambda c: any(OmegaConf.select(c, f"budget.{end}") is not None for end in ENDS),
        "the budget says when training ends: set budget.updates, tokens and seconds to null",
    ),
    Needless(
        ("trainer.max_steps",),
        lambda c: _updates(c) < c.trainer.get("max_steps", -1),
        "trainer.max_epochs and limit_train_batches end training before",
    ),
    Needless(
        ("attention.selection.anneal_from", "attention.selection.anneal_to"),
        lambda c: OmegaConf.select(c, SOFT_ENDS[1]) in (None, OmegaConf.select(c, SOFT_ENDS[0])),
        "soft passes are as probable at the end as at the start: set attention.selection.final_soft",
    ),
    Needless(("encoder.overlap",), _is("encoder.chunk", None), "sources are read whole: set encoder.chunk"),
)


def check_effects(config: DictConfig, typed: Iterable[str], model: Seq2Seq) -> None:
    """Refuse typed options of a training run that would do nothing.

    Args:
        config: the run's.
        typed: the names of the options that stood on the command line.
        model: what the config builds; it may be on the meta device.

    Raises:
        UserError: one line that names the option and why it does nothing.
    """
    typed = list(typed)
    for key, needless in _found(config, typed):
        if OmegaConf.select(config, key) not in (None, False):
            raise UserError(f"{key}={OmegaConf.select(config, key)} has no effect here: {needless.why}")
    if "debug" in typed and (ends := [key for key in (f"budget.{end}" for end in ENDS) if key in typed]):
        raise UserError(f"{ends[0]} has no effect beside debug=, which says itself when training ends; leave one out")
    _check_terms(config, typed, terms_of(model))
    if "loss.baseline_decay" in typed and (baseline := estimator_of(model).baseline) != "moving":
        raise UserError(f"loss.baseline_decay has no effect here: selection.baseline={baseline} does not move")


def _found(config: DictConfig, typed: Iterable[str]) -> Iterator[tuple[str, Needless]]:
    for key in typed:
        for needless in TRAINING:
            if any(key == one or key.startswith(f"{one}.") for one in needless.keys) and needless.when(config):
                yield key, needless


def _check_terms(config: DictConfig, typed: Iterable[str], terms: set[str]) -> None:
    """Refuse coefficients of loss terms that the model never has."""
    for key in typed:
        group, _, name = key.rpartition(".")
        if group not in ("loss.weights", "loss.start_at") or OmegaConf.select(config, key) in (None, 0):
            continue
        if name not in terms:
            there = ", ".join(sorted(terms))
            raise UserError(f"{key} has no effect here{suggest(name, terms)}; this model's loss has: {there}")
        if group == "loss.start_at" and not OmegaConf.select(config, f"loss.weights.{name}"):
            raise UserError(f"{key} has no effect here: loss.weights.{name} is 0")
    if "loss.baseline_decay" in typed and "reinforce" not in terms:
        raise UserError("loss.baseline_decay has no effect here: the model draws nothing (attention=hard does)")
