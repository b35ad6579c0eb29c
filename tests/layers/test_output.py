"""Tests of the output layer: the loss equals ``F.cross_entropy`` of the full logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.batch import PAD
from seq2seq.layers.output import OutputLayer
from tests.catalogue import noise, randomise

D, V = 5, 11
TARGETS = torch.tensor([3, PAD, 10, 4, PAD, 1, 7])


def reference(layer: OutputLayer, features: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the loss of ``F.cross_entropy``."""
    logits = F.linear(features, layer.weight, layer.bias)
    return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum", ignore_index=PAD)


def gradients(loss: Tensor, layer: OutputLayer, features: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of half the loss."""
    return torch.autograd.grad(0.5 * loss, [features, *layer.parameters()])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_is_cross_entropy(dtype: torch.dtype, smoothing: float, bias: bool) -> None:
    """Losses and gradients equal those of ``F.cross_entropy``."""
    layer = randomise(OutputLayer(D, V, bias=bias).to(dtype))
    features = noise(len(TARGETS), D, dtype=dtype).requires_grad_()
    found, expected = layer.loss(features, TARGETS, smoothing), reference(layer, features, TARGETS, smoothing)
    torch.testing.assert_close(found.smoothed, expected)
    torch.testing.assert_close(found.nll, reference(layer, features, TARGETS, 0.0))
    torch.testing.assert_close(gradients(found.smoothed, layer, features), gradients(expected, layer, features))
    assert not found.nll.requires_grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_over_several_blocks(smoothing: float) -> None:
    """The vocabulary is so large that a block contains only four tokens."""
    layer, features = OutputLayer(2, 2**20), noise(10, 2, dtype=torch.float32).requires_grad_()
    targets = torch.tensor([5, 2**20 - 1, PAD, 9, 1, PAD, PAD, PAD, 123456, 7])
    found, expected = layer.loss(features, targets, smoothing).smoothed, reference(layer, features, targets, smoothing)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, layer, features), gradients(expected, layer, features))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_in_bfloat16(smoothing: float) -> None:
    """Under autocast, products are in bf16, but sums, gradients and the softmax are in fp32."""
    layer = randomise(OutputLayer(D, V))
    features = noise(len(TARGETS), D, dtype=torch.float32).requires_grad_()
    expected = reference(layer, features, TARGETS, smoothing)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer.loss(features, TARGETS, smoothing)
    assert found.smoothed.dtype == torch.float32
    torch.testing.assert_close(found.smoothed, expected, rtol=0.01, atol=0)
    torch.testing.assert_close(
        gradients(found.smoothed, layer, features), gradients(expected, layer, features), rtol=0.05, atol=0.02
    )


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_correct_predictions_are_marked_in_evaluation(context: type[torch.no_grad]) -> None:
    """``correct`` marks the targets that are the likeliest word, except padding."""
    layer = randomise(OutputLayer(D, V))
    layer.bias.data[PAD] = -99
    features = noise(len(TARGETS), D, dtype=torch.float32)
    best = layer(features).argmax(-1)
    targets = torch.where(torch.tensor([1, 1, 0, 0, 1, 0, 0]).bool(), best, best % (V - 1) + 1)
    targets[1] = PAD
    with context():
        found = layer.loss(features, targets)
    assert found.correct.tolist() == (targets.eq(best) & targets.ne(PAD)).tolist()
    assert found.correct.sum() == 2
    assert not found.smoothed.requires_grad
    torch.testing.assert_close(found.smoothed, reference(layer, features, targets, 0.0).detach())


def test_all_padding() -> None:
    """The loss of padding, or of no tokens, is 0, and its gradients are 0."""
    layer, features = OutputLayer(D, V), noise(3, D, dtype=torch.float32).requires_grad_()
    loss = layer.loss(features, torch.full((3,), PAD), 0.1).smoothed
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients(loss, layer, features))
    assert layer.loss(features[:0], TARGETS[:0]).smoothed == 0


def test_tied_weights_get_the_gradients_of_both_layers() -> None:
    """The gradient of a shared table is the sum of that of the embedding and that of the output layer."""
    table = nn.Embedding(V, D, padding_idx=PAD).double()
    layer = OutputLayer(D, V, tied=table).double()
    assert layer.weight is table.weight
    tokens = torch.tensor([4, 4, 9, 10, 1, 2, 3])
    (found,) = torch.autograd.grad(layer.loss(table(tokens), TARGETS, 0.1).smoothed, [table.weight])
    copy = table.weight.detach().clone().requires_grad_()
    logits = F.embedding(tokens, copy, padding_idx=PAD) @ copy.t()
    loss = F.cross_entropy(logits, TARGETS, label_smoothing=0.1, reduction="sum", ignore_index=PAD)
    torch.testing.assert_close(found, torch.autograd.grad(loss, [copy])[0])


def test_log_probs() -> None:
    """They equal the log_softmax of the logits, in fp32 for a bfloat16 model too."""
    layer = randomise(OutputLayer(D, V))
    features = noise(2, 3, D, dtype=torch.float32)
    torch.testing.assert_close(layer.log_probs(features), layer(features).log_softmax(-1))
    assert layer.bfloat16().log_probs(features.bfloat16()).dtype == torch.float32


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"\(11, 5\) matrix, the embedding has \(11, 6\)"):
        OutputLayer(D, V, tied=nn.Embedding(V, 6))


def test_log_likelihoods_of_alternatives_over_several_blocks() -> None:
    """They equal those picked from all log-probabilities, with the same gradients; a block has one token."""
    layer, features = OutputLayer(2, 2**20), noise(2, 2, 3, 2, dtype=torch.float32).requires_grad_()
    tokens = torch.tensor([[5, 2**20 - 1], [0, 123456]])
    found = layer.log_likelihoods(features, tokens)
    expected = layer.log_probs(features).gather(3, tokens[..., None, None].expand(-1, -1, 3, 1)).squeeze(3)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found.sum(), layer, features), gradients(expected.sum(), layer, features))
