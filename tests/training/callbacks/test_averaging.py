"""Tests of averages of weights: their formulas, and which weights are validated and saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.loss import teacher_forced_nll
from seq2seq.model import Seq2Seq, build
from seq2seq.stored import model_file
from seq2seq.training.callbacks.averaging import LastAverage, MovingAverage
from seq2seq.training.fit import fit


def test_moving_average_is_the_weighted_sum() -> None:
    """a_n = sum_t w_t (1 - d_t) prod_{u > t} d_u, with d_1 = 0."""
    weights = torch.randn(6, 3, dtype=torch.float64)
    average = MovingAverage(decay=0.4)
    for step, w in enumerate(weights, 1):
        average.update([w], step)
    decays = [0.0] + [min(0.4, (1 + t) / (10 + t)) for t in range(2, 7)]
    assert decays[1:3] == [0.25, 4 / 13] and decays[5] == 0.4
    expected = sum(
        (w * (1 - decays[t]) * torch.tensor(decays[t + 1 :]).prod() for t, w in enumerate(weights)), torch.zeros(3)
    )
    torch.testing.assert_close(average.average[0], expected)


def test_moving_average_can_start_at_the_initial_weights() -> None:
    """a_n = d^n w_0 + sum_t w_t (1 - d) d^(n - t), where w_0 are the weights before training."""
    start, after = torch.randn(3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    average, module = MovingAverage(decay=0.9, trained=True), torch.nn.ParameterList([start.clone()])
    average.on_train_start(None, SimpleNamespace(device="cpu", parameters=module.parameters))
    for step, w in enumerate(after, 1):
        average.update([w], step)
    expected = 0.9**5 * start + sum(w * 0.1 * 0.9 ** (5 - t) for t, w in enumerate(after, 1))
    torch.testing.assert_close(average.average[0], expected)


def test_last_average_is_the_mean_of_the_last_weights() -> None:
    average = LastAverage(count=3)
    for step, value in enumerate((1.0, 2.0, 4.0, 9.0)):
        average.refresh([torch.tensor([value])], step)
        average.refresh([torch.tensor([value])], step)  # an interrupted validation is repeated
    assert average.average[0].item() == 5.0


def validation_loss(model: Seq2Seq, corpus: Any, state: dict[str, torch.Tensor]) -> float:
    """Load weights into the model, and return its loss on the validation split."""
    weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    model.load_state_dict(weights)
    with torch.no_grad():
        losses = [teacher_forced_nll(model.eval(), batch) for batch in corpus.loader("valid")]
    return float(sum(loss.nll for loss in losses)) / sum(loss.tokens for loss in losses)


@pytest.mark.parametrize("kind", ["none", "ema", "last"])
def test_averaged_weights_are_validated_and_saved(kind: str, prepare: Callable[..., Any], tmp_path: Path) -> None:
    keys = {"training.averaging": kind, "training.validate_every": 5, "training.ema_decay": 0.5}
    config, corpus, model = prepare(**keys)
    result = fit(config, corpus, model, tmp_path)
    assert model_file.about(result.best).step == result.best_step
    fresh = build(config, *corpus.codec.sizes)
    best = {f"model.{name}": weight for name, weight in checkpoint.load(result.best).weights.items()}
    assert validation_loss(fresh, corpus, best) == pytest.approx(result.best_score, rel=1e-6)
    last = torch.load(result.last, weights_only=True)
    assert ("trained_state_dict" in last) == (kind != "none")
    if kind != "none":
        assert validation_loss(fresh, corpus, last["trained_state_dict"]) != pytest.approx(result.best_score, rel=1e-6)


def test_averaging_does_not_change_training(prepare: Callable[..., Any], tmp_path: Path) -> None:
    averaged = fit(*prepare(**{"training.averaging": "ema", "training.validate_every": 2}), tmp_path / "ema")
    without = fit(*prepare(**{"training.validate_every": 7}), tmp_path / "none")
    trained = torch.load(averaged.last, weights_only=True)["trained_state_dict"]
    for name, value in torch.load(without.last, weights_only=True)["state_dict"].items():
        assert torch.equal(trained[name], value)
