"""Tests of copying: the mixture equals a sum over source positions in plain Python, and its loss equals autograd's."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from seq2seq.batch import PAD, UNK, Copies
from seq2seq.layers.cross_entropy import MIN_LOG_PROB
from seq2seq.layers.output import OutputLayer
from seq2seq.layers.pointer import Copying, Pointer

V, OWN = 7, 2


def make(seed: int = 0, batch: int = 2, length: int = 3, source: int = 5) -> tuple[Copying, torch.Tensor]:
    """Build random attention over random sources, and random log-probabilities of the vocabulary."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(UNK + 1, V + OWN, (batch, source), generator=random)
    ids[:, -1] = PAD
    ids[0, 1] = ids[0, 0]  # a word that occurs twice
    weights = torch.rand(batch, length, source, generator=random, dtype=torch.float64)
    weights = weights / weights.sum(-1, keepdim=True) * torch.rand(batch, length, 1, generator=random).double()
    weights = weights.masked_fill((ids == PAD).unsqueeze(1), 0.0)
    log_p = torch.randn(batch, length, V, generator=random, dtype=torch.float64).log_softmax(-1)
    return Copying(weights, Copies(ids, OWN)), log_p


def test_mixture_equals_the_sum_over_positions():
    """p(w) = (1 - sum_j a_j) P(w) + the sum of a_j over the positions j of w, and p sums to 1."""
    copying, log_p = make()
    p = copying.mix(log_p).exp()
    assert torch.allclose(p.sum(-1), torch.ones(2, 3, dtype=p.dtype))
    for b in range(2):
        for t in range(3):
            left = 1.0 - float(copying.weights[b, t].sum())
            for w in range(V + OWN):
                expected = left * float(log_p[b, t, w].exp()) if w < V else 0.0
                expected += sum(float(copying.weights[b, t, j]) for j in range(5) if copying.copies.ids[b, j] == w)
                assert p[b, t, w].item() == pytest.approx(expected)


def test_mixture_by_hand():
    """g = 0.5; attention is 0.5 and 0.25 at two places of an own word, and 0.25 at </s>, which is not copied."""
    pointer = Pointer(1, 1, 1)
    torch.nn.init.zeros_(pointer.gate.weight)
    torch.nn.init.zeros_(pointer.gate.bias)
    one = torch.zeros(1, 1, 1)
    copying = pointer(one, one, one, torch.tensor([[[0.5, 0.25, 0.25]]]), Copies(torch.tensor([[4, 4, PAD]]), 1))
    log_p = torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]).log()
    assert torch.allclose(copying.mix(log_p).exp(), torch.tensor([0.0625, 0.125, 0.1875, 0.25, 0.375]))
    assert copying.generated.item() == pytest.approx(0.625)


def test_mixture_without_copying_and_without_generation():
    """Zero weights give the log-probabilities of generation. Weights that sum to 1 give finite gradients."""
    copying, log_p = make()
    nothing = Copying(torch.zeros_like(copying.weights), copying.copies)
    assert torch.equal(nothing.mix(log_p)[..., :V], log_p) and nothing.mix(log_p)[..., V:].exp().sum() == 0
    weights = torch.zeros(1, 1, 2, requires_grad=True)
    everything = Copying(weights + torch.tensor([1.0, 0.0]), Copies(torch.tensor([[4, 5]]), 0))
    mixed = everything.mix(torch.randn(1, 1, V).log_softmax(-1))
    assert mixed[0, 0, 4] == 0.0 and mixed[0, 0].exp().sum() == 1.0
    mixed[0, 0, 4].backward()
    assert weights.grad is not None and weights.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_are_those_of_the_mixture(smoothing):
    """Losses and gradients equal those of -log p(y) with the smoothing of the vocabulary, computed by autograd."""
    copying, _ = make()
    layer = OutputLayer(4, V).double()
    features = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    weights = copying.weights.clone().requires_grad_()
    copying = Copying(weights, copying.copies)
    targets = torch.tensor([[4, V, int(copying.copies.ids[0, 0])], [V + 1, 5, PAD]])
    loss = layer.loss(
        features, targets.flatten(), smoothing, copying.generated.flatten(), copying.of(targets).flatten()
    )
    given = features, weights, layer.weight, layer.bias
    found = torch.autograd.grad(3.0 * loss.smoothed, given)

    log_p = F.log_softmax(layer(features), -1).view(2, 3, V)
    p = torch.zeros(2, 3, V + OWN, dtype=torch.float64)
    p[..., :V] = log_p.exp() * (1.0 - weights.sum(-1, keepdim=True))
    p = p.scatter_add(2, copying.copies.ids.unsqueeze(1).expand_as(weights), weights)
    picked = p.gather(2, targets.unsqueeze(2)).squeeze(2)
    real = (targets != PAD) & (picked > math.exp(MIN_LOG_PROB))
    nll = -torch.where(real, picked, 1.0).log()
    nll = nll - MIN_LOG_PROB * ((targets != PAD) & ~real)
    expected = ((1 - smoothing) * nll - smoothing * log_p.mean(-1) * (targets != PAD)).sum()
    assert loss.nll.item() == pytest.approx(nll.sum().item())
    assert loss.smoothed.item() == pytest.approx(expected.item())
    for ours, theirs in zip(found, torch.autograd.grad(3.0 * expected, given), strict=True):
        assert torch.allclose(ours, theirs)


def test_impossible_targets_give_no_gradient():
    """An unknown target that is not copied has the loss -MIN_LOG_PROB and zero gradients."""
    layer = OutputLayer(4, V)
    features = torch.randn(1, 4, requires_grad=True)
    copied = torch.zeros(1, requires_grad=True)
    loss = layer.loss(features, torch.tensor([V]), 0.0, 1.0 - copied, copied)
    assert loss.nll.item() == pytest.approx(-MIN_LOG_PROB)
    loss.smoothed.backward()
    assert features.grad is not None and not features.grad.any()
    assert copied.grad is not None and not copied.grad.any()
