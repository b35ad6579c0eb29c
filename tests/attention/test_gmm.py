"""Tests of Gaussian mixture attention: it equals Graves' formula, computed bump by bump and position by position."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from seq2seq.attention.gmm import GMMAttention
from seq2seq.attention.types import SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import close, walk
from tests.catalogue import memory, noise, randomise

Q, V, T = 4, 6, 5
LENGTHS = (7, 3, 0)


def build(**options: object) -> GMMAttention:
    """Return Gaussian mixture attention with random parameters."""
    return randomise(GMMAttention(Q, SourceSpec(V), **options).double()).eval()


def initial(**options: object) -> GMMAttention:
    """Return attention with initial biases and zero weights, so that it ignores the query."""
    attention = GMMAttention(Q, SourceSpec(V), **options).double().eval()
    nn.init.zeros_(attention.bumps.weight)
    return attention


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("step", [1, 3])
def test_formula(step: int, normalize: bool) -> None:
    """phi(t, u) = sum_k alpha_k exp(-beta_k (kappa_k - u)^2), where u counts from 1 and kappa starts at 0."""
    attention, queries = build(mixtures=3, normalize=normalize), noise(3, T, Q)
    source = memory(*LENGTHS, width=V, step=step)
    answer = walk(attention, queries, source)
    for b, length in enumerate(LENGTHS):
        places = [step * j + 1 for j in range(length)]
        kappa = [0.0] * 3
        for t in range(T):
            parameters = (attention.bumps.weight @ queries[b, t] + attention.bumps.bias).tolist()
            alpha, beta = [[math.exp(x) for x in parameters[i : i + 3]] for i in (0, 3)]
            kappa = [k + math.exp(x) for k, x in zip(kappa, parameters[6:], strict=True)]
            height = [[-beta[k] * (kappa[k] - u) ** 2 for u in places] for k in range(3)]
            phi = [[math.exp(x) for x in row] for row in height]
            if normalize:
                alpha = [a / sum(alpha) for a in alpha]
                phi = [torch.tensor(row, dtype=torch.float64).softmax(0).tolist() for row in height]
            weights = [sum(alpha[k] * phi[k][j] for k in range(3)) for j in range(length)]
            assert answer.weights[b, 0, t, :length].tolist() == pytest.approx(weights, abs=1e-10)
            context = sum((w * source.values[b, j] for j, w in enumerate(weights)), torch.zeros(V).double())
            torch.testing.assert_close(answer.context[b, t], context)


@pytest.mark.parametrize("step", [1.0, 2.0])
def test_initial_window_moves_along_with_the_target(step: float) -> None:
    """With alpha = 1/K and beta = 1, the weight is exp(-d^2) at distance d from (t + 1) step - 1, counted from 0."""
    answer = walk(initial(advance=step), noise(1, 3, Q), memory(9, width=V))
    for t, row in enumerate(answer.weights[0, 0]):
        expected = [math.exp(-((u + 1 - (t + 1) * step) ** 2)) for u in range(9)]
        assert row.tolist() == pytest.approx(expected)
    assert answer.state["kappa"].tolist() == [pytest.approx([3 * step - 1] * 5)]


def test_window_only_moves_forward() -> None:
    attention, queries = build(), noise(1, 8, Q)
    kappas = [walk(attention, queries[:, :t], memory(5, width=V)).state["kappa"] for t in range(1, 9)]
    assert (torch.cat(kappas).diff(dim=0) > 0).all()


def test_sum_of_the_weights() -> None:
    """The sum may have any value as in the paper; with normalize it is one, wherever the bumps are."""
    assert (build().mass, build(normalize=True).mass) == ("free", "one")
    sums = walk(build(), noise(2, T, Q), memory(7, 3, width=V)).weights.sum(-1)
    assert sums.max() > 1.01
    assert sums.min() < 0.99
    far = walk(initial(advance=1000.0, normalize=True), noise(1, T, Q), memory(7, width=V)).weights[0, 0]
    close(far, torch.eye(7).double()[[6] * T])  # bumps past the end read the last position
    assert not walk(initial(advance=1000.0), noise(1, T, Q), memory(7, width=V)).weights.any()


@pytest.mark.parametrize("normalize", [False, True])
def test_masked_positions_get_no_weight(normalize: bool) -> None:
    attention, queries = build(normalize=normalize), noise(1, 2, Q)
    mask = torch.ones(1, 2, 7, dtype=torch.bool)
    mask[0, 0, 2:5] = False
    mask[0, 1] = False
    masked = walk(attention, queries, memory(7, width=V), mask=mask)
    whole = walk(attention, queries, memory(7, width=V))
    assert not masked.weights[0, 0, 0, 2:5].any()
    assert not masked.context[0, 1].any()
    close(masked.state["kappa"], whole.state["kappa"])
    if normalize:
        assert masked.weights[0, 0, 0].sum().item() == pytest.approx(1)
    else:
        close(masked.weights[0, 0, 0], whole.weights[0, 0, 0] * mask[0, 0])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("parameter", range(3), ids=["alpha", "beta", "kappa"])
@pytest.mark.parametrize("bias", [100.0, -100.0])
def test_extreme_parameters(bias: float, parameter: int, normalize: bool) -> None:
    """Outputs and gradients are finite, although exp(100) overflows in fp32 and exp(12) in fp16."""
    for dtype in (torch.float32, torch.float16):
        attention = GMMAttention(Q, SourceSpec(V), normalize=normalize)
        attention.bumps.bias.data.view(3, -1)[parameter] = bias
        attention.to(dtype)
        source, queries = memory(7, 3, 0, width=V, dtype=dtype), noise(3, T, Q, dtype=dtype).requires_grad_()
        source.values.requires_grad_()
        answer = walk(attention, queries, source)
        assert answer.weights.isfinite().all() and answer.context.isfinite().all()
        total = answer.weights.sum(dtype=torch.float32) + answer.context.sum(dtype=torch.float32)
        (1e-4 * total).backward()  # keeps the gradients of weights of exp(10) = 22026 finite in fp16
        leaves = (queries, source.values, *attention.parameters())
        assert all(leaf.grad.isfinite().all() for leaf in leaves)
        if normalize:
            torch.testing.assert_close(answer.weights[:2].sum(-1).float(), torch.ones(2, 1, T), rtol=0, atol=2e-3)


def test_chunks_agree_at_the_largest_position() -> None:
    attention, queries = build(), noise(1, T, Q)
    attention.bumps.bias.data[-5:] = 100.0
    queries = queries.repeat(1, 20, 1)
    source = memory(5, width=V)
    answers = [walk(attention, queries, source, chunks=chunks).state["kappa"] for chunks in ((100,), (1,) * 100)]
    close(*answers)
    assert (answers[0] == 1e6).all()


def test_bumps_start_with_different_weights() -> None:
    """Bumps with equal weights would always get equal gradients."""
    attention = GMMAttention(Q, SourceSpec(V)).double()
    weights: Tensor = attention.bumps.weight.view(3, 5, Q)
    assert (weights[:, 1:] - weights[:, :1]).abs().amax(-1).min() > 0


def test_refusals() -> None:
    for options, message in [
        ({"mixtures": 0}, "at least 1"),
        ({"advance": 0.0}, "above 0"),
        ({"dropout": 1.5}, r"in 0\.\.1"),
    ]:
        with pytest.raises(UserError, match=message):
            GMMAttention(Q, SourceSpec(V), **options)
    with pytest.raises(UserError, match="image regions"):
        GMMAttention(Q, SourceSpec(V, axes=2))
    with pytest.raises(UserError, match="self-attention"):
        GMMAttention(Q, SourceSpec(V, is_self=True))
