"""Check that only ``seq2seq/compat`` uses private names of other packages.

A name with one underscore is foreign unless a module of this package defines it: as a function, class, variable,
or attribute of ``self``. The test can't recognise undocumented names without an underscore; ``UNDOCUMENTED`` lists
those that are known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "seq2seq"
PUBLIC = {
    **dict.fromkeys(("_asdict", "_fields", "_replace"), "collections.namedtuple documents them"),
    **dict.fromkeys(("_target_", "_partial_"), "keys of our configs"),
    "_exit": "os documents it",
    "_thread": "Python documents it",
}
"""Names with an underscore that are not private."""
UNDOCUMENTED = {
    *(
        "fit_loop",
        "epoch_loop",
        "batch_progress",
        "val_check_batch",
        "kineto_results",
        "config_loader",
        "ensure_running",
    ),
    *("hydra.core.override_parser", "hydra.core.global_hydra", "multiprocessing.resource_tracker"),
}
"""Attributes and modules that only ``compat`` may use."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def is_closed(module: str) -> bool:
    """Return whether a dotted name has a private or undocumented part of another package."""
    parts = module.split(".")
    if parts[0] == "seq2seq":
        return False
    undocumented = any(f"{module}.".startswith(f"{name}.") for name in UNDOCUMENTED)
    return undocumented or any(is_private(part) or part in ("internal", "__internal__") for part in parts)


def defined(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module defines; of attributes only those of ``self`` and ``cls``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seq2seq"):
            yield from (alias.name for alias in node.names)


def foreign(tree: ast.Module, own: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of each private name that is used and is not in ``own``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if is_closed(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module != "__future__":
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from ((node.lineno, name) for name in names if is_closed(name))
        elif isinstance(node, ast.Attribute):
            if (is_private(node.attr) and node.attr not in own) or node.attr in UNDOCUMENTED:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("getattr", "setattr", "hasattr", "delattr") and isinstance(node.args[1], ast.Constant):
                name = str(node.args[1].value)
                if (is_private(name) and name not in own) or name in UNDOCUMENTED:
                    yield node.lineno, ast.unparse(node)
            elif node.func.id == "vars" and node.args and ast.unparse(node.args[0]) == "trainer":
                yield node.lineno, ast.unparse(node)


@cache
def trees() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))}


def test_private_names_of_other_packages_are_used_only_in_compat() -> None:
    outside = {file: tree for file, tree in trees().items() if PACKAGE / "compat" not in file.parents}
    own = frozenset(name for tree in outside.values() for name in defined(tree))
    found = [
        f"{file.relative_to(PACKAGE.parent)}:{line}: {name}"
        for file, tree in outside.items()
        for line, name in foreign(tree, own)
    ]
    assert not found, "put these behind a function of seq2seq/compat, with a canary test:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "from hydra._internal.utils import get_args_parser",
        "from torch import _foreach_mul_",
        "import torch._dynamo",
        "from multiprocessing import resource_tracker",
        "from hydra.core.override_parser.types import Quote",
        "node._get_full_key(None)",
        "self._modules",
        "trainer.fit_loop.restarting",
        "trainer._state = 1",
        "getattr(optimizer, '_step_supports_amp_scaling', False)",
        "vars(trainer)['callbacks']",
    ],
)
def test_a_private_name_is_found(line: str) -> None:
    tree = ast.parse(line)
    assert list(foreign(tree, frozenset(defined(tree))))


@pytest.mark.parametrize(
    "line",
    [
        "from seq2seq.x import _own\n_own()",
        "def _own(): pass\nmodule._own()",
        "self._own = 1\nother._own",
        "x.__dict__",
        "row._asdict()",
        "config.encoder._target_",
        "import _thread",
        "from __future__ import annotations",
    ],
)
def test_other_names_are_accepted(line: str) -> None:
    tree = ast.parse(line)
    assert not list(foreign(tree, frozenset(defined(tree))))


def test_compat_imports_no_other_module_of_the_application() -> None:
    for file, tree in trees().items():
        if PACKAGE / "compat" in file.parents:
            modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            own = {module for module in modules if module.startswith("seq2seq")}
            assert own <= {"seq2seq.compat", "seq2seq.errors"}, file
