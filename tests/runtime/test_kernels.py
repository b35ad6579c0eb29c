"""The probe of bf16 on this machine's CPU."""

from __future__ import annotations

import time

import pytest
import torch

from seq2seq.runtime import kernels


@pytest.mark.parametrize("lstm", [False, True])
def test_the_probe_is_short_and_draws_no_number(lstm: bool) -> None:
    state = torch.get_rng_state()
    kernels.bf16_time.cache_clear()
    kernels.bf16_has_lstm.cache_clear()
    if lstm and not kernels.bf16_has_lstm():
        with pytest.raises(RuntimeError):  # oneDNN's
            kernels.bf16_time(lstm=True)
        return
    began = time.perf_counter()
    assert 0.01 < kernels.bf16_time(lstm=lstm) < 1000
    assert time.perf_counter() - began < 5
    assert torch.equal(state, torch.get_rng_state())


def test_the_ratio_is_that_of_the_fastest_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of 8, 4 and 6 seconds in bf16, and of 3, 1 and 2 in fp32: 4 / 1."""
    now, lengths = [0.0], iter([8.0, 4.0, 6.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(kernels, "ROUNDS", 3)
    monkeypatch.setattr(kernels, "SECONDS", 1000)
    monkeypatch.setattr(kernels.time, "perf_counter", lambda: now[0])

    def work(*_: object, **__: object) -> None:
        now[0] += next(lengths)

    monkeypatch.setattr(kernels, "_update", work)
    kernels.bf16_time.cache_clear()
    assert kernels.bf16_time(lstm=False) == 4.0
    kernels.bf16_time.cache_clear()
