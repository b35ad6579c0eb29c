"""Tests of debug=overfit, debug=profile and debug=batch, with the options of their YAML files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from seq2seq.errors import UserError
from seq2seq.training.callbacks.overfit import without_dropout
from seq2seq.training.fit import fit

OVERFIT = {
    "training.overfit": 0.01,
    "trainer.max_epochs": -1,
    "trainer.limit_val_batches": 0,
    "loss.label_smoothing": 0.0,
}


def test_overfit_learns_one_batch(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """Training reaches a loss near 0 and stops, because dropout is turned off."""
    keys = {"model.dim": 32, "model.embedding_dim": 32, "data.max_tokens": 24, "optimizer.lr": 0.03}
    result = fit(*prepare("lr_scheduler=constant", **OVERFIT, **keys, **{"trainer.max_steps": 300}), tmp_path)
    assert result.steps < 300


def test_overfit_reports_a_batch_that_is_not_learned(prepare: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"debug=overfit: after 5 updates .* per token"):
        fit(*prepare(**OVERFIT, **{"trainer.max_steps": 5}), tmp_path)


def test_all_kinds_of_dropout_are_turned_off(prepare: Callable[..., Any]) -> None:
    _, _, model = prepare("model=transformer", **{"model.attention_dropout": 0.2})
    modules = nn.ModuleList([model, nn.Dropout(0.5), nn.LSTM(2, 2, 2, dropout=0.5)])
    before = str([vars(m).get("p", vars(m).get("dropout")) for m in modules.modules()])
    assert "0.2" in before and "0.3" in before and "0.5" in before
    without_dropout(modules)
    assert {getattr(m, n) for m in modules.modules() for n in ("p", "dropout") if n in vars(m)} == {0.0}


@pytest.mark.slow
def test_profile_reports_the_time_of_each_phase(prepare: Callable[..., Any], tmp_path: Path) -> None:
    keys = {"training.profile": 2, "trainer.max_epochs": -1, "trainer.max_steps": 50, "trainer.limit_val_batches": 0}
    result = fit(*prepare(**keys), tmp_path)
    assert result.steps == 9  # 5 to warm up, 2 to time phases, 2 to time operations
    text = (tmp_path / "profile.txt").read_text()
    for phase in ("waiting for data", "forward and loss", "backward", "clipping and optimiser", "aten::"):
        assert phase in text
    shares = [float(line.split()[-1].rstrip("%")) for line in text.splitlines()[2:8]]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_debug_batch_trains_and_validates_one_batch(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config, corpus, model = prepare("debug=batch")
    config.trainer.update(max_epochs=1)
    result = fit(config, corpus, model, tmp_path)
    assert result.steps == 1 and result.best_score is not None
