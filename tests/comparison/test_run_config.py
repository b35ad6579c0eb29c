"""Tests of the options that distinguish an evaluation from its run, and of the recipe of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seq2seq.comparison.run_config import Origin, choices, eval_diff

BEAM = {"_target_": "seq2seq.search.Beam", "beam_size": 5, "max_length": 100, "suppress_unk": False}
GREEDY = {
    "_target_": "seq2seq.search.Greedy",
    **{"min_length": 0, "max_length": 100, "max_length_ratio": 2.0, "max_length_offset": 10},
    **{"no_repeat_ngram_size": 0, "suppress_unk": False},
}


@pytest.mark.parametrize(
    ("decoding", "named"),
    [
        (BEAM, {}),
        ({**BEAM, "beam_size": 1}, {"decoding.beam_size": "1"}),
        (GREEDY, {"decoding": "greedy"}),
        ({**GREEDY, "min_length": 3}, {"decoding": "greedy", "decoding.min_length": "3"}),
        ({**GREEDY, "max_length": 7}, {"decoding": "greedy", "decoding.max_length": "7"}),
    ],
)
def test_an_evaluation_is_named_by_the_options_that_a_user_types(
    decoding: dict[str, Any], named: dict[str, str]
) -> None:
    data = {"name": "toy"}
    assert eval_diff({"decoding": decoding, "data": data}, {"decoding": BEAM, "data": data}, {}, {}) == named


def test_an_option_with_its_default_does_not_change_a_recipe() -> None:
    """``training.freeze`` did not exist when the first run was trained."""
    options = "seq2seq.training.options.TrainingOptions"
    before = {"training": {"_target_": options, "averaging": "ema"}, "seed": 1}
    after = {"training": {"_target_": options, "averaging": "ema", "freeze": [], "strict": False}, "seed": 2}
    frozen = {"training": {"_target_": options, "averaging": "ema", "freeze": ["encoder"]}, "seed": 1}
    recipes = [Origin(config, "data").recipe() for config in (before, after, frozen)]
    assert recipes[0] == recipes[1] != recipes[2]


@pytest.mark.parametrize(
    ("recipe", "typed", "named"),
    [
        (None, [], {}),  # a run from before there were recipes
        ("common", ["recipe=common"], {}),
        ("tuned", ["recipe=tuned", "seed=2"], {"recipe": "tuned"}),
    ],
)
def test_a_tuned_recipe_names_a_run(
    recipe: str | None, typed: list[str], named: dict[str, str], tmp_path: Path
) -> None:
    kept = {"model": "rnn", "attention": "additive"} | ({"recipe": recipe} if recipe else {})
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": {"runtime": {"choices": kept}}}))
    (tmp_path / ".hydra" / "overrides.yaml").write_text(json.dumps(typed))
    assert choices(tmp_path) == {"model": "rnn", "attention": "additive"} | named


def test_a_tuned_run_is_no_run_of_the_common_recipe() -> None:
    """The best trial may have had the values of the common recipe."""
    common = {"optimizer": {"lr": 0.003}, "seed": 1}
    recipes = [Origin(config, "data").recipe() for config in (common, common | {"recipe": "tuned"})]
    assert recipes[0] != recipes[1]
