"""Check the reading of comments in conf/, with Hydra as the oracle of what a file includes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from omegaconf import OmegaConf

from seq2seq.config import option_text
from seq2seq.config.instantiate import CONF

GROUPS = ("attention", "self_attention", "data", "encoder", "decoder", "decoding", "model", "trainer", "logger")
FILES = [
    file
    for file in sorted(CONF.rglob("*.yaml"))
    if not {"hydra", "experiment", "debug", "tuned"} & set(file.relative_to(CONF).parts)
]


def test_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "attention"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "# A: |x| (Somebody 2015)\n# For: tests\n# and\n# Remark\n"
        "defaults:\n  - base@_here_\n  - override /score: dot\n"
        "_target_: seq2seq.attention.A\n_partial_: true\nheads: 4   # number\n"
        'name: "a # b"   # a name,\n                # in quotes\npart:\n  _target_: torch.nn.Linear\n  size: [1, 2]\n'
    )
    monkeypatch.setattr(option_text, "CONF", tmp_path)
    found = option_text.read(folder / "a.yaml")
    assert found.comments == ["A: |x| (Somebody 2015)", "For: tests and", "Remark"]
    assert (found.header, found.target) == ("A: |x| (Somebody 2015). For: tests and Remark", "seq2seq.attention.A")
    assert found.defaults == ["base@_here_", "/score=dot"]
    assert [(option.key, option.default, option.comment) for option in found.options] == [
        ("attention.heads", "4", "number"),
        ("attention.name", '"a # b"', "a name, in quotes"),
        ("attention.part", "class torch.nn.Linear", ""),
        ("attention.part.size", "[1, 2]", ""),
    ]


def flat(value: Any, key: str) -> dict[str, Any]:
    """Return {key: value} of all values below a key that are not mappings."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    names = [name for name in value if name not in ("_target_", "_partial_")]
    return {below: one for name in names for below, one in flat(value[name], f"{key}.{name}").items()}


@pytest.mark.parametrize("group", GROUPS)
def test_options_of_a_choice_are_those_that_hydra_composes(group: str) -> None:
    for choice in option_text.choices(group):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("train", [f"{group}={choice}"])
        expected = flat(OmegaConf.to_container(config[group], resolve=False), group)
        found = {one.key: one.default for one in option_text.composed(group, choice) if one.key.startswith(f"{group}.")}
        found = {key: text for key, text in found.items() if text and not text.startswith("class ")}
        assert {key: text if "${" in text else yaml.safe_load(text) for key, text in found.items()} == expected


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CONF).as_posix())
def test_every_option_has_a_comment(file: Path) -> None:
    folder = file.parent.relative_to(CONF).as_posix()
    options = option_text.read(file).options if folder == "." else option_text.composed(folder, file.stem)
    assert [option.key for option in options if not option.comment] == []


def test_files_that_choices_share() -> None:
    assert [found.name for found in option_text.shared("data")] == [
        "captions",
        "corpus",
        "documents",
        "letters",
        "phones",
        "toy",
    ]
    (found,) = option_text.shared("self_attention")
    assert found.options[0].key == "self_attention.heads"
    assert option_text.shared("decoding") == []
