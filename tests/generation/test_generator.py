"""Tests of the scores of given outputs; ``tests/cli/test_training_and_use.py`` tests generation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import predicted
from seq2seq.generation.generator import TrainedModel
from tests.golden.paper import nats
from tests.golden.test_translation import AS_IT_IS, LAST, PAIRS, translator
from tests.golden.test_translation import FIRST as FIRST_LAYER


def test_scores_equal_those_worked_out_by_hand() -> None:
    model = translator(FIRST_LAYER, LAST)
    found = model.score([pair["source"] for pair in PAIRS], [pair["target"] for pair in PAIRS])
    assert -sum(sum(one.log_probs) for one in found) == pytest.approx(nats(AS_IT_IS))
    for one, pair, (loss, tokens, _) in zip(found, PAIRS, predicted(model, PAIRS, 4096), strict=True):
        assert (one.source, one.target, one.pieces[-1]) == (pair["source"], pair["target"], "</s>")
        assert one.attention is None and len(one.log_probs) == len(one.pieces) == tokens
        assert one.loss == pytest.approx(loss / tokens)


def test_scores_equal_those_of_the_search(run: Path) -> None:
    """The log-probability and the attention of an output equal those that the search reports."""
    trained = TrainedModel.load(run)
    sources = ["the old woman saw the bird .", "a bird"]
    said = trained.generate(sources, return_attention=True)
    found = trained.score(sources, [one.text for one in said], return_attention=True)
    for one, generation in zip(found, said, strict=True):
        assert one.attention is not None and generation.attention is not None
        assert one.attention.target == one.pieces == generation.attention.target
        np.testing.assert_allclose(one.attention.alignment, generation.attention.alignment, atol=1e-6)
        assert sum(one.log_probs) == pytest.approx(generation.outputs[0].log_prob, abs=1e-4)
    (alone,) = trained.score(sources[0], said[0].text)
    assert alone.log_probs == pytest.approx(found[0].log_probs, abs=1e-5)


def test_different_numbers_of_inputs_and_outputs_are_refused(run: Path) -> None:
    trained = TrainedModel.load(run)
    assert trained.score([], []) == []
    with pytest.raises(UserError, match="2 inputs and 1 outputs"):
        trained.score(["a bird", "the house"], ["one"])
