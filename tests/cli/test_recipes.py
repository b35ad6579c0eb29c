"""Tests of ``recipe=tuned``: the values of a mechanism are taken, and a mechanism without values is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from seq2seq.cli import hydra_app, quick_check
from seq2seq.config import extensions
from seq2seq.config.extensions import Extensions
from seq2seq.errors import UserError

VALUES = {"recipe": "tuned", "optimizer": {"lr": 0.5}, "attention": {"score": {"scale": 1.5}}}
PLACES = ("toy_translation/rnn/additive", "toy_translation/transformer/multi_head")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Write tuned values of two mechanisms into a folder for ``--config-dir``."""
    for place in PLACES:
        file = tmp_path / "recipe" / "tuned" / f"{place}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"# @package _global_\n{yaml.safe_dump(VALUES)}", encoding="utf-8")
    return tmp_path


def composed(own: Path, *typed: str) -> DictConfig:
    """Return the checked config of ``train.py --config-dir OWN TYPED``."""
    with extensions.using(Extensions(own)):
        path = f"hydra.searchpath=['file://{own}']"
        (config,) = hydra_app.compose("train", [path, *map(hydra_app.as_override, typed)])
        quick_check.training(config, [])
    return config


def test_the_values_of_the_mechanism_are_taken(own: Path) -> None:
    for more in ([], ["model=transformer"]):
        config = composed(own, "recipe=tuned", *more)
        assert (config.recipe, config.optimizer.lr, config.attention.score.scale) == ("tuned", 0.5, 1.5)


def test_options_and_experiments_come_after_the_recipe(own: Path) -> None:
    assert composed(own, "recipe=tuned", "optimizer.lr=0.25").optimizer.lr == 0.25
    config = composed(own, "recipe=tuned", "experiment=multi30k_rnn", "data=toy_translation")
    assert (config.optimizer.lr, config.attention.score.scale) == (0.002, 1.5)


def test_the_common_recipe_is_the_config_without_a_recipe(own: Path) -> None:
    """Jobs of sweeps and packs are recognised by the config, so ``recipe=common`` must not change it."""
    usual = OmegaConf.to_yaml(composed(own))
    assert "recipe" not in usual and OmegaConf.to_yaml(composed(own, "recipe=common")) == usual


@pytest.mark.parametrize(
    "typed", [["attention=dot"], ["model=transformer", "attention=additive"], ["data=multi30k"], ["attention=soft"]]
)
def test_a_mechanism_without_values_is_refused(own: Path, typed: list[str]) -> None:
    with pytest.raises(UserError, match=r"^recipe=tuned: .*; it has: .*toy_translation/rnn/additive, .*recipe=common$"):
        composed(own, "recipe=tuned", *typed)


def test_an_unknown_recipe_is_refused(own: Path) -> None:
    with pytest.raises(Exception, match="recipe") as error:
        composed(own, "recipe=tunde")
    assert hydra_app.explain(error.value) == "recipe has no choice tunde; did you mean tuned?; it has: common, tuned"
