"""From config nodes to objects: what a ``_target_`` may be, and building it.

A node is a mapping with a ``_target_`` (a class by its dotted name), its keyword arguments, and ``_partial_: true``
where the code that holds it adds arguments of its own. A ``_target_`` is resolved only where it is a class of this
package or stands in ``TOOLS``: nothing else is even imported. Which class may stand at which key is held by
``seq2seq.stored.roles``.

A constructor says ``heads=3 must divide dim=128`` and knows no keys; what builds it puts the key before it that a user
types: ``attention.heads=3 must divide dim=128``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.compat.omegaconf import full_key, root
from seq2seq.errors import OptionError, UserError

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
    """Return the choice that ``file`` is just another name of: it has that default alone."""
    node = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    only = list(node) == ["defaults"] and len(node.defaults) == 1 and isinstance(node.defaults[0], str)
    return node.defaults[0] if only else None


def locate(path: str, *, tools: bool = False) -> Callable[..., Any]:
    """Return the class called ``path``.

    Raises:
        UserError: it does not exist, or is neither defined in this package nor (with ``tools``) in ``TOOLS``.
    """
    if not isinstance(path, str):
        raise UserError(f"_target_ {path} is refused: it must be the name of a class of {PACKAGE}")
    if tools and path in TOOLS:
        tool: Callable[..., Any] = _import(path)
        return tool
    names = path.split(".")
    if names[0] == PACKAGE and not any(name.startswith("_") for name in names):
        found = _import(path)
        # where it is defined counts, not how it is reached: seq2seq.x.os.system is os's
        if inspect.isclass(found) and found.__module__.split(".")[0] == PACKAGE:
            return found
    raise UserError(f"_target_ {path} is refused: only classes of {PACKAGE} are built from a config")


def _import(path: str) -> Any:
    """Import the longest prefix of ``path`` that is a module, then follow the attributes."""
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
    """Call the node's ``_target_`` with its options, nested nodes first; this package's classes only.

    A ``_partial_`` node without further arguments gives a ``Factory``; with them it is called.

    Raises:
        OptionError: A constructor refuses an option; the message names the option by the key that a user types.
    """
    return _build(plain(node), *_place(node), args, kwargs, tools=False)


def build_tool(node: DictConfig | Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Do as ``build_node`` for trainer, optimiser, schedule, loggers and callbacks: ``TOOLS`` are allowed too."""
    return _build(plain(node), *_place(node), args, kwargs, tools=True)


@dataclass(frozen=True)
class Factory:
    """A class with the options of its node, which waits for further arguments.

    Args:
        target: The class.
        options: Arguments by name, nested nodes built.
        key: The key of the node, as a user types it.
        keys: The key of each option, as a user types it: another node's where the option is an interpolation.
    """

    target: Callable[..., Any]
    options: Mapping[str, Any]
    key: str
    keys: Mapping[str, str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the object; errors are those of ``build_node``."""
        name = self.key or self.target.__name__
        by_position = list(inspect.signature(self.target).parameters)[: len(args)] if args else []
        with at_key(self.key, self.keys, {*by_position, *kwargs} - self.options.keys()):
            try:
                return self.target(*args, **{**self.options, **kwargs})
            except UserError:
                raise
            except (TypeError, ValueError) as error:
                raise OptionError(f"{name}: {error}") from error
            except Exception as error:
                if self.target.__module__.split(".")[0] == PACKAGE:
                    raise
                # what another package's constructor says of its options, in exceptions of its own
                raise OptionError(f"{name}: {' '.join(str(error).split())}") from error


@contextmanager
def at_key(key: str, keys: Mapping[str, str] | None = None, passed: Collection[str] = ()) -> Iterator[None]:
    """Put ``key`` before what a constructor refuses: ``key.heads=3 must ...``, or ``key: ...`` of no one option.

    Args:
        key: The key of the node.
        keys: The keys of options that stand elsewhere.
        passed: Arguments that the caller passes, which are no options of the node. A message that begins with one goes
            on to the caller: a normaliser that refuses ``heads=3`` names ``attention.heads=3``, of its mechanism.

    Raises:
        OptionError: A constructor refuses; a message that has its key already stays as it is.
    """
    try:
        yield
    except OptionError:
        raise
    except UserError as error:
        text = str(error)
        if option := re.match(r"(\w+)[\w.]*=", text):  # the message begins with OPTION=VALUE
            if option[1] in passed:
                raise
            own = f"{key}.{option[1]}" if key else option[1]
            text = (keys or {}).get(option[1], own) + text.removeprefix(option[1])
        elif key:
            text = f"{key}: {text}"
        raise OptionError(text) from error


def origin(config: DictConfig | None, key: str) -> str:
    """Return the key that the value at ``key`` is taken from: the one to type.

    ``encoder.self_attention.heads`` is ``self_attention.heads`` where ``encoder.self_attention`` is
    ``${self_attention}`` or the first of ``${oc.select:self_attention,...}`` that there is.
    """
    if config is None or not key:
        return key
    parent, _, name = key.rpartition(".")
    parent = origin(config, parent)
    key = f"{parent}.{name}" if parent else name
    node = OmegaConf.select(config, parent, throw_on_resolution_failure=False) if parent else config
    if not isinstance(node, DictConfig) or name not in list(node) or not OmegaConf.is_interpolation(node, name):
        return key
    reference = _reference(config, str(cast(dict[str, Any], OmegaConf.to_container(node, resolve=False))[name]))
    return key if reference is None else origin(config, reference)


def _reference(config: DictConfig, text: str) -> str | None:
    """Return the key that an interpolation takes its value from, or None for a default or anything else."""
    if reference := re.fullmatch(r"\$\{([\w.]+)\}", text):
        return reference[1]
    if not (choice := re.fullmatch(r"\$\{oc\.select:([\w.]+),(.*)\}", text)):
        return None
    chosen = OmegaConf.select(config, choice[1], throw_on_resolution_failure=False) is not None
    return choice[1] if chosen else _reference(config, choice[2])


def _place(node: DictConfig | Mapping[str, Any]) -> tuple[str, DictConfig | None]:
    """Return the key of ``node`` in its config, and that config."""
    if not isinstance(node, DictConfig):
        return "", None
    return full_key(node), root(node)


def plain(node: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return the node as a resolved dict.

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


def _build(
    value: Any, key: str, config: DictConfig | None, args: tuple[Any, ...], kwargs: dict[str, Any], *, tools: bool
) -> Any:
    """Build what stands at ``key`` of ``config``."""
    if isinstance(value, list):
        return [_build(item, f"{key}[{index}]", config, (), {}, tools=tools) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    given = {name: option for name, option in value.items() if name not in ("_target_", "_partial_")}
    keys = {name: origin(config, f"{key}.{name}" if key else str(name)) for name in given}
    options = {name: _build(option, keys[name], config, (), {}, tools=tools) for name, option in given.items()}
    if "_target_" not in value:
        return options
    factory = Factory(locate(value["_target_"], tools=tools), options, key, keys)
    return factory if value.get("_partial_") and not args and not kwargs else factory(*args, **kwargs)
