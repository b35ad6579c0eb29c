"""Tests of filtering and smoothing in a Markov chain: they equal sums over all paths of a small case."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from seq2seq.layers.chain import filtered, log_weights, smoothed
from tests.attention.walk import close
from tests.catalogue import noise

B, T, J = 2, 4, 3


def random_chain() -> tuple[Tensor, Tensor, Tensor]:
    """Return transitions (B, T, J, J), some of which are 0, evidence (B, T, J), and the first distribution (B, J)."""
    transitions = noise(B, T, J, J, seed=1).masked_fill(noise(B, T, J, J, seed=2) > 1, -torch.inf).softmax(-1)
    return transitions, noise(B, T, J, seed=3), noise(B, J, seed=4).softmax(-1)


def paths(transitions: Tensor, evidence: Tensor, before: Tensor, steps: int) -> dict[tuple[int, ...], Tensor]:
    """Return the probability (B,) of each path a_{-1}, a_0 .. a_{steps-1} with the words that were read before."""
    found = {}
    for path in product(range(J), repeat=steps + 1):
        found[path] = before[:, path[0]]
        for t in range(steps):
            seen = evidence[:, t, path[t]].exp()
            found[path] = found[path] * seen * transitions[:, t, path[t], path[t + 1]]
    return found


def test_filter_equals_the_sum_over_all_paths() -> None:
    """At each step, p(a_t | y_<t) is the sum of the paths that end in a_t, divided by that of all paths."""
    transitions, evidence, before = random_chain()
    found, last = filtered(transitions, evidence, before)
    for t in range(T):
        ends = [
            sum(p for path, p in paths(transitions, evidence, before, t + 1).items() if path[-1] == j) for j in range(J)
        ]
        expected = torch.stack(ends, -1)
        close(found[:, t], expected / expected.sum(-1, keepdim=True))
    close(last, found[:, -1])


def test_parts_of_a_chain_follow_each_other() -> None:
    transitions, evidence, before = random_chain()
    whole, end = filtered(transitions, evidence, before)
    first, between = filtered(transitions[:, :1], evidence[:, :1], before)
    rest, last = filtered(transitions[:, 1:], evidence[:, 1:], between)
    close(torch.cat((first, rest), 1), whole)
    close(last, end)


def test_a_step_without_transitions_is_left_out() -> None:
    """Its prediction is 0, and the next step follows the one before it."""
    transitions, _, before = random_chain()
    transitions[0, 1] = 0.0
    found, last = filtered(transitions, None, before)
    assert not found[0, 1].any()
    close(found[0, 2], found[0, 0] @ transitions[0, 2])
    assert last[0].any()


def test_gradients_are_those_of_finite_differences() -> None:
    transitions, evidence, before = random_chain()
    logits = transitions.clamp(min=1e-3).log().requires_grad_()
    inputs = (logits, evidence.requires_grad_(), before.log().requires_grad_())
    assert gradcheck(lambda a, e, b: filtered(a.softmax(-1), e, b.softmax(-1))[0], inputs)


@pytest.mark.parametrize("length", [1, 3, T])
def test_posterior_equals_the_sum_over_all_paths(length: int) -> None:
    """The first sentence has ``length`` words, the second T: padding changes nothing."""
    transitions, words, before = random_chain()
    evidence = torch.cat((torch.zeros(B, 1, J).double(), words[:, :-1]), 1)
    prior, _ = filtered(transitions, evidence, before)
    real = torch.arange(T) < torch.tensor([[length], [T]])
    found = smoothed(prior.log() + words, words, transitions, real)
    for row, size in enumerate((length, T)):
        weights = torch.zeros(size, J).double()
        for path, p in paths(transitions, evidence, before, size).items():
            for t, j in enumerate(path[1:]):
                weights[t, j] += p[row] * words[row, size - 1, path[-1]].exp()
        close(found[row, :size], weights / weights.sum(-1, keepdim=True))


def test_posterior_of_independent_alignments_is_bayes_rule() -> None:
    """With prior (1/4, 3/4) and likelihoods (4/5, 2/5), the posterior is (2/5, 3/5)."""
    prior, likelihood = torch.tensor([[0.25, 0.75], [0.8, 0.4]], dtype=torch.float64)
    joint, evidence = (prior * likelihood).log().view(1, 1, 2), likelihood.log().view(1, 1, 2)
    found = smoothed(joint, evidence, None, torch.ones(1, 1, dtype=torch.bool))
    close(found, torch.tensor([[[0.4, 0.6]]], dtype=torch.float64))


def test_logarithms_of_weights() -> None:
    """A weight that is too small counts as 0; a row of zeros has all its mass at the first position."""
    found = log_weights(torch.tensor([[0.5, 1e-30, 0.5], [0.0, 0.0, 0.0]]))
    half = torch.tensor(0.5).log().item()
    assert found.tolist() == [[half, -torch.inf, half], [0.0, -torch.inf, -torch.inf]]
