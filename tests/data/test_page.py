"""Check that the modules, tests and YAMLs of ``docs/how-to/add_a_dataset.md`` work as they are."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from seq2seq.config.instantiate import CONF, build_node
from seq2seq.data.readers.reader import DataLocation

PAGE = (CONF.parent / "docs" / "how-to" / "add_a_dataset.md").read_text(encoding="utf-8")
MODULES = ("seq2seq.data.readers.bars", "tests.page.test_bars", "seq2seq.data.toy.past_tense", "tests.page.test_toy")
YAMLS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Load the Python code of the page as modules, in the page's order."""
    loaded = {}
    for name, code in zip(MODULES, re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), strict=True):
        loaded[name] = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, loaded[name])
        exec(compile(code, "docs/how-to/add_a_dataset.md", "exec"), loaded[name].__dict__)
        if parent := sys.modules.get(name.rpartition(".")[0]):
            monkeypatch.setattr(parent, name.rpartition(".")[2], loaded[name], raising=False)
    yield loaded


def test_tests_of_the_page_pass(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    tests: list[Callable[..., None]] = [
        function for module in modules.values() for name, function in vars(module).items() if name.startswith("test_")
    ]
    assert len(tests) == 4
    for number, test in enumerate(tests):
        directory = tmp_path / str(number)
        directory.mkdir()
        test(*[directory][: len(inspect.signature(test).parameters)])


def test_yamls_of_the_page_build_their_readers(modules: dict[str, ModuleType]) -> None:
    mydata, bars, toy = YAMLS
    assert build_node(bars["reader"]).separator == "|||"
    assert build_node(toy["reader"]).splits(DataLocation(None, toy["source"], toy["target"])) == [
        "train",
        "valid",
        "test",
    ]
    for data in (mydata, bars, toy):
        assert data["defaults"][0] == "base/corpus@_here_" and data["defaults"][-1] == "_self_"
        assert (CONF / "task" / f"{data['defaults'][-2]['override /task@_global_.task']}.yaml").exists()
