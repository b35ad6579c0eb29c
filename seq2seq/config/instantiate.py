"""From config nodes to objects: what a ``_target_`` may be, and building it.

A node is a mapping with a ``_target_`` (a class by its dotted name), its keyword arguments, and ``_partial_: true``
where the code that holds it adds arguments of its own. A ``_target_`` is resolved only where it is a class of this
package or stands in ``TOOLS``: nothing else is even imported. Which class may stand at which key is held by
``seq2seq.stored.roles``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.compat.omegaconf import full_key
from seq2seq.errors import UserError

PACKAGE = "seq2seq"
CONF = Path(__file__).parents[2] / "conf"

TOOLS = frozenset(
    [
        *(f"torch.optim.{name}" for name in ("Adadelta", "Adafactor", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD")),
        *(f"torch.optim.{name}" for name in ("Muon", "NAdam", "RAdam", "RMSprop", "SGD")),
        *(f"torch.optim.lr_scheduler.{name}" for name in ("ConstantLR", "CosineAnnealingLR", "ExponentialLR")),
        *(f"torch.optim.lr_scheduler.{name}" for name in ("LinearLR", "OneCycleLR", "ReduceLROnPlateau", "StepLR")),
        *(f"lightning.pytorch.loggers.{name}" for name in ("CSVLogger", "TensorBoardLogger", "WandbLogger")),
        *(f"lightning.pytorch.callbacks.{name}" for name in ("DeviceStatsMonitor", "LearningRateMonitor", "Timer")),
        *(f"lightning.pytorch.profilers.{name}" for name in ("AdvancedProfiler", "PyTorchProfiler", "SimpleProfiler")),
        "lightning.Trainer",
        "lightning.pytorch.Trainer",
    ]
)
"""What may be built from outside this package while training: optimisers, schedulers, loggers, callbacks."""


def synonym_of(file: Path) -> str | None:
    """The choice that ``file``, of the same group, is just another name of: it has that default, and nothing else."""
    node = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    only = list(node) == ["defaults"] and len(node.defaults) == 1 and isinstance(node.defaults[0], str)
    return node.defaults[0] if only else None


def locate(path: str, *, tools: bool = False) -> Callable[..., Any]:
    """The class called ``path``.

    Raises:
        UserError: it does not exist, or is neither defined in this package nor (with ``tools``) in ``TOOLS``.
    """
    if not isinstance(path, str):
        raise UserError(f"_target_ {path} is refused: it must be the name of a class of {PACKAGE}")
    if tools and path in TOOLS:
        return _import(path)
    names = path.split(".")
    if names[0] == PACKAGE and not any(name.startswith("_") for name in names):
        found = _import(path)
        # where it is defined counts, not how it is reached: seq2seq.x.os.system is os's
        if inspect.isclass(found) and found.__module__.split(".")[0] == PACKAGE:
            return found
    raise UserError(f"_target_ {path} is refused: only classes of {PACKAGE} are built from a config")


def _import(path: str) -> Any:
    """The longest importable prefix of ``path``, then attribute after attribute."""
    names = path.split(".")
    try:
        found: Any = importlib.import_module(names[0])
        for place, name in enumerate(names[1:], 2):
            if not hasattr(found, name) and inspect.ismodule(found):
                importlib.import_module(".".join(names[:place]))
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise UserError(f"_target_ {path} needs the package {error.name}: pip install {error.name}") from error
        raise UserError(f"_target_ {path} does not exist") from error
    except AttributeError as error:
        raise UserError(f"_target_ {path} does not exist") from error
    return found


def build_node(node: DictConfig | Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Calls the node's ``_target_`` with its options, nested nodes first; this package's classes only.

    A ``_partial_`` node without further arguments gives a ``functools.partial``; with them it is called.
    """
    return _build(plain(node), args, kwargs, tools=False)


def build_tool(node: DictConfig | Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """``build_node`` for trainer, optimiser, schedule, loggers and callbacks: ``TOOLS`` are allowed too."""
    return _build(plain(node), args, kwargs, tools=True)


def plain(node: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The node as a resolved dict.

    Raises:
        UserError: a required value (``???``) was not given, or an interpolation leads nowhere.
    """
    if not isinstance(node, DictConfig):
        return dict(node)
    try:
        if missing := sorted(OmegaConf.missing_keys(node)):
            prefix = full_key(node)
            names = ", ".join(f"{prefix}.{key}" if prefix else key for key in missing)
            raise UserError(f"required, but not given: {names}")
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def _build(value: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, tools: bool) -> Any:
    if isinstance(value, list):
        return [_build(item, (), {}, tools=tools) for item in value]
    if not isinstance(value, Mapping):
        return value
    options = {k: _build(v, (), {}, tools=tools) for k, v in value.items() if k not in ("_target_", "_partial_")}
    if "_target_" not in value:
        return options
    target = locate(value["_target_"], tools=tools)
    if value.get("_partial_") and not args and not kwargs:
        return functools.partial(target, **options)
    try:
        return target(*args, **{**options, **kwargs})
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{target.__name__}: {error}") from error
    except Exception as error:
        if target.__module__.split(".")[0] == PACKAGE:
            raise
        # what another package's constructor says of its options, in exceptions of its own
        raise UserError(f"{target.__name__}: {' '.join(str(error).split())}") from error
