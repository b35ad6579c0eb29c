"""Objects from config nodes: check the class of a node, and build it.

A node is a mapping with a ``_target_`` (dotted name of a class) and keyword arguments. It has ``_partial_: true`` if
the calling code adds further arguments. Only classes of this package, of trusted packages (``config/extensions.py``)
and those in ``TOOLS`` are imported. ``seq2seq.stored.roles`` checks which class a stored config may have at which key.

The error of a constructor contains no key: ``heads=3 must divide dim=128``. The code here puts the key before it that
a user types: ``attention.heads=3 must divide dim=128``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.compat.omegaconf import full_key, root
from seq2seq.config import extensions, signatures
from seq2seq.config.extensions import PACKAGE
from seq2seq.config.signatures import Signature
from seq2seq.errors import OptionError, UserError

CONF = next(folder for above in (1, 2) if (folder := Path(__file__).parents[above] / "conf").is_dir() or above == 2)
"""Folder of the config files: in the package where it was installed from a wheel, beside it in a checkout."""

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
"""Classes of other packages that a config may name: optimisers, schedulers, loggers, callbacks, profilers, trainers."""


def synonym_of(file: Path) -> str | None:
    """Return the choice for which a file is only another name, or None.

    Args:
        file: File of a config group. A synonym has one default and nothing else.
    """
    node = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    only = list(node) == ["defaults"] and len(node.defaults) == 1 and isinstance(node.defaults[0], str)
    return node.defaults[0] if only else None


def config_files() -> tuple[tuple[Path, Path], ...]:
    """Return (path below its folder, path) of the config files: those of ``conf/``, and those that the user adds.

    In the user's folder only the folders of config groups count, because it may hold runs and data too.
    """
    return _config_files(extensions.current().folder)


@functools.cache
def _config_files(own: Path | None) -> tuple[tuple[Path, Path], ...]:
    """List the files once; ``own`` is the folder of the user."""
    files = [(file.relative_to(CONF), file) for file in sorted(CONF.rglob("*.yaml"))]
    groups = sorted({place.parts[0] for place, _ in files if len(place.parts) > 1})
    for folder in () if own is None else (own / group for group in groups):
        files += [(file.relative_to(folder.parent), file) for file in sorted(folder.rglob("*.yaml"))]
    return tuple(files)


def locate(path: str, *, tools: bool = False) -> Callable[..., Any]:
    """Return a class by its name.

    Args:
        path: Dotted name of the class.
        tools: Whether the classes in ``TOOLS`` are allowed too.

    Raises:
        UserError: The class does not exist, or is not allowed.
    """
    if not isinstance(path, str):
        raise UserError(f"_target_={path} is refused: it must be the name of a class of {PACKAGE}")
    if tools and path in TOOLS:
        tool: Callable[..., Any] = _import(path)
        return tool
    if _is_own(path) and not any(name.startswith("_") for name in path.split(".")):
        found = _import(path)
        # Look at the module that defines the class: seq2seq.x.os.system belongs to os.
        if inspect.isclass(found) and _is_own(found.__module__):
            return found
    raise UserError(f"_target_={path} is refused: a config may only name classes of {PACKAGE}{extensions.hint(path)}")


def signature_of(path: str, *, tools: bool = False) -> Signature:
    """Return the signature of a class by its name, from its source where that is possible.

    Args:
        path: Dotted name of the class.
        tools: Whether the classes in ``TOOLS`` are allowed too.

    Raises:
        UserError: The class does not exist, or is not allowed.
    """
    if (tools and path in TOOLS) or _is_own(path):
        found = signatures.read(path)
        if found is not None and (path in TOOLS or _is_own(found.path)):
            return found
    return signatures.of(locate(path, tools=tools))


def _is_own(path: object) -> bool:
    """Return whether a dotted name belongs to this package or to a trusted one."""
    return isinstance(path, str) and (path.split(".")[0] == PACKAGE or extensions.is_trusted(path))


def _import(path: str) -> Any:
    """Import the longest prefix of ``path`` that is a module, then follow the attributes."""
    names = path.split(".")
    try:
        # Import submodules only if an attribute does not exist yet.
        found: Any = importlib.import_module(names[0])
        for place, name in enumerate(names[1:], 2):
            if not hasattr(found, name) and inspect.ismodule(found):
                importlib.import_module(".".join(names[:place]))
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        # A missing optional package is another error than a wrong name.
        if error.name is None or not path.startswith(error.name):
            raise UserError(f"_target_={path} needs the package {error.name}; pip install {error.name}") from error
        raise UserError(f"_target_={path} does not exist") from error
    except AttributeError as error:
        raise UserError(f"_target_={path} does not exist") from error
    return found


def build_node(node: DictConfig | Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Build the object that a node describes, nested nodes first; only classes of this package.

    Args:
        node: Node with a ``_target_``.
        *args: Further positional arguments of the constructor.
        **kwargs: Further keyword arguments of the constructor.

    Returns:
        The object; a ``Factory`` for a node with ``_partial_: true`` without further arguments.

    Raises:
        OptionError: A constructor refuses an option. The message has the key that a user types.
    """
    return _build(plain(node), *_place(node), args, kwargs, tools=False)


