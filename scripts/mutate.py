"""Mutation testing: break one line of the core at a time and check that a test fails.

    python scripts/mutate.py --seed 7 --count 60

The lines are changed in a copy of the repository, never in the working tree. A test that fails or runs out of time
catches the mutant. A mutant that no test catches has survived; its diff is printed. The exit code is 1 if more than
``--allow`` mutants survive.

Changes: comparisons and conditions are negated; operators and truth values are replaced by others; the first two
arguments of a call are exchanged if both are of one kind; ``not`` and minus signs are removed; statements are removed;
numbers and bounds of slices are increased by one. Not changed: docstrings, messages (f-strings, ``raise``, logs),
assertions, type hints, decorators, and defaults of arguments, because the configuration always gives them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

ROOT = Path(__file__).parents[1]
CORE = (
    *("attention", "encoders", "decoders", "layers", "search", "metrics"),
    *("evaluation", "loss", "batch.py", "model.py", "attention_store.py"),
    *("generation/attention_map.py", "comparison/agreement.py"),
)
"""Folders and modules of seq2seq whose lines are broken."""
LIBRARIES = ["torch", "lightning", "hydra", "datasets", "sacrebleu", "scipy.stats", "matplotlib.figure", "pytest"]
"""Libraries that are loaded once for all mutants."""
NEARBY = 4
"""Number of test files that run first: that of the module, and the golden tests."""
LONG = ("test_laws.py", "test_laws_in_models.py", "test_combinations.py", "test_options.py", "test_grids.py")
"""Test files that take minutes. They run last, because others catch most mutants in seconds."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
    **{ast.LShift: ast.RShift, ast.RShift: ast.LShift},
}
SYMMETRIC = {"min", "max", "minimum", "maximum", "logaddexp", "transpose", "isinstance", "promote_types"}
"""Functions whose first two arguments can be exchanged without effect, or cannot be exchanged."""


@dataclass(frozen=True)
class Mutant:
    """A change of one line of a file."""

    line: int
    what: str  # "a + b -> a - b"
    source: str  # text of the whole file, with the change


def mutants(source: str) -> list[Mutant]:
    """Return all mutants of a file, in the order of their lines.

    Args:
        source: Text of the file.
    """
    # Find where each line starts, in bytes.
    tree, raw = ast.parse(source), source.encode()
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    # Apply each change to the text.
    found = []
    for node, new in _changes(tree):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        old, text = raw[start:end].decode(), new if isinstance(new, str) else ast.unparse(new)
        if ast.dump(ast.parse(text)) != ast.dump(ast.parse(ast.unparse(node))):
            what = f"{' '.join(old.split())} -> {text}"
            found.append(Mutant(node.lineno, what, (raw[:start] + text.encode() + raw[end:]).decode()))
    return sorted(found, key=lambda one: one.line)


Change = tuple[ast.expr | ast.stmt, ast.AST | str]  # node to replace, and its replacement


def _changes(node: ast.AST, inside: bool = False) -> Iterator[Change]:
    """Yield the changes of a node and of all nodes below; outside functions only those of constants."""
    # Skip nodes without an effect.
    if _is_left_alone(node):
        return

    # Change the node itself.
    if isinstance(node, ast.expr | ast.stmt | ast.comprehension):
        for old, new in _alternatives(node):
            if inside or isinstance(old, ast.Constant):
                yield old, new

    # Change the nodes below it, without type hints, decorators and defaults of arguments.
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases") or isinstance(value, ast.arguments):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changes(child, inside or isinstance(node, ast.FunctionDef))


def _is_left_alone(node: ast.AST) -> bool:
    """Return whether changes of this node, or below it, cannot matter for a correct use of the program."""
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.AnnAssign(value=None):
            return True
        case ast.FunctionDef():
            return any("abstractmethod" in ast.unparse(decorator) for decorator in node.decorator_list)
        case ast.keyword(arg="strict"):  # of zip: it is only a check
            return True
        case ast.Compare(
            ast.Attribute(attr="type"), [_], [ast.Constant(str())]
        ):  # device.type == "cpu": affects only speed
            return True
        case ast.Call():
            name = ast.unparse(node.func)
            return name.startswith(("log.", "logging.", "warnings.")) or name.endswith("Error")
    return False


