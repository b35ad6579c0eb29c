"""Tests of the attention of outputs, which is computed for a few outputs at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seq2seq.generation import attention_map
from seq2seq.generation.generator import TrainedModel

SENTENCES = ["the old woman saw the bird .", "a bird", "the cow saw a bird near the house .", "the house"]


def test_attention_of_single_outputs_equals_that_of_all_at_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = TrainedModel.load(run)
    together = trained.generate(SENTENCES, return_attention=True)
    passes = []
    force = attention_map.force
    monkeypatch.setattr(
        attention_map, "force", lambda model, batch, chosen: passes.append(len(chosen)) or force(model, batch, chosen)
    )
    monkeypatch.setattr(attention_map, "MOST_WEIGHTS", 1)
    apart = trained.generate(SENTENCES, return_attention=True)
    assert passes == [1] * len(SENTENCES)
    for one, other in zip(together, apart, strict=True):
        assert one.attention is not None and other.attention is not None and one.text == other.text
        assert one.attention.source == other.attention.source
        np.testing.assert_allclose(one.attention.alignment, other.attention.alignment, atol=1e-6)
