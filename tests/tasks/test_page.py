"""Check that the class, the test and the YAML files of ``docs/how-to/add_a_task.md`` work."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
import yaml

from seq2seq import tasks
from seq2seq.config.instantiate import CONF, build_node
from seq2seq.metrics.text import SCORERS
from seq2seq.tasks.base import Task

PAGE = (CONF.parent / "docs" / "how-to" / "add_a_task.md").read_text(encoding="utf-8")
CODE, _, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TASK, TOY, DATA = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the module of the page, as if its file existed."""
    loaded = ModuleType("seq2seq.tasks.past_tense")
    monkeypatch.setitem(sys.modules, loaded.__name__, loaded)
    monkeypatch.setattr(tasks, "past_tense", loaded, raising=False)
    exec(compile(CODE, "docs/how-to/add_a_task.md", "exec"), loaded.__dict__)
    return loaded


def test_the_yaml_builds_the_class() -> None:
    task = build_node(TASK)
    assert isinstance(task, Task) and set(task.metrics) <= SCORERS.keys()
    assert set(TASK["validation"]) <= set(task.metrics)


def test_the_test_of_the_page_passes() -> None:
    tests: dict[str, object] = {"__name__": "test_past_tense"}
    exec(compile(TEST, "docs/how-to/add_a_task.md", "exec"), tests)
    functions = [function for name, function in tests.items() if name.startswith("test_") and callable(function)]
    assert len(functions) == 2
    for function in functions:
        function()


def test_the_listed_parts_are_attributes_of_a_task() -> None:
    parts = [name for row in re.findall(r"^\| (`.+?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert len(parts) >= 11 and all(hasattr(Task, name) for name in parts)


def test_the_data_config_names_the_task() -> None:
    override = {"override /task@_global_.task": "past_tense"}
    assert DATA["name"] == "past_tense" and override in DATA["defaults"] and [override] == TOY
