"""Check that files, functions, dotted names, links and layers that the documentation names exist."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import DOCS, PAGES, ROOT, name_of, prose

FOLDERS = ("seq2seq", "conf", "docs", "scripts", "tests")
EXAMPLES = {
    "use_your_own_classes.md": {"mypackage.py"},
    "add_a_dataset.md": {
        "seq2seq/data/readers/bars.py",
        "seq2seq.data.readers.bars.BarsReader",
        "conf/data/bars.yaml",
        "conf/data/mydata.yaml",
        "tests/data/readers/test_bars.py",
        "seq2seq/data/toy/past_tense.py",
        "seq2seq.data.toy.past_tense",
        "seq2seq.data.readers.bars",
        "seq2seq.data.toy.past_tense.ToyPastTense",
        "conf/data/toy_past_tense.yaml",
        "tests/data/toy/test_past_tense.py",
    },
    "add_a_mechanism.md": {
        "seq2seq/attention/mean.py",
        "seq2seq.attention.mean.MeanAttention",
        "conf/attention/mean.yaml",
    },
    "add_a_task.md": {
        "seq2seq/tasks/past_tense.py",
        "seq2seq.tasks.past_tense",
        "seq2seq.tasks.past_tense.PastTense",
        "conf/task/past_tense.yaml",
        "conf/data/past_tense.yaml",
        "seq2seq/data/toy/past_tense.py",
        "conf/data/toy_past_tense.yaml",
        "tests/tasks/test_past_tense.py",
    },
    "add_an_encoder.md": {
        "seq2seq/encoders/convolution.py",
        "seq2seq.encoders.convolution",
        "seq2seq.encoders.convolution.ConvolutionEncoder",
        "conf/encoder/convolution.yaml",
        "tests/encoders/test_convolution.py",
    },
}
"""Files and names that the reader of a page writes; they need not exist."""


@cache
def files() -> frozenset[str]:
    """Return all paths that a page may name, also without their first folders: ``components/scores.py``."""
    paths = [file.relative_to(ROOT).parts for folder in FOLDERS for file in (ROOT / folder).rglob("*.*")]
    paths += [(file.name,) for file in ROOT.glob("*.*")]
    return frozenset("/".join(parts[start:]) for parts in paths for start in range(len(parts)))


def code(page: Path) -> str:
    """Return the code of a page: spans in backticks, one a line, and then the blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return "\n".join([*spans, *blocks])


def module_of(path: str) -> ModuleType:
    """Return the module of a file; ``path`` starts at the root or at ``seq2seq/``."""
    inside = path.removeprefix("seq2seq/")
    return importlib.import_module("seq2seq." + inside.removesuffix(".py").replace("/", "."))


def resolve(owner: object, name: str) -> object:
    """Return the attribute ``a.b`` of ``owner``.

    Raises:
        AttributeError: ``owner`` has no such attribute.
    """
    for part in name.split("."):
        owner = getattr(owner, part)
    return owner


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_in_pages_exist(page: Path) -> None:
    text = code(page)
    named = set(re.findall(r"(?<![\w/.*~-])((?:\w[\w-]*/)*\w+\.py)\b", text))
    named |= set(re.findall(r"(?<![\w/.*~-])((?:conf|docs)/[\w/]+\.\w+)\b", text))
    named = {path for path in named if "NAME" not in path}
    assert named - EXAMPLES.get(page.name, set()) - files() == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_dotted_names_can_be_imported(page: Path) -> None:
    named = set(re.findall(r"(?<![\w/.])seq2seq(?:\.\w+)+", code(page)))
    for name in sorted(named - EXAMPLES.get(page.name, set())):
        pkgutil.resolve_name(name)


OTHERS = [ROOT / name for name in ("CHANGELOG.md", "data/README.md", "results/README.md")]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name_of)
def test_link_targets_exist(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_links_of_the_site_stay_inside_docs() -> None:
    links = [(page, link) for page in DOCS for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", prose(page))]
    outside = [link for page, link in links if not (page.parent / link).resolve().is_relative_to(ROOT / "docs")]
    assert outside == []


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "reference" / "api").glob("*.md")), ids=name_of)
def test_reference_lists_every_module_of_a_package(page: Path) -> None:
    named = set(re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE))
    for name in named:
        importlib.import_module(name)
    package = ROOT / "seq2seq" / page.stem
    files = [file.relative_to(ROOT).with_suffix("").parts for file in package.rglob("*.py")]
    assert {".".join(parts).removesuffix(".__init__") for parts in files} <= named


def test_functions_named_in_the_architecture_exist() -> None:
    named = set(re.findall(r"([\w/]+\.py):(\w+(?:\.\w+)*)", code(ROOT / "docs" / "explanation" / "architecture.md")))
    assert len(named) > 50
    for path, name in named:
        resolve(module_of(path), name)


def test_core_abstractions_are_in_the_modules_that_the_architecture_names() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Core abstractions")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| `")]
    assert len(rows) > 25
    for nouns, _, where in rows:
        modules = [module_of(path) for path in re.findall(r"`([\w/]+\.py)`", where)]
        for noun in re.findall(r"`(\w+)`", nouns):
            assert any(hasattr(module, noun) for module in modules), noun


def test_layers_of_the_architecture_equal_those_of_importlinter() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    block = page.partition("## Dependency layers")[2].split("```")[1].removeprefix("text")
    layers = [re.split(r"\s{2,}", line)[0] for line in block.strip().splitlines()]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert layers == settings["tool"]["importlinter"]["contracts"][0]["layers"]


def test_no_file_has_merge_conflict_markers() -> None:
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    marks = re.compile(rb"^(<{7} |>{7} |={7}$)", re.MULTILINE)
    paths = [ROOT / name for name in files if name]
    assert [path.name for path in paths if path.is_file() and marks.search(path.read_bytes())] == []


def test_readme_has_less_than_200_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
