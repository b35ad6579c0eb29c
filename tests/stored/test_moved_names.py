"""Tests of old names in configs of old runs: each class and key of version 0.1 has a current name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml

from seq2seq.config.instantiate import CONF, locate
from seq2seq.stored import moved_names

OLD = (Path(__file__).parents[1] / "fixtures" / "targets_0.1.txt").read_text().split()
"""Every ``_target_`` in the files of ``conf/`` of version 0.1."""


@cache
def current_targets() -> set[str]:
    """Return every ``_target_`` in the current files of ``conf/``."""
    found: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("_target_"), str):
                found.add(value["_target_"])
            for below in value.values():
                walk(below)
        elif isinstance(value, list):
            for below in value:
                walk(below)

    for file in CONF.rglob("*.yaml"):
        walk(yaml.safe_load(file.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("path", OLD)
def test_a_class_of_version_0_1_is_found(path: str) -> None:
    current = moved_names.class_path(path)
    assert current in current_targets(), "no file of conf/ names it: add its new name to stored/moved_names.py"
    assert locate(current, tools=True)


def test_current_names_do_not_change() -> None:
    for path in current_targets():
        assert moved_names.class_path(path) == path


def test_new_names_of_keys_exist() -> None:
    config = yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))
    config["data"] = yaml.safe_load((CONF / "data" / "coco.yaml").read_text(encoding="utf-8"))
    for new in moved_names.KEYS.values():
        node = config
        for name in new.split("."):
            assert name in node or (CONF / name).is_dir(), new
            node = node.get(name, {})
    evaluation = yaml.safe_load((CONF / "evaluate.yaml").read_text(encoding="utf-8"))
    assert set(moved_names.EVALUATION_KEYS.values()) <= set(evaluation)
    for group, names in moved_names.CHOICES.items():
        assert all((CONF / group / f"{name}.yaml").is_file() for name in names.values())


def test_keys_are_renamed_with_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved_names, "KEYS", {"schedule": "lr_scheduler", "loss.start": "loss.start_at"})
    old = {"schedule": {"_target_": "x.Y", "steps": 3}, "loss": {"start": {"a": 1}, "b": [{"_target_": 5}]}, "z": None}
    assert moved_names.renamed(old) == {
        "lr_scheduler": {"_target_": "x.Y", "steps": 3},
        "loss": {"start_at": {"a": 1}, "b": [{"_target_": 5}]},
        "z": None,
    }
    both = {"schedule": 1, "lr_scheduler": 2, "loss": 7}  # the new name has priority, and other values are kept
    assert moved_names.renamed(both) == both
