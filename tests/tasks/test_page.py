"""``docs/add_a_task.md``: its class and its YAMLs are a task that checks data and scores outputs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from seq2seq.config.instantiate import CONF
from seq2seq.metrics.text import SCORERS
from seq2seq.tasks.base import ScoredRecords, Task

PAGE = (CONF.parent / "docs" / "add_a_task.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TASK, DATA = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))


def test_its_class_takes_its_yaml_and_scores() -> None:
    module: dict[str, Any] = {"__name__": "past_tense"}
    exec(compile(CODE, "docs/add_a_task.md", "exec"), module)
    assert TASK.pop("_target_") == "seq2seq.tasks.past_tense.PastTense"
    task = module["PastTense"](**TASK)
    assert isinstance(task, Task) and set(task.metrics) <= SCORERS.keys()
    scored = ScoredRecords([], ["walked", "went", "played", "used"], [], [], codec=None)  # type: ignore[arg-type]
    assert task.scores(scored)["regular"].score == pytest.approx(3 / 4)


def test_its_parts_are_those_of_a_task() -> None:
    parts = [name for row in re.findall(r"^\| (`.+?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert len(parts) >= 11 and all(hasattr(Task, name) for name in parts)
    assert DATA["name"] == "past_tense" and {"override /task@_global_.task": "past_tense"} in DATA["defaults"]
