"""Tests of the options that distinguish an evaluation from its run, and of the recipe of a run."""

from __future__ import annotations

from typing import Any

import pytest

from seq2seq.comparison.run_config import Origin, eval_diff

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