def _alternatives(node: ast.AST) -> Iterator[Change]:
    """Yield the replacements of a node, or of a part of it."""
    match node:
        case ast.Compare(left, [operator], right):
            yield node, ast.Compare(left, [COMPARISONS[type(operator)]()], right)
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            yield node, ast.BinOp(left, OPERATORS[type(operator)](), right)
        case ast.AugAssign(target, operator, value):
            yield node, "pass"
            if type(operator) in OPERATORS:
                yield node, ast.AugAssign(target, OPERATORS[type(operator)](), value)
        case ast.BoolOp(operator, values):
            yield node, ast.BoolOp(ast.And() if isinstance(operator, ast.Or) else ast.Or(), values)
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield node, operand
        case ast.Constant(bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield node, ast.Constant(value + 1)
        case ast.IfExp(test, body, other):
            yield node, ast.IfExp(test, other, body)
        case ast.If(test) | ast.While(test) | ast.comprehension(ifs=[test]):
            # The other kinds of conditions have changes of their own.
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
                yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Slice(lower, upper):
            for bound in (lower, upper):
                if bound is not None and not isinstance(bound, ast.Constant):
                    yield bound, ast.BinOp(bound, ast.Add(), ast.Constant(1))
        case ast.Call(function, [first, second, *others]) if ast.unparse(function).split(".")[-1] not in SYMMETRIC:
            if type(first) is type(second) and not isinstance(first, ast.Starred | ast.Constant):  # of one kind
                yield node, ast.Call(function, [second, first, *others], node.keywords)
        case ast.Expr(ast.Call() as call) if not _is_left_alone(call):
            yield node, "pass"


def modules() -> list[Path]:
    """Return the files of the core, relative to the root.

    Raises:
        SystemExit: ``CORE`` names a missing file.
    """
    found: list[Path] = []
    for name in CORE:
        path = ROOT / "seq2seq" / name
        if not path.exists():
            raise SystemExit(f"scripts/mutate.py: CORE names seq2seq/{name}, which does not exist; correct the list")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path.relative_to(ROOT) for path in found]


def drawn(seed: int, count: int) -> list[tuple[Path, Mutant]]:
    """Draw different lines of the core, and one mutant for each.

    Args:
        seed: Seed of the draw.
        count: Number of lines.

    Returns:
        Pairs of module and mutant.
    """
    # Collect the mutants of each line.
    ways: dict[tuple[Path, int], list[Mutant]] = {}
    for path in modules():
        for one in mutants((ROOT / path).read_text(encoding="utf-8")):
            ways.setdefault((path, one.line), []).append(one)

    # Draw the lines, and a mutant of each.
    random = Random(seed)
    return [(place[0], random.choice(ways[place])) for place in random.sample(sorted(ways), min(count, len(ways)))]


def tests_of(module: Path) -> list[str]:
    """Return the test files of a module, in the order in which they run.

    They are the file of the same name, the golden tests, the files that import the module, and those of its folder.

    Args:
        module: File of the core, relative to the root.
    """
    inner = module.relative_to("seq2seq")
    same = ROOT / "tests" / inner.parent / f"test_{inner.name}"
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    # Find the files that import the module.
    package, name = ".".join(module.parent.parts), module.stem
    imports = re.compile(rf"^\s*(from|import) {package}(\.{name}\b| import .*\b{name}\b)", re.MULTILINE)
    importing = [path for path in every if imports.search(_text(path))]

    # Find the other groups, and put slow files last.
    golden = [path for path in every if path.parent.name == "golden" or path.name == "test_initial_values.py"]
    folder = [path for path in every if inner.parent.name and path.parent == same.parent]
    ordered = dict.fromkeys([*[path for path in every if path == same], *golden, *importing, *folder])
    return [str(path.relative_to(ROOT)) for path in sorted(ordered, key=lambda path: path.name in LONG)]


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


