"""Break one line of the core at a time, and see whether the tests of its area notice.

    python scripts/mutate.py --seed 7 --count 60

Each line is broken in a copy of the tree, never in the working tree. A test that fails, or that runs out of time, has
caught the mutant; a mutant that no test catches has survived, and its diff is printed. The exit code is 1 where more
than ``--allow`` survive.

What is broken: comparisons and conditions are turned round; operators, truth values, and the first two arguments of a
call where they are of a kind are exchanged; ``not`` and minus signs are removed, statements dropped, numbers and the
bounds of slices moved by one. What is not: docstrings, messages (f-strings, ``raise``, logs), assertions, type hints,
decorators, and defaults of arguments, which the configuration gives anyway.
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
from pathlib import Path
from random import Random
from typing import Any, cast

ROOT = Path(__file__).parents[1]
CORE = (
    *("attention", "encoders", "decoders", "layers", "search", "metrics"),
    *("evaluation", "loss", "batch.py", "model.py", "attention_store.py"),
    *("generation/attention_map.py", "comparison/agreement.py"),
)
"""What is drawn from: folders and modules of seq2seq."""
LIBRARIES = ["torch", "lightning", "hydra", "datasets", "sacrebleu", "scipy.stats", "matplotlib.figure", "pytest"]
"""What is loaded once for all mutants."""
NEARBY = 4
"""How many test files run first: that of a module's name, and those of no single module."""
LONG = ("test_laws.py", "test_laws_in_models.py", "test_combinations.py", "test_options.py", "test_grids.py")
"""Test files of minutes, which run last: others catch most mutants in seconds."""

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
"""Functions whose first two arguments are exchanged without effect, or can't be."""


@dataclass(frozen=True)
class Mutant:
    """One way to break a file."""

    line: int
    what: str  # "a + b -> a - b"
    source: str  # of the whole file


def mutants(source: str) -> list[Mutant]:
    """Every way to break one expression or statement of ``source``, in the order of its lines."""
    tree, raw = ast.parse(source), source.encode()
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, new in _changes(tree):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        old, text = raw[start:end].decode(), new if isinstance(new, str) else ast.unparse(new)
        if ast.dump(ast.parse(text)) != ast.dump(ast.parse(ast.unparse(node))):
            what = f"{' '.join(old.split())} -> {text}"
            found.append(Mutant(node.lineno, what, (raw[:start] + text.encode() + raw[end:]).decode()))
    return sorted(found, key=lambda one: one.line)


Change = tuple[ast.expr | ast.stmt, ast.AST | str]  # what to replace, and by what


def _changes(node: ast.AST, inside: bool = False) -> Iterator[Change]:
    """Those of a node and of all below; ``inside`` a function, or else constants alone."""
    if _is_left_alone(node):
        return
    if isinstance(node, ast.expr | ast.stmt | ast.comprehension):
        for old, new in _alternatives(node):
            if inside or isinstance(old, ast.Constant):
                yield old, new
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases") or isinstance(value, ast.arguments):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changes(child, inside or isinstance(node, ast.FunctionDef))


def _is_left_alone(node: ast.AST) -> bool:
    """Whether nothing there, or below, can change what the program does where it is used rightly."""
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.AnnAssign(value=None):
            return True
        case ast.FunctionDef():
            return any("abstractmethod" in ast.unparse(decorator) for decorator in node.decorator_list)
        case ast.keyword(arg="strict"):  # of zip: an assertion
            return True
        case ast.Compare(ast.Attribute(attr="type"), [_], [ast.Constant(str())]):  # device.type == "cpu": speed alone
            return True
        case ast.Call():
            name = ast.unparse(node.func)
            return name.startswith(("log.", "logging.", "warnings.")) or name.endswith("Error")
    return False


def _alternatives(node: ast.AST) -> Iterator[Change]:
    """What may stand in the place of ``node``, or of a part of it."""
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
            if not isinstance(
                test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant
            ):  # which have ways of their own
                yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Slice(lower, upper):
            for bound in (lower, upper):
                if bound is not None and not isinstance(bound, ast.Constant):
                    yield bound, ast.BinOp(bound, ast.Add(), ast.Constant(1))
        case ast.Call(function, [first, second, *others]) if ast.unparse(function).split(".")[-1] not in SYMMETRIC:
            if type(first) is type(second) and not isinstance(first, ast.Starred | ast.Constant):  # of a kind
                yield node, ast.Call(function, [second, first, *others], node.keywords)
        case ast.Expr(ast.Call() as call) if not _is_left_alone(call):
            yield node, "pass"


