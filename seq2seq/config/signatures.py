"""Parameters of classes and functions: names, types and defaults.

``read`` takes them from the source file and imports nothing. So a wrong option is refused before torch is imported,
which takes seconds. ``of`` takes them from the class itself.
"""

from __future__ import annotations

import ast
import builtins
import collections.abc
import dataclasses
import functools
import importlib.util
import inspect
import pathlib
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from seq2seq.config import ranges

STANDARD: dict[str, ModuleType] = {
    "builtins": builtins,
    "collections.abc": collections.abc,
    "pathlib": pathlib,
    "typing": typing,
    "typing_extensions": typing,
    ranges.__name__: ranges,
}
"""Modules whose names mean themselves in an annotation, because importing them is cheap."""


NO_DEFAULT, UNREAD = object(), object()


@dataclass(frozen=True)
class Parameter:
    """A parameter of a constructor or a function.

    Args:
        default: Its default; ``NO_DEFAULT`` where it has none, ``UNREAD`` where it is no plain value.
        hint: Type annotation; ``Any`` where none can be read.
    """

    default: Any
    hint: Any

    @property
    def required(self) -> bool:
        """True if the parameter has no default."""
        return self.default is NO_DEFAULT

    @property
    def optional(self) -> bool:
        """True if its default is None."""
        return self.default is None


@dataclass(frozen=True)
class Signature:
    """The parameters of a class or a function.

    Args:
        path: Dotted name at the place of its definition.
        parameters: {name: parameter}. If a constructor passes ``**options`` to its base class, they include those of
            the base class.
        open_ended: Whether other names are accepted too.
    """

    path: str
    parameters: dict[str, Parameter]
    open_ended: bool

    @property
    def name(self) -> str:
        """Name of the class or function."""
        return self.path.rpartition(".")[2]


def of(target: Callable[..., Any]) -> Signature:
    """Return the signature of a class or function.

    Args:
        target: Class or function.
    """
    known: dict[str, Parameter] = {}
    path = f"{target.__module__}.{target.__qualname__}"
    others = ranges.of_others(path)
    # Collect the parameters of the constructors, from the class to its bases.
    for function, annotated in _constructors(target):
        try:
            hints = typing.get_type_hints(annotated, include_extras=True)
        except (NameError, TypeError):  # a name that is only imported for type checkers: leave it to the constructor
            hints = {}
        signature = inspect.signature(function).parameters.values()
        for one in signature:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and one.name != "self":
                hint = others.get(one.name, hints.get(one.name, Any))
                known.setdefault(one.name, Parameter(NO_DEFAULT if one.default is one.empty else one.default, hint))
        if not any(one.kind is one.VAR_KEYWORD for one in signature):
            return Signature(path, known, False)
    return Signature(path, known, True)


def _constructors(target: Callable[..., Any]) -> list[tuple[Callable[..., Any], Any]]:
    """Return (constructor, object with its annotations) of ``target`` and its base classes, base classes last.

    The annotations of a dataclass are at the class; each field belongs to the module of its own class.
    """
    if not inspect.isclass(target):
        return [(target, target)]
    bases = [base for base in target.__mro__ if "__init__" in vars(base) and base is not object]
    made = [(vars(base)["__init__"], base if "__dataclass_fields__" in vars(base) else None) for base in bases]
    return [(function, fields or function) for function, fields in made] or [(lambda: None, lambda: None)]


@functools.cache
def read(path: str) -> Signature | None:
    """Return the signature of a class or function from its source file.

    Args:
        path: Dotted name, such as a ``_target_``.

    Returns:
        The signature; None where the source has no such class or function.
    """
    found = _find(path)
    if not isinstance(found, _Definition):
        return None
    known: dict[str, Parameter] = {}
    others = ranges.of_others(found.path)
    for parameters, is_open in _read_constructors(found):
        for name, parameter in parameters.items():
            known.setdefault(name, dataclasses.replace(parameter, hint=others.get(name, parameter.hint)))
        if not is_open:
            return Signature(found.path, known, False)
    return Signature(found.path, known, True)


@dataclass(frozen=True)
class _Module:
    """Names of a source file: classes and functions, imports as (module, name), and assigned expressions."""

    name: str
    names: dict[str, ast.ClassDef | ast.FunctionDef | ast.expr | tuple[str, str]]


