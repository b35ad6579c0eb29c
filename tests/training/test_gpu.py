"""Tests of trainer=gpu: bf16, and steps in which the host does not wait for the device. They need a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.config.instantiate import build_node
from seq2seq.runtime.torch_kernels import avoid_wrong_ones
from seq2seq.training.fit import fit
from seq2seq.training.module import Training
from tests.catalogue import config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Make PyTorch raise an error on any synchronisation in an update, from the third on; return the updates so far.

    The first two updates may wait, since they initialise the optimiser.
    """
    original, steps = Training.optimizer_step, []

    def watched(self: Training, *args: Any, **kwargs: Any) -> None:
        steps.append(self.global_step)
        torch.cuda.set_sync_debug_mode("error" if len(steps) > 2 else "default")
        try:
            original(self, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Training, "optimizer_step", watched)
    yield steps
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("model", ["rnn", "transformer"])
def test_no_host_sync_in_the_step(
    model: str, no_waiting: list[int], prepare: Callable[..., Any], tmp_path: Path
) -> None:
    keys = {"training.averaging": "ema", "model.dim": 16, "data.pin_memory": True}
    result = fit(*prepare("trainer=gpu", f"model={model}", **keys), tmp_path)
    assert result.steps == len(no_waiting) > 5
    state = torch.load(result.last, weights_only=True)
    assert all(value.dtype == torch.float32 for value in state["state_dict"].values() if value.is_floating_point())


def test_gpu_gives_the_score_of_the_cpu(prepare: Callable[..., Any], tmp_path: Path) -> None:
    keys = {"model.dropout": 0.0}
    on_cpu = fit(*prepare(**keys), tmp_path / "cpu")
    on_gpu = fit(*prepare("trainer=gpu", **keys, **{"trainer.precision": "32-true"}), tmp_path / "gpu")
    assert on_gpu.best_score == pytest.approx(on_cpu.best_score, rel=1e-2)


@pytest.mark.parametrize("length", [64, 192])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_gradients_of_fully_masked_rows_are_finite_in_bf16(length: int, dropout: float) -> None:
    """Gradients are finite without cuDNN, whose kernel returns NaN (``seq2seq.runtime.torch_kernels``)."""
    avoid_wrong_ones()
    mechanism = build_node(config("attention=multi_head").attention, 64, SourceSpec(64)).cuda().train()
    mechanism.dropout = dropout
    values = torch.randn(3, length, 64, device="cuda", requires_grad=True)
    mask = torch.arange(length, device="cuda") < torch.tensor([length, 1, 0], device="cuda")[:, None]
    queries = torch.randn(3, length, 64, device="cuda", requires_grad=True)
    with torch.autocast("cuda", torch.bfloat16):
        memory = mechanism.prepare(Memory.of(values, mask))
        query = Query(queries, torch.arange(length, device="cuda").expand(3, -1))
        context = mechanism(query, memory, mechanism.initial_state(memory)).context
    context.float().sum().backward()
    for given in (queries, values, *mechanism.parameters()):
        assert given.grad is not None and given.grad.isfinite().all()
    assert not context[2].any()
