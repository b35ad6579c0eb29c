"""Canary tests of Hydra and OmegaConf: a failing test reports what an upgrade has changed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import OmegaConf

from seq2seq.compat import hydra as compat
from seq2seq.compat.omegaconf import full_key


@pytest.fixture
def conf(tmp_path: Path) -> Iterator[Path]:
    """Write a config with one group that fills two keys."""
    (tmp_path / "g").mkdir()
    for name in ("one", "two"):
        (tmp_path / "g" / f"{name}.yaml").write_text(f"name: {name}\n")
    (tmp_path / "main.yaml").write_text("defaults:\n  - g: one\n  - g@other: two\n  - _self_\n")
    (tmp_path / "elsewhere.yaml").write_text("defaults:\n  - g@other: two\n  - _self_\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield tmp_path


def test_flags_and_overrides_are_separated() -> None:
    words = ["--multirun", "--cfg", "job", "--resolve", "a=1", "b=2"]
    found, unknown = compat.flag_parser().parse_known_args([*words, "--no-such-flag"])
    assert (found.multirun, found.cfg, found.resolve, found.help) == (True, "job", True, False)
    assert found.overrides == ["a=1", "b=2"], "Hydra changed where its parser keeps overrides"
    assert unknown == ["--no-such-flag"]
    assert found.experimental_rerun is None, "Hydra changed its flag --experimental-rerun"


def test_a_mistake_in_a_flag_can_be_caught() -> None:
    parser = compat.flag_parser()
    parser.exit_on_error = False
    with pytest.raises(argparse.ArgumentError) as caught:
        parser.parse_known_args(["--cfg", "nothing"])
    assert caught.value.argument_name == "--cfg/-c", "Hydra changed its flag --cfg"


def test_an_override_is_parsed() -> None:
    changed = "Hydra changed the parsed form of an override"
    plain = compat.parse_override("++a.b=[1,x]")
    assert (plain.key_or_group, plain.value(), plain.input_line) == ("a.b", [1, "x"], "++a.b=[1,x]"), changed
    assert not plain.is_sweep_override(), changed
    choice, numbers = compat.parse_override("a=1,x"), compat.parse_override("a=range(1,4)")
    assert choice.is_sweep_override() and choice.is_choice_sweep() and not choice.is_range_sweep(), changed
    assert numbers.is_sweep_override() and numbers.is_range_sweep() and not numbers.is_choice_sweep(), changed
    assert list(choice.sweep_string_iterator()) == ["1", "x"], changed
    assert list(numbers.sweep_string_iterator()) == ["1", "2", "3"], changed
    drawn = compat.parse_override("a=interval(0,1)")
    assert drawn.is_sweep_override() and not (drawn.is_choice_sweep() or drawn.is_range_sweep()), changed
    with pytest.raises(HydraException):
        compat.parse_override("a=[1")


def test_glob_finds_the_files_of_a_group(conf: Path) -> None:
    (override,) = compat.parse_overrides(["g=glob(*)"])
    assert list(override.sweep_string_iterator()) == ["one", "two"], "Hydra changed how glob finds a group's files"


TEXTS = ("plain", "it's", "a=b,[c]", "with \"both' of them", "back\\slash", "end\\", "")


@pytest.mark.parametrize("text", TEXTS)
def test_a_quoted_text_is_read_back_unchanged(text: str) -> None:
    assert str(compat.parse_override(f"a={compat.quoted(text)}").value()) == text, "Hydra changed how it quotes"


def test_the_choices_of_a_config_are_known(conf: Path) -> None:
    config = hydra.compose("main", ["g=two"], return_hydra_config=True)
    found = {group: file for group, file in compat.choices(config).items() if not group.startswith("hydra/")}
    assert found == {"g": "two", "g@other": "two"}, "Hydra changed hydra.runtime.choices"


@pytest.mark.parametrize(
    ("config", "group", "proposal"),
    [("main", "h", ""), ("elsewhere", "g", "Did you mean to override g@other?")],
)
def test_a_group_that_is_not_in_the_defaults_is_named(conf: Path, config: str, group: str, proposal: str) -> None:
    with pytest.raises(ConfigCompositionException) as caught:
        hydra.compose(config, [f"{group}=one"])
    found = compat.not_overridable(str(caught.value))
    assert found == (group, proposal), f"Hydra changed its error for a group without a default: {caught.value}"


def test_a_missing_file_of_a_group_is_another_error(conf: Path) -> None:
    with pytest.raises(MissingConfigException) as caught:
        hydra.compose("main", ["g=three"])
    assert compat.not_overridable(str(caught.value)) is None
    assert caught.value.missing_cfg_file == "g/three", "Hydra changed its error for a missing file"
    assert caught.value.options == ["one", "two"], "Hydra changed how its error lists the existing files"


def test_a_node_knows_its_path() -> None:
    config = OmegaConf.create({"a": {"b": [{"c": {}}]}})
    keys = [full_key(node) for node in (config, config.a, config.a.b[0].c)]
    assert keys == ["", "a", "a.b[0].c"], "OmegaConf changed the path of a node"
