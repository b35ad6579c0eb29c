"""Tests of ``fit``: its result, its files, and trainer options that it refuses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.errors import UserError
from seq2seq.training.fit import fit


def test_curves_and_result_of_a_run(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config, corpus, model = prepare()
    result = fit(config, corpus, model, tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["train/loss"]]
    per_epoch = len(list(corpus.train_loader(config.seed, 0)))
    assert (
        result.epochs == 2 and result.steps == int(rows[-1]["step"]) and result.steps // 2 in (per_epoch, per_epoch - 1)
    )
    assert [int(row["step"]) for row in train[:2]] == [3, 6]
    assert all(float(row["train/tokens_per_second"]) > 0 for row in train)
    assert float(train[0]["train/learning_rate"]) == pytest.approx(0.01 * 3 / 4)
    tokens = sum(batch.target_tokens for epoch in range(2) for batch in corpus.train_loader(config.seed, epoch))
    assert result.tokens == tokens and result.tokens_per_second == pytest.approx(tokens / result.seconds)


def test_pictures_are_drawn_at_each_validation(prepare: Callable[..., Any], tmp_path: Path) -> None:
    fit(*prepare(**{"training.num_plots": 2, "training.validate_every": 5, "trainer.max_steps": 5}), tmp_path)
    drawn = sorted(path.name for path in (tmp_path / "attention" / "validation" / "step_0000005").iterdir())
    assert drawn == ["00000_cross.npz", "00000_cross.png", "00001_cross.npz", "00001_cross.png"]


@pytest.mark.parametrize("option", ["callbacks", "val_check_interval", "logger"])
def test_trainer_options_of_the_application_are_refused(
    option: str, prepare: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"trainer\.{option} is set by the application; use "):
        fit(*prepare(**{f"trainer.{option}": 1}), tmp_path)


def test_validation_does_not_change_the_random_numbers_of_training(prepare: Callable[..., Any], tmp_path: Path) -> None:
    sampled = {"_target_": "seq2seq.search.Sample"}
    keys = {
        "training.metrics": ["chrf"],
        "training.decoding": sampled,
        "training.num_plots": 1,
        "training.attention_examples": 8,
    }
    often = fit(*prepare(**keys, **{"training.validate_every": 4}), tmp_path / "often")
    seldom = fit(*prepare(**{"training.validate_every": 20, "training.attention_examples": 0}), tmp_path / "seldom")
    weights = [torch.load(result.last, weights_only=True)["state_dict"] for result in (often, seldom)]
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value)
