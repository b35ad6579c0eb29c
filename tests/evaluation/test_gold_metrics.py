"""Tests of figures that need gold annotations."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2seq.evaluation.gold_metrics import sentence_metrics
from seq2seq.generation.attention_map import AttentionMap


def test_specials_of_a_document_belong_to_no_sentence() -> None:
    """``</s>``, in the second sentence, has most of the weight. Otherwise each word attends to its own sentence."""
    weights = np.array([[0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6]], dtype=np.float32)
    seen = AttentionMap(
        source=["a", "b", "</s>"],
        target=["a", "b", "</s>"],
        source_words=[0, 1, -1],
        target_words=[0, 1, -1],
        weights={"cross.0": weights[None]},
        layers=[weights],
        sentences=[0, 1, 1],
    )
    record: Any = {"source": "a\nb", "target": "a b", "origins": [0, 1]}
    found = sentence_metrics([seen], [record])
    assert {name: result.score for name, result in found.items() if "uniform" not in name} == {"sentence_recall": 1.0}
