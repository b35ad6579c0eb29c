"""Definitions of classes and functions in source files, found by their dotted names without an import."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import functools
import importlib.util
import pathlib
import typing
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True)
class Module:
    """Names of a source file: classes and functions, imports as (module, name), and assigned expressions."""

    name: str
    names: dict[str, ast.ClassDef | ast.FunctionDef | ast.expr | tuple[str, str]]


@dataclass(frozen=True)
class Definition:
    """A class or function with the module that defines it."""

    module: Module
    node: ast.ClassDef | ast.FunctionDef

    @property
    def path(self) -> str:
        """Dotted name at the place of the definition."""
        return f"{self.module.name}.{self.node.name}"

    @property
    def is_dataclass(self) -> bool:
        """True if the class has the decorator ``dataclass``."""
        decorators = [node.func if isinstance(node, ast.Call) else node for node in self.node.decorator_list]
        return any(ast.unparse(node).rpartition(".")[2] == "dataclass" for node in decorators)


@functools.cache
def _module(name: str) -> Module | None:
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
    return Module(name, dict(_names(tree.body, package)))


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


def find(path: str) -> Definition | tuple[Module, ast.expr] | ModuleType | Any | None:
    """Return what a dotted name stands for.

    Args:
        path: Dotted name, also of a class that a package imports from one of its modules.

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


def _follow(module: Module, found: Any) -> Any:
    """Return what an entry of ``Module.names`` stands for, as ``find`` does."""
    if isinstance(found, tuple):
        source, name = found
        # ``from . import name`` imports a module of the package itself.
        return find(f"{source}.{name}") if name and source != module.name else None
    return Definition(module, found) if isinstance(found, ast.ClassDef | ast.FunctionDef) else (module, found)


def resolve(module: Module, node: ast.expr) -> Any:
    """Return what a name or a dotted name in a module stands for, as ``find`` does.

    Args:
        module: The module in which the name is used.
        node: The name.
    """
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
    return find(".".join([source, *([name] if name else []), *names[1:]]))


def bases(found: Definition) -> list[Definition]:
    """Return a class and its base classes in the order in which Python looks for methods (C3).

    Args:
        found: The class; base classes whose source is not found are left out.
    """
    assert isinstance(found.node, ast.ClassDef)
    plain = [node.value if isinstance(node, ast.Subscript) else node for node in found.node.bases]
    direct = [base for node in plain if isinstance(base := resolve(found.module, node), Definition)]
    lines = [*(bases(base) for base in direct), list(direct)]
    order = [found]
    while lines := [line for line in lines if line]:
        later = {one.path for line in lines for one in line[1:]}
        head = next((line[0] for line in lines if line[0].path not in later), lines[0][0])
        order.append(head)
        lines = [[one for one in line if one.path != head.path] for line in lines]
    return order
