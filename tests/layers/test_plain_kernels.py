"""The switch between fast kernels and plain formulas, alone and in whole models."""

from __future__ import annotations

import pytest
import torch

from seq2seq.attention.components import scores
from seq2seq.layers import dropout, output
from seq2seq.layers.plain_kernels import is_plain, plain_kernels
from seq2seq.loss import Criterion
from seq2seq.search import topk
from tests.catalogue import batch, model, noise


def test_the_switch_goes_back() -> None:
    with plain_kernels(), plain_kernels():
        assert is_plain()
    assert not is_plain()
    with pytest.raises(ZeroDivisionError), plain_kernels():
        raise ZeroDivisionError
    assert not is_plain()


def test_within_it_no_fast_kernel_runs(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_model_computes_the_same(name: str) -> None:
    probe, data = model(f"model={name}", attention="additive"), batch()

    def gradients() -> list[torch.Tensor]:
        loss = Criterion(label_smoothing=0.1)(probe(data), data).total
        return [loss, *torch.autograd.grad(loss, list(probe.parameters()))]

    fast = gradients()
    with plain_kernels():
        plain = gradients()
    torch.testing.assert_close(fast, plain)