def build_tool(node: DictConfig | Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Build an object like ``build_node``; the classes in ``TOOLS`` are allowed too.

    Args:
        node: Node of a trainer, an optimiser, a schedule, a logger or a callback.
        *args: Further positional arguments of the constructor.
        **kwargs: Further keyword arguments of the constructor.

    Raises:
        OptionError: A constructor refuses an option. The message has the key that a user types.
    """
    return _build(plain(node), *_place(node), args, kwargs, tools=True)


@dataclass(frozen=True)
class Factory:
    """Class with the options of its node, to be called with further arguments.

    Args:
        target: The class.
        options: {name: value} of the options; nested nodes are built.
        key: Key of the node, as a user types it.
        keys: {option: key that a user types}; an option that is an interpolation has the key of another node.
    """

    target: Callable[..., Any]
    options: Mapping[str, Any]
    key: str
    keys: Mapping[str, str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the object with further arguments.

        Args:
            *args: Further positional arguments of the constructor.
            **kwargs: Further keyword arguments of the constructor.

        Raises:
            OptionError: The constructor refuses an option.
        """
        name = self.key or self.target.__name__
        # Arguments from the caller are not options of this node.
        by_position = list(inspect.signature(self.target).parameters)[: len(args)] if args else []
        with at_key(self.key, self.keys, {*by_position, *kwargs} - self.options.keys()):
            try:
                return self.target(*args, **{**self.options, **kwargs})
            except UserError:
                raise
            except (TypeError, ValueError) as error:
                raise OptionError(f"{name}: {error}") from error
            except Exception as error:
                if _is_own(self.target.__module__):
                    raise
                # Constructors of other packages raise their own types of errors for a wrong option.
                raise OptionError(f"{name}: {' '.join(str(error).split())}") from error


@contextmanager
def at_key(key: str, keys: Mapping[str, str] | None = None, passed: Collection[str] = ()) -> Iterator[None]:
    """Put a key before the error of a constructor: ``key.heads=3 must ...``, or ``key: ...`` without one option.

    Args:
        key: Key of the node.
        keys: {option: key} of the options that come from other nodes.
        passed: Names of arguments from the caller, which are not options of the node. An error about one of them is
            raised unchanged, so that the caller names the key: a normaliser refuses ``heads=3``, and the message names
            ``attention.heads=3`` of its mechanism.

    Raises:
        OptionError: A constructor refuses an option. A message that already has its key stays unchanged.
    """
    try:
        yield
    except OptionError:
        raise
    except UserError as error:
        # Find the option at the start of the message.
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
    """Return the key that a user types to change a value, after following interpolations.

    The key of ``encoder.self_attention.heads`` is ``self_attention.heads`` if ``encoder.self_attention`` is
    ``${self_attention}``, or ``${oc.select:self_attention,...}`` and ``self_attention`` exists.

    Args:
        config: Config that contains the value; None returns ``key``.
        key: Key of the value in the config.
    """
    if config is None or not key:
        return key
    parent, _, name = key.rpartition(".")
    # Follow interpolations above the value first, then its own.
    parent = origin(config, parent)
    key = f"{parent}.{name}" if parent else name
    node = OmegaConf.select(config, parent, throw_on_resolution_failure=False) if parent else config
    if not isinstance(node, DictConfig) or name not in list(node) or not OmegaConf.is_interpolation(node, name):
        return key
    reference = _reference(config, str(cast(dict[str, Any], OmegaConf.to_container(node, resolve=False))[name]))
    return key if reference is None else origin(config, reference)


def _reference(config: DictConfig, text: str) -> str | None:
    """Return the key from which an interpolation takes its value, or None for a default or other text."""
    if reference := re.fullmatch(r"\$\{([\w.]+)\}", text):
        return reference[1]
    if not (choice := re.fullmatch(r"\$\{oc\.select:([\w.]+),(.*)\}", text)):
        return None
    chosen = OmegaConf.select(config, choice[1], throw_on_resolution_failure=False) is not None
    return choice[1] if chosen else _reference(config, choice[2])


def _place(node: DictConfig | Mapping[str, Any]) -> tuple[str, DictConfig | None]:
    """Return the key of a node, and the config that contains it."""
    if not isinstance(node, DictConfig):
        return "", None
    return full_key(node), root(node)


def plain(node: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return a node as a dict, with all interpolations resolved.

    Args:
        node: Node of a config.

    Raises:
        UserError: A required value (``???``) is missing, or an interpolation names a key that does not exist.
    """
    if not isinstance(node, DictConfig):
        return dict(node)
    try:
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        # Name all missing values, not only the first.
        missing: set[str] = set()
        with suppress(OmegaConfBaseException):
            missing = OmegaConf.missing_keys(node)
        if missing:
            prefix = full_key(node)
            names = ", ".join(f"{prefix}.{key}" if prefix else key for key in sorted(missing))
            raise UserError(f"{names}: required, but not set") from error
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def _build(
    value: Any, key: str, config: DictConfig | None, args: tuple[Any, ...], kwargs: dict[str, Any], *, tools: bool
) -> Any:
    """Build the value at ``key`` of ``config``: lists and mappings with their nodes built, other values unchanged."""
    if isinstance(value, list):
        return [_build(item, f"{key}[{index}]", config, (), {}, tools=tools) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    # Build the options of a node before the node.
    given = {name: option for name, option in value.items() if name not in ("_target_", "_partial_")}
    keys = {name: origin(config, f"{key}.{name}" if key else str(name)) for name in given}
    options = {name: _build(option, keys[name], config, (), {}, tools=tools) for name, option in given.items()}
    if "_target_" not in value:
        return options
    factory = Factory(locate(value["_target_"], tools=tools), options, key, keys)
    return factory if value.get("_partial_") and not args and not kwargs else factory(*args, **kwargs)
