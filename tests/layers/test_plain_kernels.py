"""Tests of the switch between fast kernels and plain formulas, alone and in whole models."""

from __future__ import annotations

import pytest
import torch

from seq2seq.attention.components import scores
from seq2seq.layers import dropout, output
from seq2seq.layers.plain_kernels import is_plain, plain_kernels
from seq2seq.loss import Criterion
from seq2seq.search import topk
from tests.catalogue import batch, model, noise


def test_switch_is_restored() -> None:
    """The context restores the switch, also when nested and after an exception."""
    with plain_kernels(), plain_kernels():
        assert is_plain()
    assert not is_plain()
    with pytest.raises(ZeroDivisionError), plain_kernels():
        raise ZeroDivisionError
    assert not is_plain()


def test_no_fast_kernel_runs_inside_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fast kernels removed, a model runs inside the context and fails outside."""
    for module, name in (
        (output, "fused_cross_entropy"),
        (scores, "fused_additive"),
        (dropout, "keep_mask"),
        (topk, "blockwise_top"),
    ):
        monkeypatch.setattr(module, name, None)
    probe, data = model("model=rnn", attention="additive").train(), batch()
    with plain_kernels():
        Criterion()(probe(data), data).total.backward()
        dropout.relu_dropout(noise(4), 0.5)
        topk.top(noise(2, 500), 3)
    with pytest.raises(TypeError, match="not callable"):
        Criterion()(probe(data), data)


@pytest.mark.parametrize("name", ["rnn", "transformer"])
def test_models_compute_the_same_with_both(name: str) -> None:
    """Losses and gradients are equal with fast kernels and with plain formulas."""
    probe, data = model(f"model={name}", attention="additive"), batch()

    def gradients() -> list[torch.Tensor]:
        """Return the loss and the gradients of all parameters."""
        loss = Criterion(label_smoothing=0.1)(probe(data), data).total
        return [loss, *torch.autograd.grad(loss, list(probe.parameters()))]

    fast = gradients()
    with plain_kernels():
        plain = gradients()
    torch.testing.assert_close(fast, plain)
