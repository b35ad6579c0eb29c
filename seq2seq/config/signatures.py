"""Parameters of classes and functions: names, types and defaults.

``read`` takes them from the source file and imports nothing. So a wrong option is refused before torch is imported,
which takes seconds. ``of`` takes them from the class itself.
"""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from seq2seq.config import ranges
from seq2seq.config.definitions import Definition, Module, bases, find, resolve

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
    found = find(path)
    if not isinstance(found, Definition):
        return None
    known: dict[str, Parameter] = {}
    others = ranges.of_others(found.path)
    for parameters, is_open in _read_constructors(found):
        for name, parameter in parameters.items():
            known.setdefault(name, dataclasses.replace(parameter, hint=others.get(name, parameter.hint)))
        if not is_open:
            return Signature(found.path, known, False)
    return Signature(found.path, known, True)


def _read_constructors(found: Definition) -> Iterator[tuple[dict[str, Parameter], bool]]:
    """Yield (parameters, whether ``**options`` follow) of each constructor, base classes last."""
    if isinstance(found.node, ast.FunctionDef):
        yield _arguments(found.module, found.node)
        return
    order = bases(found)
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


def _fields(found: Definition) -> dict[str, Parameter]:
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


def _arguments(module: Module, node: ast.FunctionDef) -> tuple[dict[str, Parameter], bool]:
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


def _default(module: Module, node: ast.expr | None) -> Any:
    """Return the default that an expression stands for."""
    try:
        return NO_DEFAULT if node is None else _value(module, node)
    except (TypeError, ValueError):
        return UNREAD


def _hint(module: Module, node: ast.expr | None) -> Any:
    """Return the type that an annotation stands for; ``Any`` where that takes an import."""
    try:
        return Any if node is None else _type(module, node)
    except (TypeError, ValueError, SyntaxError):
        return Any


def _type(module: Module, node: ast.expr) -> Any:
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
            found = resolve(module, node)
    if isinstance(found, Definition):
        return _placeholder(found.path, found.is_dataclass) if isinstance(found.node, ast.ClassDef) else Any
    if isinstance(found, tuple):
        return _type(*found)
    return Any if found is None else found


def _subscript(module: Module, base: Any, inner: ast.expr) -> Any:
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


def _call(module: Module, called: Callable[..., Any], node: ast.Call) -> Any:
    """Evaluate a call with plain values."""
    return called(
        *(_value(module, one) for one in node.args),
        **{str(one.arg): _value(module, one.value) for one in node.keywords},
    )


def _value(module: Module, node: ast.expr) -> Any:
    """Evaluate a plain value: a literal, a power, a difference, or the name of one."""
    match node:
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _value(module, left) ** _value(module, right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(module, left) - _value(module, right)
        case ast.Name() | ast.Attribute():
            if (found := resolve(module, node)) is None or isinstance(found, Definition):
                raise ValueError(f"{ast.unparse(node)} takes an import")
            return _value(*found) if isinstance(found, tuple) else found
    return ast.literal_eval(node)


@functools.cache
def _placeholder(path: str, is_dataclass: bool) -> type:
    """Return an empty class in place of one that is not imported; ``source`` is its dotted name."""
    module, _, name = path.rpartition(".")
    content: dict[str, Any] = {"__module__": module, "source": path}
    return type(name, (), content | ({"__dataclass_fields__": {}} if is_dataclass else {}))
