"""Tests of the measurement of bf16 on this machine's CPU."""

from __future__ import annotations

import time

import pytest
import torch

from seq2seq.runtime import torch_kernels


@pytest.mark.parametrize("lstm", [False, True])
def test_the_measurement_is_short_and_keeps_the_random_state(lstm: bool) -> None:
    state = torch.get_rng_state()
    torch_kernels.bf16_time.cache_clear()
    torch_kernels.bf16_has_lstm.cache_clear()
    if lstm and not torch_kernels.bf16_has_lstm():
        with pytest.raises(RuntimeError):  # raised by oneDNN
            torch_kernels.bf16_time(lstm=True)
        return
    began = time.perf_counter()
    assert 0.01 < torch_kernels.bf16_time(lstm=lstm) < 1000
    assert time.perf_counter() - began < 5
    assert torch.equal(state, torch.get_rng_state())


def test_the_ratio_is_that_of_the_fastest_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a round of setup, rounds take 8, 4 and 6 seconds in bf16, and 3, 1 and 2 in fp32: the ratio is 4 / 1."""
    now, lengths = [0.0], iter([0.5, 0.5, 8.0, 3.0, 4.0, 1.0, 6.0, 2.0])  # bf16 and fp32 in turns
    monkeypatch.setattr(torch_kernels, "ROUNDS", 3)
    monkeypatch.setattr(torch_kernels, "SECONDS", 1000)
    monkeypatch.setattr(torch_kernels.time, "perf_counter", lambda: now[0])

    def work(*_: object, **__: object) -> None:
        now[0] += next(lengths)

    monkeypatch.setattr(torch_kernels, "_update", work)
    torch_kernels.bf16_time.cache_clear()
    assert torch_kernels.bf16_time(lstm=False) == 4.0
    assert not list(lengths)
    torch_kernels.bf16_time.cache_clear()


def test_a_slow_machine_runs_the_least_number_of_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every round is longer than the limit: the round of setup and two measured ones run, of two updates each."""
    now, updates = [0.0], []
    monkeypatch.setattr(torch_kernels.time, "perf_counter", lambda: now[0])

    def work(*_: object, half: bool) -> None:
        updates.append(half)
        now[0] += 1.0

    monkeypatch.setattr(torch_kernels, "_update", work)
    torch_kernels.bf16_time.cache_clear()
    assert torch_kernels.bf16_time(lstm=False) == 1.0
    torch_kernels.bf16_time.cache_clear()
    assert updates == [True, False] * 3
