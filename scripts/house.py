"""Count properties of the package that make its code easy or hard to read, and check their limits.

    python scripts/house.py                                        # print the counts; exit code 1 if a limit is broken
    python scripts/house.py --list                                 # also print the names behind each count
    python scripts/house.py --draw 20 --seed 1 --answers FILE      # print code lines; write their modules to FILE

A part is a package directly under ``seq2seq/`` or a module beside these packages. An arrow is a pair of parts of which
the first imports the second; several imports between two parts are one arrow.

``--draw`` tests whether a reader can guess the module of a line. The reader names the module of each line and compares
with the answers.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from statistics import median

import grimp

ROOT = Path(__file__).parents[1]
LIMITS = {
    "import arrows": 135,
    "loose modules": 8,
    "arrows back up": 0,
    "median module (lines)": 150,
    "longest module (lines)": 400,
    "isinstance on classes of a task": 0,
    "docstrings of 3 words or fewer": 0,
    "docstrings that begin as a fragment": 0,
    "public functions without Args": 0,
    "full-line comments (% of lines)": 8,
}
"""Largest allowed value of each count; the other counts have no limit."""
LEAST = {"full-line comments (% of lines)": 3}
"""Smallest allowed value of a count."""
SHORT = 3  # a docstring of so few words says too little
FRAGMENTS = ("What", "Of", "Those", "Which", "Whether")
"""First words of docstrings that are no complete sentence."""
TASK_BASES = ("Codec", "Corpus", "Encoder")
"""Base classes of the classes of tasks. Only tasks may check with isinstance for subclasses of them."""
CODE = 25  # minimum number of characters of a drawn line


@dataclass(frozen=True)
class Count:
    """A number with the names of the counted items.

    Attributes:
        name: Name of the count, as printed and as in ``LIMITS``.
        number: The value.
        items: Names of the counted items.
    """

    name: str
    number: float
    items: Sequence[str]

    @property
    def is_broken(self) -> bool:
        """True if the number is over or under its limits."""
        return not LEAST.get(self.name, 0) <= self.number <= LIMITS.get(self.name, float("inf"))

    @property
    def limits(self) -> str:
        """The limits in words, as printed behind the count."""
        if self.name not in LIMITS:
            return ""
        least = f"at least {LEAST[self.name]}, " if self.name in LEAST else ""
        return f"  ({least}at most {LIMITS[self.name]}{', BROKEN' if self.is_broken else ''})"


class House:
    """The source files of a package, and counts of their properties.

    Args:
        root: Folder of the repository.
        package: Name of the package, a folder in ``root``.
    """

    def __init__(self, root: Path = ROOT, package: str = "seq2seq") -> None:
        self.root, self.package = root, package
        self.sources = {
            file.relative_to(root / package): file.read_text(encoding="utf-8")
            for file in sorted((root / package).rglob("*.py"))
        }
        self.trees = {file: ast.parse(source) for file, source in self.sources.items()}

    def counts(self) -> list[Count]:
        """Return all counts, in the order of printing."""
        lengths = sorted((len(source.splitlines()), str(file)) for file, source in self.modules.items())
        longest = lengths[-1]
        listed = {
            "import arrows": [f"{part} -> {other}" for part, other in sorted(self.arrows)],
            "loose modules": [str(file) for file in self.modules if len(file.parts) == 1],
            "arrows back up": self.upward(),
            "class names defined twice": self.twice(),
            f"docstrings of {SHORT} words or fewer": self.short_docstrings(),
            "docstrings that begin as a fragment": self.fragments(),
            "public functions without Args": self.without_arguments(),
            "isinstance on classes of a task": self.task_checks(),
            "modules without a test file": self.untested(),
        }
        return [
            *(Count(name, len(items), items) for name, items in listed.items()),
            Count("median module (lines)", median(length for length, _ in lengths), []),
            Count("longest module (lines)", longest[0], [longest[1]]),
            Count("full-line comments (% of lines)", self.comment_share(), []),
        ]

    @property
    def modules(self) -> dict[Path, str]:
        """Files with code and their text; files with only a docstring are left out."""
        return {
            file: self.sources[file]
            for file, tree in self.trees.items()
            if not all(isinstance(statement, ast.Expr) for statement in tree.body)
        }

    @cached_property
    def arrows(self) -> set[tuple[str, str]]:
        """Pairs of parts of which the first imports the second; the package itself is not a part."""
        # Read all imports between modules.
        sys.path.insert(0, str(self.root))
        try:
            graph = grimp.build_graph(self.package, cache_dir=None)
        finally:
            sys.path.remove(str(self.root))

        # Reduce them to imports between parts.
        found = set()
        for module in graph.modules:
            for imported in graph.find_modules_directly_imported_by(module):
                parts = [name.split(".")[1] for name in (module, imported) if "." in name]
                if len(set(parts)) == 2:
                    found.add((parts[0], parts[1]))
        return found

    def upward(self) -> list[str]:
        """Return the arrows that break the order of the layers in pyproject.toml."""
        settings = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))
        contracts = settings["tool"]["importlinter"]["contracts"]
        # Number the layers from top to bottom; parts that share a layer share the number.
        (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
        depth = {part.strip(): number for number, layer in enumerate(layers) for part in layer.split(":")}
        return [f"{part} -> {other}" for part, other in sorted(self.arrows) if depth[part] >= depth[other]]

    def twice(self) -> list[str]:
        """Return the names of classes that several modules define."""
        homes: Mapping[str, list[str]] = defaultdict(list)
        for file, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    homes[node.name].append(str(file))
        return [f"{name}: {', '.join(files)}" for name, files in sorted(homes.items()) if len(files) > 1]

    @cached_property
    def docstrings(self) -> list[tuple[str, str]]:
        """Docstrings of modules, classes and functions, each with its file and line."""
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        return [
            (f"{file}:{getattr(node, 'lineno', 1)}", text)
            for file, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, kinds) and (text := ast.get_docstring(node)) is not None
        ]

    def short_docstrings(self) -> list[str]:
        """Return the docstrings with at most ``SHORT`` words."""
        return [f"{place}: {text}" for place, text in self.docstrings if len(text.split()) <= SHORT]

    def fragments(self) -> list[str]:
        """Return the docstrings that begin with one of ``FRAGMENTS``."""
        return [f"{place}: {text.splitlines()[0]}" for place, text in self.docstrings if text.split()[0] in FRAGMENTS]

    def without_arguments(self) -> list[str]:
        """Return the public functions that have parameters and no ``Args:`` in the docstring.

        Properties have no parameters. A method with ``@override`` has the docstring of its base class.
        """
        found = []
        for file, tree in self.trees.items():
            # Nested functions and methods of private classes need no docstring.
            outer = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.ClassDef) and node.name.startswith("_"))
            ]
            inner = {id(below) for node in outer for below in ast.walk(node) if below is not node}
            for node in ast.walk(tree):
                if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or id(node) in inner:
                    continue

                # Compare its parameters with its docstring.
                signature = node.args
                names = [one.arg for one in (*signature.posonlyargs, *signature.args, *signature.kwonlyargs)]
                has_parameters = bool({*names} - {"self", "cls"} or signature.vararg or signature.kwarg)
                decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
                is_exempt = bool(decorators & {"override", "setter"})
                if has_parameters and not is_exempt and "Args:" not in (ast.get_docstring(node) or ""):
                    found.append(f"{file}:{node.lineno}: {node.name}")
        return found

    def comment_share(self) -> float:
        """Return the share of lines with only a comment, in percent."""
        lines = [line.lstrip() for source in self.sources.values() for line in source.splitlines()]
        return 100 * sum(line.startswith("#") for line in lines) / max(1, len(lines))

    def task_checks(self) -> list[str]:
        """Return the isinstance and issubclass checks outside ``tasks`` for classes of a task."""
        # Find all subclasses of the base classes, by name.
        bases = {
            node.name: {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        }
        of_tasks: set[str] = set()
        while more := {name for name, above in bases.items() if above & {*TASK_BASES, *of_tasks}} - of_tasks:
            of_tasks |= more

        # Find the checks for them.
        return [
            f"{file}:{node.lineno}: {ast.unparse(node)}"
            for file, tree in self.trees.items()
            if file.parts[0] != "tasks"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass")
            if of_tasks & {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
        ]

    def untested(self) -> list[str]:
        """Return the modules without a test file of the same name and folder below ``tests``."""
        tests = self.root / "tests"
        return [
            str(file)
            for file in self.modules
            if file.name != "__init__.py" and not (tests / file.parent / f"test_{file.name}").exists()
        ]

    def code_lines(self) -> list[tuple[str, str]]:
        """Return (line, FILE:NUMBER) of all code lines with at least ``CODE`` characters; imports do not count."""
        found = []
        for file, source in self.sources.items():
            code = _code(self.trees[file])
            for number, line in enumerate(source.splitlines(), 1):
                if number in code and len(line.strip()) >= CODE and not line.lstrip().startswith("#"):
                    found.append((line, f"{self.package}/{file}:{number}"))
        return found


def _code(tree: ast.Module) -> set[int]:
    """Return the line numbers of statements, without imports and docstrings."""
    lines: set[int] = set()
    others: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_code = not (is_text or isinstance(node, ast.Import | ast.ImportFrom))
            (lines if is_code else others).update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines - others


def main() -> None:
    """Run the command: print the counts, or draw lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="also print the names behind each count")
    parser.add_argument("--draw", type=int, metavar="N", help="print N random code lines without their modules")
    parser.add_argument("--seed", type=int, default=0, help="seed of --draw")
    parser.add_argument(
        "--answers", type=Path, default=Path("answers.txt"), help="file for the modules of the lines of --draw"
    )
    options = parser.parse_args()
    house = House()

    # Draw lines.
    if options.draw is not None:
        lines = Random(options.seed).sample(house.code_lines(), options.draw)
        print("\n".join(f"{number:3}  {line.strip()}" for number, (line, _) in enumerate(lines, 1)))
        answers = "".join(f"{number:3}  {place}\n" for number, (_, place) in enumerate(lines, 1))
        options.answers.write_text(answers, encoding="utf-8")
        return

    # Print the counts with their limits.
    counts = house.counts()
    for count in counts:
        print(f"{count.number:6.4g}  {count.name}{count.limits}")
        if options.list:
            print("".join(f"          {item}\n" for item in count.items), end="")
    sys.exit(any(count.is_broken for count in counts))


if __name__ == "__main__":
    main()
