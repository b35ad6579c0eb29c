"""Tests of the precision of training: the choice, refusals, and reports of its speed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seq2seq.errors import UserError
from seq2seq.training import precision
from seq2seq.training.fit import fit
from seq2seq.training.precision import accelerator_of, check_device, check_precision, precision_of, tell_speed, uses_gpu

LSTM, PLAIN = nn.Sequential(nn.LSTM(2, 2)), nn.Linear(2, 2)


@pytest.fixture(params=[False, True], ids=["cpu", "gpu"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Simulate a machine with or without a GPU, which computes in bf16; return True with a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    return bool(request.param)


def test_auto_follows_the_device(gpu: bool) -> None:
    assert precision_of({"accelerator": "auto"}) == ("bf16-mixed" if gpu else "32-true")
    assert precision_of({"accelerator": "cpu", "precision": "auto"}) == "32-true"


def test_auto_is_fp32_on_a_gpu_without_bf16(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert precision_of({"accelerator": "auto", "precision": "auto"}) == "32-true"


@pytest.mark.parametrize(("given", "expected"), [(32, "32-true"), ("bf16", "bf16-mixed"), (None, "32-true")])
def test_other_names_of_precisions_are_normalised(given: object, expected: str) -> None:
    assert precision_of({"accelerator": "cpu", "precision": given}) == expected


@pytest.mark.parametrize("given", ["16-mixed", 16, "16-true", "bf16-true", "64-true", "transformer-engine", "bf17"])
def test_precisions_that_a_cpu_lacks_are_refused(given: object) -> None:
    with pytest.raises(UserError, match=rf"^trainer\.precision={given}: .*32-true"):
        precision_of({"accelerator": "cpu", "precision": given})


def test_fp16_needs_a_gpu(gpu: bool) -> None:
    trainer = {"accelerator": "auto", "precision": "16-mixed"}
    if gpu:
        assert precision_of(trainer) == "16-mixed"
    else:
        with pytest.raises(UserError, match="a CPU does not train in fp16"):
            precision_of(trainer)


def test_bf16_is_refused_for_an_lstm_without_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = {"accelerator": "cpu", "precision": "bf16-mixed"}
    monkeypatch.setattr(precision, "bf16_has_lstm", lambda: False)
    with pytest.raises(UserError, match=r"^trainer\.precision=bf16-mixed: this CPU has no LSTM in bf16"):
        check_precision(trainer, LSTM)
    check_precision(trainer, PLAIN)
    check_precision({**trainer, "precision": "auto"}, LSTM)
    monkeypatch.setattr(precision, "bf16_has_lstm", lambda: True)
    check_precision(trainer, LSTM)


@pytest.mark.parametrize(
    ("chosen", "ratio", "message"),
    [
        ("bf16-mixed", 20.0, "trainer.precision=bf16-mixed takes 20.0 times as long as 32-true on this CPU"),
        ("32-true", 0.4, "trainer.precision=bf16-mixed is 2.5 times as fast as 32-true on this CPU"),
        ("bf16-mixed", 0.4, ""),
        ("32-true", 20.0, ""),
        ("32-true", 1.0, ""),
    ],
)
def test_a_slower_choice_of_precision_is_reported(
    chosen: str, ratio: float, message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "bf16_has_lstm", lambda: True)
    monkeypatch.setattr(precision, "bf16_time", lambda *, lstm: ratio if lstm else 1.0)
    with caplog.at_level(logging.INFO):
        tell_speed(chosen, LSTM)
        tell_speed(chosen, PLAIN)
    assert caplog.messages == ([message] if message else [])


def test_a_transformer_trains_in_bf16_on_any_cpu(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "bf16_time", lambda *, lstm: 20.0)
    keys = {"trainer.precision": "bf16-mixed", "trainer.max_steps": 1, "model.heads": 2}
    assert fit(*prepare("model=transformer", **keys), tmp_path).steps == 1
    assert "takes 20.0 times as long" in caplog.text


def test_auto_is_a_cuda_gpu_or_the_cpu(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU of a Mac is used only on request."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert accelerator_of({"accelerator": "auto"}) == accelerator_of({}) == ("cuda" if gpu else "cpu")
    assert [accelerator_of({"accelerator": name}) for name in ("cpu", "gpu", "mps")] == ["cpu", "gpu", "mps"]
    assert uses_gpu({"accelerator": "gpu"}) == gpu and not uses_gpu({"accelerator": "mps"})


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_a_missing_device_is_refused_with_its_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        UserError,
        match=f"^trainer.accelerator={name}: this machine has no such device; use trainer=auto",
    ):
        check_device({"accelerator": name})
    check_device({"accelerator": "auto"})
    check_device({"accelerator": "cpu"})