class _FirstFailure:
    """A plugin of pytest that stores the name of the first test, or file, that fails."""

    name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def _child(folder: str, arguments: list[str], answer: Any, start_method: str) -> None:
    """Run pytest in ``folder`` and send the name of the first failed test, or "" without one; a process of its own."""
    import pytest

    os.setsid()  # so that processes which tests start can be stopped too
    multiprocessing.set_start_method(start_method, force=True)  # here it is forkserver
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # versions of a file may have the same size and time
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        first = _FirstFailure()
        code = pytest.main(["-x", "--rootdir=.", "-p", "no:cacheprovider", *arguments], plugins=[first])
    answer.send(first.name or ("" if code == 0 else f"pytest ended with {int(code)}"))


class Tests:
    """A runner of tests in a copy of the repository, in processes that have the libraries loaded.

    Args:
        folder: The copy.
        limit: Seconds for the tests of one mutant.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit, self.sound = folder, limit, set[str]()  # tests that pass without a mutant
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(LIBRARIES)

    def failure(self, arguments: Sequence[str]) -> str:
        """Run tests and return the first that fails, "out of time", "crash", or "" if all pass.

        Args:
            arguments: Test files and options of pytest.
        """
        # Start a process.
        receiver, sender = self.context.Pipe(duplex=False)
        usual = multiprocessing.get_start_method()  # of processes that tests start
        process = self.context.Process(target=_child, args=(str(self.folder), list(arguments), sender, usual))
        process.start()
        group = cast(int, process.pid)
        sender.close()

        # Wait for its answer, then stop it with all its children.
        try:
            return str(receiver.recv()) if receiver.poll(self.limit) else "out of time"
        except EOFError:
            return "crash"
        finally:
            process.join(timeout=1)  # a process that has answered may end by itself
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            process.join()

    def verdict(self, module: Path, mutant: Mutant) -> str:
        """Return the test that catches a mutant, or "" if it survives.

        Args:
            module: File of the core, relative to the root.
            mutant: Mutant of this file.

        Raises:
            SystemExit: The test fails without the mutant too.
        """
        # Write the mutant.
        file = self.folder / module
        before = file.read_text(encoding="utf-8")
        file.write_text(mutant.source, encoding="utf-8")

        # Run the nearest tests first: they catch most mutants, and collecting the others takes long.
        files = tests_of(module)
        try:
            found = self.failure(files[:NEARBY])
            if not found and files[NEARBY:]:
                found = self.failure(files[NEARBY:])
        finally:
            file.write_text(before, encoding="utf-8")

        # Check that the test passes without the mutant.
        if ".py" in found and found not in self.sound:
            if self.failure([found] if "::" in found else [found, "--collect-only"]):
                raise SystemExit(f"scripts/mutate.py: {found} fails without any change; correct it first")
            self.sound.add(found)
        return found


def copy_tree(folder: Path) -> None:
    """Copy all files that git tracks or would add.

    Args:
        folder: Target folder.
    """
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: Command line; None = ``sys.argv``.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="seed of the draw of lines")
    parser.add_argument("--count", type=int, default=60, help="number of lines to break")
    parser.add_argument("--allow", type=int, default=3, help="number of mutants that may survive")
    parser.add_argument("--limit", type=float, default=900, help="seconds for the tests of one mutant")
    asked = parser.parse_args(arguments)
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")  # read when libraries load

    # Test each mutant.
    survivors: list[tuple[Path, Mutant]] = []
    chosen = drawn(asked.seed, asked.count)
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        tests = Tests(Path(folder), asked.limit)
        for number, (module, mutant) in enumerate(chosen, 1):
            began = time.monotonic()
            found = tests.verdict(module, mutant)
            survivors += [] if found else [(module, mutant)]
            told = f"caught    {found}" if found else "SURVIVED"
            place = f"{number:3} {time.monotonic() - began:5.0f} s  {module}:{mutant.line}"
            print(f"{place}  {mutant.what}\n             {told}", flush=True)

    # Print the diffs of survivors.
    for module, mutant in survivors:
        before = (ROOT / module).read_text(encoding="utf-8")
        old, new = (text.splitlines(keepends=True) for text in (before, mutant.source))
        print("\n" + "".join(difflib.unified_diff(old, new, str(module), "broken", n=2)), end="")
    print(f"\nseed {asked.seed}: {len(chosen) - len(survivors)} of {len(chosen)} caught, {len(survivors)} survived")
    return int(len(survivors) > asked.allow)


if __name__ == "__main__":
    raise SystemExit(main())
