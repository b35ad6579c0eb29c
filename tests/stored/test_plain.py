"""Tests of reading stored YAML and JSON; YAML is compared with OmegaConf, which wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from seq2seq.cli import hydra_app
from seq2seq.config.instantiate import CONF
from seq2seq.errors import UserError
from seq2seq.stored import plain, roles
from tests.sampling import mostly_slow

GROUPS = ("model", "attention", "data", "experiment", "encoder", "decoding", "optimizer", "lr_scheduler", "debug")
CHOICES = [
    *(f"{group}={file.stem}" for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))),
    *(f"model=transformer self_attention={file.stem}" for file in sorted((CONF / "self_attention").glob("*.yaml"))),
]


def config_of(choice: str) -> Any:
    """Compose a config of ``train.py`` with these choices."""
    typed = [*choice.split(), *(["++encoder.name=x"] if choice == "encoder=backbone" else [])]
    return next(hydra_app.compose("train", typed))


@pytest.mark.parametrize("choice", mostly_slow(CHOICES, every=18))
def test_references_are_resolved_as_by_omegaconf(choice: str, tmp_path: Path) -> None:
    """References equal those that OmegaConf resolves, and each class of the config is allowed at its key."""
    config = config_of(choice)
    OmegaConf.save(config, tmp_path / "config.yaml")
    expected = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    read = plain.read_yaml(tmp_path / "config.yaml")
    found = plain.resolved(read, "x")
    assert found == expected
    roles.check(found, "x")


def test_references_inside_a_text_are_resolved() -> None:
    found = plain.resolved({"a": {"b": 3}, "c": "x${a.b}-${oc.select:a.c,y}", "d": "${oc.select:a.c,1.5}"}, "x")
    assert found == {"a": {"b": 3}, "c": "x3-y", "d": 1.5}


def test_dates_are_read_as_text(tmp_path: Path) -> None:
    assert plain.parse_yaml(b"a: 2026-01-31\nb: 1.0e-06\nc: 1_000\n", "x") == {"a": "2026-01-31", "b": 1e-6, "c": 1000}


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "nul", '{"a": ' + "1" * 5000 + "}"])
def test_unreadable_json_is_reported_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json") as caught:
        plain.read_json(tmp_path / "results.json")
    assert "\n" not in str(caught.value)
