"""Checks of options that need neither torch nor Lightning, so that a command refuses a mistake in a second or two.

The rest of the checks build the components (``cli/train.py:check``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig, OmegaConf

from seq2seq.cli.merge_overrides import merge_overrides
from seq2seq.config import signatures, validate
from seq2seq.config.instantiate import build_node, config_files, plain, signature_of
from seq2seq.config.ranges import Range
from seq2seq.errors import UserError
from seq2seq.metrics.table import METRICS, find_metric
from seq2seq.metrics.text import check_metrics
from seq2seq.stored import config as stored_config
from seq2seq.stored import roles
from seq2seq.stored.plain import read_yaml

COMPONENTS = (
    "data",
    "encoder",
    "decoder",
    "loss",
    "optimizer",
    "lr_scheduler",
    "trainer",
    "training",
    "decoding",
    "task",
)
"""Keys of the components that the config of a run must have."""
KEYS = (*COMPONENTS, *validate.SLOTS, "default_self", "seed", "model", "recipe", "budget", "logger")
"""All keys that the config of a run may have at its top."""

RECEIVERS = {
    "lightning.pytorch.loggers.TensorBoardLogger": "torch.utils.tensorboard.SummaryWriter",
    "lightning.pytorch.loggers.WandbLogger": "wandb.sdk.wandb_init.init",
}
"""{class of a logger: function that gets the options that the class does not have itself}."""


@dataclass(frozen=True)
class SeedOptions:
    """Options of ``train.py`` outside the config groups."""

    seed: Annotated[int, Range(0, 2**32 - 1)]


def training(config: DictConfig, typed: Iterable[str] | None) -> None:
    """Check the names and the types of the options of a run.

    Args:
        config: Composed config of a new run, or the config of a resumed run.
        typed: Names of the options on the command line; None for a resumed run.

    Raises:
        UserError: A name, a type or a value is wrong. The message names it.
    """
    _check_recipe(config)
    config = _with_any_precision(config)
    validate.check(config, keys=KEYS, components=COMPONENTS, typed=typed)
    if typed is not None:
        roles.check(plain(config), "")
    if OmegaConf.is_dict(config.get("budget")):
        validate.check_options("budget", plain(config)["budget"], signature_of("seq2seq.training.budget.Budget"))
    validate.check_options("", {"seed": config.get("seed")}, SeedOptions)
    _check_loggers(config)
    # Check the names of metrics.
    for node in ("task", "training"):
        metrics = config[node].get("metrics") or ()  # those of the user are nodes
        check_metrics([build_node(one) if OmegaConf.is_dict(one) else one for one in metrics], f"{node}.metrics")
    _check_monitor(config)


def command(config: DictConfig, options: str, groups: Iterable[str]) -> None:
    """Check the names and the types of the options of a command that reads a run.

    Args:
        config: Composed config of the command.
        options: Dotted name of the dataclass of its options.
        groups: Keys of the config groups, which need the config of the run.

    Raises:
        UserError: A name or a type is wrong. The message names it.
    """
    # Check the names first: a misspelt name is also a missing option.
    signature, names = signature_of(options), [key for key in map(str, config) if key not in tuple(groups)]
    unknown = dict.fromkeys(key for key in names if key not in signature.parameters)
    validate.check_options("", unknown, signature, beside=groups)
    own = plain(OmegaConf.masked_copy(config, names))
    validate.check_options("", own, signature, beside=groups)
    if "checkpoint" in own:
        _check_changes(config, str(own["checkpoint"]), groups)


def _check_changes(config: DictConfig, checkpoint: str, groups: Iterable[str]) -> None:
    """Check the options that change the config of a run, if that config can be read; else the command reports it."""
    path = Path(checkpoint)
    places = (path / "checkpoints", path, path.parent)
    file = next((place / "config.yaml" for place in places if (place / "config.yaml").is_file()), None)
    try:
        stored = stored_config.opened(read_yaml(file), str(file)) if file else None
    except UserError:
        return
    if stored is not None:
        changed = [group for group in groups if group != "encoder"]  # the model is the run's
        merge_overrides(OmegaConf.create(stored), config, changed)


def _with_any_precision(config: DictConfig) -> DictConfig:
    """Return ``config`` with a precision of Lightning in place of ``auto``, which means another on each machine."""
    if not OmegaConf.is_dict(config.get("trainer")) or config.trainer.get("precision") != "auto":
        return config
    changed = config.copy()
    changed.trainer.precision = "32-true"
    return changed


def _check_recipe(config: DictConfig) -> None:
    """Refuse a tuned recipe for a mechanism that has no tuned values in this model on these data."""
    if config.get("recipe", "common") is not None:  # the file of the mechanism sets it
        return
    tuned = (place.parts for place, _ in config_files() if place.is_relative_to("recipe/tuned"))
    names = ["/".join((*folders, name.removesuffix(".yaml"))) for _, _, *folders, name in tuned]
    raise UserError(
        "recipe=tuned: conf/recipe/tuned has no file DATA/MODEL/MECHANISM.yaml for these choices of data, model and "
        f"attention; it has: {', '.join(names) or 'none'}. scripts/tune_mechanisms.py writes one; or use recipe=common"
    )


def _check_loggers(config: DictConfig) -> None:
    """Refuse options below ``logger`` of loggers that are not chosen."""
    node = config.get("logger")
    if node is not None and not OmegaConf.is_dict(node):
        raise UserError(f"logger={node}: choose one of the group's files (--help lists them)")
    for name, logger in (node or {}).items():
        if not (OmegaConf.is_dict(logger) and "_target_" in logger):
            chosen = ", ".join(key for key, item in node.items() if OmegaConf.is_dict(item) and "_target_" in item)
            raise UserError(f"logger.{name} has no effect: the loggers of this run are {chosen or 'none'}")
        # A logger passes its other options on, and the function that gets them would refuse them only in training.
        if (receiver := signatures.read(RECEIVERS.get(logger["_target_"], ""))) is not None:
            own = signature_of(logger["_target_"], tools=True).parameters
            others = {key: value for key, value in plain(logger).items() if key not in own and key[:1] != "_"}
            validate.check_options(
                f"logger.{name}", others, replace(receiver, parameters={**own, **receiver.parameters})
            )


def _check_monitor(config: DictConfig) -> None:
    """Refuse a monitored metric that does not exist, unless the user says which direction is better."""
    options = config.training
    for name in ("monitor", "reward"):
        value = options.get(name)
        if isinstance(value, str) and find_metric(value) is None and (name == "reward" or options.get("mode") is None):
            names = [metric.name for metric in METRICS]
            raise UserError(
                f"training.{name}={value} is not a metric{validate.suggest(value, names)}; "
                "docs/reference/metrics.md lists all metrics"
            )