@dataclass(frozen=True)
class _Definition:
    """A class or function with the module that defines it."""

    module: _Module
    node: ast.ClassDef | ast.FunctionDef

    @property
    def path(self) -> str:
        return f"{self.module.name}.{self.node.name}"

    @property
    def is_dataclass(self) -> bool:
        decorators = [node.func if isinstance(node, ast.Call) else node for node in self.node.decorator_list]
        return any(ast.unparse(node).rpartition(".")[2] == "dataclass" for node in decorators)


@functools.cache
def _module(name: str) -> _Module | None:
    """Read the source of a module, found without importing the packages around it."""
    first, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None or (not rest and not spec.origin):
        return None
    # Follow the folders below the first package.
    places = [Path(place).joinpath(*rest) for place in spec.submodule_search_locations or ()]
    files = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))] if rest else []
    file = next((file for file in files or [Path(spec.origin or "")] if file.is_file()), None)
    if file is None or file.suffix != ".py":
        return None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return _Module(name, dict(_names(tree.body, package)))


def _names(body: Sequence[ast.stmt], package: str) -> Iterator[tuple[str, Any]]:
    """Yield the names that statements define at the top of a module, with what they stand for."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name.split(".")[0], (alias.name, "")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((alias.asname or alias.name, (source, alias.name)) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If | ast.Try):
            yield from _names(node.body, package)
            yield from _names(node.orelse, package)


def _find(path: str) -> _Definition | tuple[_Module, ast.expr] | ModuleType | Any | None:
    """Return what a dotted name stands for.

    Returns:
        A definition; (module, expression) of an assigned name; an object of a module in ``STANDARD``; else None.
    """
    place, _, name = path.rpartition(".")
    if not place:
        return None
    if place in STANDARD:
        return getattr(STANDARD[place], name, None)
    if (module := _module(place)) is None or (found := module.names.get(name)) is None:
        return None
    return _follow(module, found)


def _follow(module: _Module, found: Any) -> Any:
    """Return what an entry of ``_Module.names`` stands for, as ``_find`` does."""
    if isinstance(found, tuple):
        source, name = found
        return _find(f"{source}.{name}") if name else None
    return _Definition(module, found) if isinstance(found, ast.ClassDef | ast.FunctionDef) else (module, found)


def _resolve(module: _Module, node: ast.expr) -> Any:
    """Return what a name or a dotted name in ``module`` stands for, as ``_find`` does."""
    names = ast.unparse(node).split(".")
    found = module.names.get(names[0])
    if found is None:
        return getattr(builtins, names[0], None) if len(names) == 1 else None
    if len(names) == 1:
        return _follow(module, found)
    if not isinstance(found, tuple):
        return None
    # The first name is an imported module.
    source, name = found
    return _find(".".join([source, *([name] if name else []), *names[1:]]))


def _bases(found: _Definition) -> list[_Definition]:
    """Return the class and its base classes in the order in which Python looks for methods (C3)."""
    assert isinstance(found.node, ast.ClassDef)
    plain = [node.value if isinstance(node, ast.Subscript) else node for node in found.node.bases]
    direct = [base for node in plain if isinstance(base := _resolve(found.module, node), _Definition)]
    lines = [*(_bases(base) for base in direct), list(direct)]
    order = [found]
    while lines := [line for line in lines if line]:
        later = {one.path for line in lines for one in line[1:]}
        head = next((line[0] for line in lines if line[0].path not in later), lines[0][0])
        order.append(head)
        lines = [[one for one in line if one.path != head.path] for line in lines]
    return order


def _read_constructors(found: _Definition) -> Iterator[tuple[dict[str, Parameter], bool]]:
    """Yield (parameters, whether ``**options`` follow) of each constructor, base classes last."""
    if isinstance(found.node, ast.FunctionDef):
        yield _arguments(found.module, found.node)
        return
    order = _bases(found)
    made = False
    for place, base in enumerate(order):
        own = [node for node in base.node.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        if base.is_dataclass and not own:
            fields: dict[str, Parameter] = {}
            for one in reversed(order[place:]):  # fields of base classes come first
                fields |= _fields(one) if one.is_dataclass else {}
            yield fields, False
            made = True
        elif own:
            yield _arguments(base.module, own[-1])
            made = True
    if not made:
        yield {}, False


def _fields(found: _Definition) -> dict[str, Parameter]:
    """Return the fields of a dataclass that its constructor takes, without those of its base classes."""
    fields = {}
    for node in found.node.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(node.annotation):
            continue
        default = _default(found.module, node.value)
        # field(...) has its default among its keywords.
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).rpartition(".")[2] == "field":
            options = {keyword.arg: keyword.value for keyword in node.value.keywords}
            if "init" in options and ast.unparse(options["init"]) == "False":
                continue
            default = UNREAD if "default_factory" in options else _default(found.module, options.get("default"))
        fields[node.target.id] = Parameter(default, _hint(found.module, node.annotation))
    return fields


def _arguments(module: _Module, node: ast.FunctionDef) -> tuple[dict[str, Parameter], bool]:
    """Return the parameters of a function, and whether it has ``**options``."""
    given = node.args
    defaults: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults)) + given.defaults
    # Arguments that can only be passed by position cannot be options.
    pairs = [*zip(given.args, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return {
        one.arg: Parameter(_default(module, default), _hint(module, one.annotation))
        for one, default in pairs
        if one.arg != "self"
    }, given.kwarg is not None


def _default(module: _Module, node: ast.expr | None) -> Any:
    """Return the default that an expression stands for."""
    try:
        return NO_DEFAULT if node is None else _value(module, node)
    except (TypeError, ValueError):
        return UNREAD


def _hint(module: _Module, node: ast.expr | None) -> Any:
    """Return the type that an annotation stands for; ``Any`` where that takes an import."""
    try:
        return Any if node is None else _type(module, node)
    except (TypeError, ValueError, SyntaxError):
        return Any


def _type(module: _Module, node: ast.expr) -> Any:
    """Evaluate an annotation; classes of other packages become placeholders."""
    match node:
        case ast.Constant(value=str() as text):
            return _type(module, ast.parse(text, mode="eval").body)
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_type(module, left), _type(module, right)]  # noqa: UP007 (the sides are values)
        case ast.Subscript(value=base, slice=inner):
            return _subscript(module, _type(module, base), inner)
        case ast.Call(func=function):
            called = _type(module, function)
            return _call(module, called, node) if called is ranges.Range else Any
        case ast.Name() | ast.Attribute():
            found = _resolve(module, node)
    if isinstance(found, _Definition):
        return _placeholder(found.path, found.is_dataclass) if isinstance(found.node, ast.ClassDef) else Any
    if isinstance(found, tuple):
        return _type(*found)
    return Any if found is None else found


def _subscript(module: _Module, base: Any, inner: ast.expr) -> Any:
    """Evaluate ``base[inner]`` of an annotation."""
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if base is typing.Literal:
        return typing.Literal[tuple(_value(module, item) for item in items)]
    if base is typing.Annotated:
        return typing.Annotated[tuple(_type(module, item) for item in items)]
    if base is collections.abc.Callable or base is typing.Callable:
        return typing.Callable[..., Any]
    if inspect.isclass(base) and not hasattr(base, "__class_getitem__"):
        return base
    parts = tuple(_type(module, item) for item in items)
    return base[parts if isinstance(inner, ast.Tuple) else parts[0]]


def _call(module: _Module, called: Callable[..., Any], node: ast.Call) -> Any:
    """Evaluate a call with plain values."""
    return called(
        *(_value(module, one) for one in node.args),
        **{str(one.arg): _value(module, one.value) for one in node.keywords},
    )


def _value(module: _Module, node: ast.expr) -> Any:
    """Evaluate a plain value: a literal, a power, a difference, or the name of one."""
    match node:
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _value(module, left) ** _value(module, right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(module, left) - _value(module, right)
        case ast.Name() | ast.Attribute():
            if (found := _resolve(module, node)) is None or isinstance(found, _Definition):
                raise ValueError(f"{ast.unparse(node)} takes an import")
            return _value(*found) if isinstance(found, tuple) else found
    return ast.literal_eval(node)


@functools.cache
def _placeholder(path: str, is_dataclass: bool) -> type:
    """Return an empty class in place of one that is not imported; ``source`` is its dotted name."""
    module, _, name = path.rpartition(".")
    content: dict[str, Any] = {"__module__": module, "source": path}
    return type(name, (), content | ({"__dataclass_fields__": {}} if is_dataclass else {}))
