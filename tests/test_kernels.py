"""Which kernels are slow, by what PyTorch tells of the CPU."""

from __future__ import annotations

import pytest
import torch

from seq2seq.kernels import bf16_is_slow


@pytest.mark.parametrize(
    ("told", "slow"),
    [({"amx_bf16": True}, False), ({"amx_bf16": False}, True), ({"neon": True}, False)],
    ids=["with AMX", "without", "no x86"],
)
def test_bf16_by_what_the_cpu_has(monkeypatch: pytest.MonkeyPatch, told: dict[str, bool], slow: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert bf16_is_slow() is slow
