"""Tests of the share of attention that goes to a sentinel, in generation, statistics and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.generator import TrainedModel
from seq2seq.plots.sentence import save_sentence
from seq2seq.search import Greedy


def attention_of(name: str, prepare: Callable[..., Any], path: Path) -> AttentionMap:
    """Return the attention of an untrained model for one sentence."""
    config, corpus, model = prepare(f"attention={name}")
    trained = TrainedModel(model, corpus.codec, config, path, torch.device("cpu"))
    (found,) = trained.generate("the bird chose the cow .", return_attention=True, search=Greedy(max_length=5))
    assert found.attention is not None
    return found.attention


def test_share_of_the_sentinel_is_reported_and_drawn(prepare: Callable[..., Any], tmp_path: Path) -> None:
    found = attention_of("adaptive", prepare, tmp_path)
    weights, share = found.weights["cross.0"], found.sentinels["cross.0"]
    assert share.shape == weights.shape[:2]
    np.testing.assert_allclose(weights.sum(-1) + share, 1, rtol=1e-5)
    figures = found.statistics()
    assert figures["sentinel"] == pytest.approx(share.mean())
    assert figures["mass"] + figures["sentinel"] == pytest.approx(1)
    words = found.source_words, found.target_words
    (picture,) = save_sentence(tmp_path, 0, found.weights, found.source, found.target, *words)
    with np.load(picture.with_suffix(".npz")) as arrays:
        assert arrays["columns"].tolist() == [*found.source, "sentinel"]
        np.testing.assert_array_equal(arrays["weights"][0, ..., :-1], weights)
        np.testing.assert_array_equal(arrays["weights"][0, ..., -1], share)


def test_mechanism_without_a_sentinel_reports_no_share(prepare: Callable[..., Any], tmp_path: Path) -> None:
    found = attention_of("additive", prepare, tmp_path)
    assert found.sentinels == {}
    assert "sentinel" not in found.statistics()
    words = found.source_words, found.target_words
    (picture,) = save_sentence(tmp_path, 0, found.weights, found.source, found.target, *words)
    with np.load(picture.with_suffix(".npz")) as arrays:
        assert arrays["columns"].tolist() == found.source
