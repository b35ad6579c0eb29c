"""Tests of dropout: its rate, scale, independence, gradient and seeds."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seq2seq.layers.dropout import Dropout, dropout, keep_mask, relu_dropout
from seq2seq.layers.plain_kernels import plain_kernels

N = 200_001  # not a multiple of four: the last random word is used in part


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rate_and_scale(p: float, dtype: torch.dtype) -> None:
    """Elements are kept with probability 1 - p and divided by 1 - p."""
    out = dropout(torch.full((N,), 3.0, dtype=dtype), p)
    kept = out != 0
    assert out.dtype == dtype
    assert abs(kept.double().mean().item() - (1 - p)) < 5 * (p * (1 - p) / N) ** 0.5
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 3 / (1 - p)))


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5])
def test_neighbours_are_independent(lag: int) -> None:
    """Neighbouring elements are not correlated, although four of them share one random word."""
    kept = keep_mask((N,), 0.3).ne(0).double() - 0.7
    correlation = (kept[lag:] * kept[:-lag]).mean() / (0.3 * 0.7)
    assert abs(correlation.item()) < 5 / N**0.5


def test_gradient_is_the_mask() -> None:
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    out = dropout(x, 0.4)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x, out)


def test_input_is_returned_where_nothing_is_dropped() -> None:
    """The input is returned if p is 0 or in evaluation; empty tensors are accepted."""
    x = torch.randn(3, 4)
    assert dropout(x, 0.0) is x
    assert dropout(x, 0.5, training=False) is x
    assert Dropout(0.5).eval()(x) is x
    assert dropout(torch.empty(0, 4), 0.5).shape == (0, 4)


def test_everything_dropped() -> None:
    """p = 1 gives zeros and zero gradients."""
    x = torch.randn(3, 4, requires_grad=True)
    out = dropout(x, 1.0)
    out.sum().backward()
    assert not out.any()
    assert not x.grad.any()


def test_seeds() -> None:
    """A seed repeats the draws, also for tensors that are not contiguous, and calls draw different masks."""
    x = torch.ones(5, 3).t()  # not contiguous
    first = [dropout(x, 0.5) for _ in range(2)]
    torch.manual_seed(0)
    again = [dropout(x, 0.5) for _ in range(2)]
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert not torch.equal(dropout(torch.ones(99), 0.5), dropout(torch.ones(99), 0.5))


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_refusals(p: float) -> None:
    with pytest.raises(ValueError, match=f"dropout={p} must be"):
        Dropout(p)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_relu_dropout_is_dropout_of_relu(p: float) -> None:
    """Draws, values and gradients equal those of dropout(relu(x))."""
    results = []
    for compute in (lambda x: relu_dropout(x, p), lambda x: dropout(torch.relu(x), p)):
        torch.manual_seed(5)
        x = torch.randn(37, 11, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(37, 11, dtype=torch.float64)
        out = compute(x)
        (out * weights).sum().backward()
        results.append((out.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1])
    assert torch.equal(relu_dropout(x.detach(), p, training=False), torch.relu(x.detach()))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_plain_dropout_equals_pytorch(p: float) -> None:
    """Draws, values and gradients equal those of ``F.dropout``."""
    for compute, reference in ((dropout, F.dropout), (relu_dropout, lambda x, p: F.dropout(F.relu(x), p))):
        results = []
        for function in (compute, reference):
            torch.manual_seed(5)
            x = torch.randn(37, 11, dtype=torch.float64, requires_grad=True)
            with plain_kernels():
                out = function(x, p)
            out.square().sum().backward()
            results.append((out.detach(), x.grad))
        assert torch.equal(results[0][0], results[1][0])
        torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_fast_dropout_has_the_distribution_of_pytorchs(p: float) -> None:
    """Kept elements have the values and gradients of ``F.dropout``.

    The shares of kept elements agree within five standard errors.
    """
    kept = []
    for compute in (dropout, F.dropout):
        x = torch.full((N,), 3.0, dtype=torch.float64, requires_grad=True)
        out = compute(x, p)
        out.sum().backward()
        assert out.unique().tolist() == pytest.approx([0.0, 3 / (1 - p)])
        assert x.grad.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
        kept.append(out.ne(0).double().mean().item())
    assert abs(kept[0] - kept[1]) < 5 * (2 * p * (1 - p) / N) ** 0.5