def modules() -> list[Path]:
    """The files of the core, relative to the root."""
    found: list[Path] = []
    for name in CORE:
        path = ROOT / "seq2seq" / name
        if not path.exists():
            raise SystemExit(f"scripts/mutate.py: CORE names seq2seq/{name}, which there is not; mend the list")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path.relative_to(ROOT) for path in found]


def drawn(seed: int, count: int) -> list[tuple[Path, Mutant]]:
    """``count`` lines of all that can be broken, each with one way to break it."""
    ways: dict[tuple[Path, int], list[Mutant]] = {}
    for path in modules():
        for one in mutants((ROOT / path).read_text(encoding="utf-8")):
            ways.setdefault((path, one.line), []).append(one)
    random = Random(seed)
    return [(place[0], random.choice(ways[place])) for place in random.sample(sorted(ways), min(count, len(ways)))]


def tests_of(module: Path) -> list[str]:
    """The test files of its area: that of its name, those of all modules, those that import it, and its folder's."""
    inner = module.relative_to("seq2seq")
    same = ROOT / "tests" / inner.parent / f"test_{inner.name}"
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    package, name = ".".join(module.parent.parts), module.stem
    imports = re.compile(rf"^\s*(from|import) {package}(\.{name}\b| import .*\b{name}\b)", re.MULTILINE)
    importing = [path for path in every if imports.search(path.read_text(encoding="utf-8"))]
    golden = [path for path in every if path.parent.name == "golden" or path.name == "test_initial_values.py"]
    folder = [path for path in every if inner.parent.name and path.parent == same.parent]
    ordered = dict.fromkeys([*[path for path in every if path == same], *golden, *importing, *folder])
    return [str(path.relative_to(ROOT)) for path in sorted(ordered, key=lambda path: path.name in LONG)]


class _FirstFailure:
    """A plugin of pytest that keeps the name of the test, or of the file, that failed."""

    name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def _child(folder: str, arguments: list[str], answer: Any) -> None:
    """Runs pytest in ``folder``, in a process of its own; sends the name of the test that failed, "" of none."""
    import pytest

    os.setsid()  # so that what tests start can be stopped with them
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # two versions of a file may have the same size and time
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        first = _FirstFailure()
        code = pytest.main(["-x", "--rootdir=.", "-p", "no:cacheprovider", *arguments], plugins=[first])
    answer.send(first.name or ("" if code == 0 else f"pytest ended with {int(code)}"))


class Tests:
    """Runs tests in a copy of the tree, from processes that have the libraries loaded."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit, self.sound = folder, limit, set[str]()  # tests that pass unbroken
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(LIBRARIES)

    def failure(self, arguments: Sequence[str]) -> str:
        """The first test that fails; "" where none does."""
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_child, args=(str(self.folder), list(arguments), sender))
        process.start()
        group = cast(int, process.pid)
        sender.close()
        try:
            return str(receiver.recv()) if receiver.poll(self.limit) else "out of time"
        except EOFError:
            return "crash"
        finally:
            process.join(timeout=1)  # to let one that has answered end by itself
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            process.join()

    def verdict(self, module: Path, mutant: Mutant) -> str:
        """What catches a mutant; "" where nothing does. A test that fails unbroken, too, catches nothing."""
        file = self.folder / module
        before = file.read_text(encoding="utf-8")
        file.write_text(mutant.source, encoding="utf-8")
        files = tests_of(module)
        try:
            # most mutants are caught nearby, before the laws of every mechanism are so much as collected
            found = self.failure(files[:NEARBY])
            if not found and files[NEARBY:]:
                found = self.failure(files[NEARBY:])
        finally:
            file.write_text(before, encoding="utf-8")
        if ".py" in found and found not in self.sound:
            if self.failure([found] if "::" in found else [found, "--collect-only"]):
                raise SystemExit(f"scripts/mutate.py: {found} fails without any change; mend it first")
            self.sound.add(found)
        return found


def copy_tree(folder: Path) -> None:
    """Copies what git knows or would add."""
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws, breaks, tests and tells; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=60, help="how many lines are drawn")
    parser.add_argument("--allow", type=int, default=3, help="how many may survive")
    parser.add_argument("--limit", type=float, default=900, help="seconds for the tests of one mutant")
    asked = parser.parse_args(arguments)
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")  # as libraries are loaded
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
    for module, mutant in survivors:
        before = (ROOT / module).read_text(encoding="utf-8")
        old, new = (text.splitlines(keepends=True) for text in (before, mutant.source))
        print("\n" + "".join(difflib.unified_diff(old, new, str(module), "broken", n=2)), end="")
    print(f"\nseed {asked.seed}: {len(chosen) - len(survivors)} of {len(chosen)} caught, {len(survivors)} survived")
    return int(len(survivors) > asked.allow)


if __name__ == "__main__":
    raise SystemExit(main())
