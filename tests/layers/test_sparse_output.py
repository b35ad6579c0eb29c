"""Tests of the sparse output layer: support, figures, names and refusals."""

from __future__ import annotations

import pytest
import torch

from seq2seq.batch import PAD
from seq2seq.errors import UserError
from seq2seq.layers.entmax import entmax
from seq2seq.layers.plain_kernels import plain_kernels
from seq2seq.layers.sparse_output import EntmaxOutput
from tests.catalogue import noise, randomise

D, V = 5, 11
TARGETS = torch.tensor([3, PAD, 10, 4, PAD, 1, 7])


def layer_and_features() -> tuple[EntmaxOutput, torch.Tensor]:
    """Return a layer with random weights, and features of each target."""
    return randomise(EntmaxOutput(D, V).double()), noise(len(TARGETS), D, seed=7)


def test_log_probs_are_minus_infinity_outside_the_support() -> None:
    layer, features = layer_and_features()
    p = entmax(layer(features), 1.5)
    found = layer.log_probs(features)
    assert torch.equal(found == -torch.inf, p == 0) and (p == 0).any()
    torch.testing.assert_close(found.exp(), p)


def test_figures_count_support_and_missed_targets() -> None:
    layer, features = layer_and_features()
    p, real = entmax(layer(features), 1.5), TARGETS != PAD
    for _ in range(2):
        found = layer.loss(features, TARGETS)
        assert found.figures["support_size"].tolist() == ((p > 0).sum(1) * real).tolist()
        missed = p.gather(1, TARGETS[:, None]).squeeze(1) == 0
        assert found.figures["zero_probability"].tolist() == (missed & real).tolist()
        assert found.correct.tolist() == ((p.argmax(1) == TARGETS) & real).tolist()
    assert (missed & real).any()


def test_losses_of_tokens_and_of_the_plain_kernel() -> None:
    """All three ways to the loss agree; ``token_losses`` has a gradient."""
    layer, features = layer_and_features()
    found = layer.loss(features, TARGETS)
    with plain_kernels():
        plain = layer.loss(features, TARGETS)
    each = layer.token_losses(features, TARGETS)
    torch.testing.assert_close(found.per_token, plain.per_token)
    torch.testing.assert_close(found.per_token, each.detach() * (TARGETS != PAD))
    assert each.requires_grad and found.nll == found.smoothed


@pytest.mark.parametrize(
    ("alpha", "name"), [(1.5, "loss_entmax15"), (2, "loss_entmax2"), (1.3, "loss_entmax13"), (1.01, "loss_entmax101")]
)
def test_name_of_the_loss_has_the_digits_of_alpha(alpha: float, name: str) -> None:
    assert EntmaxOutput(D, V, alpha=alpha).loss_name == name


@pytest.mark.parametrize("alpha", [1.0, 0.5, 2.5])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(UserError, match=rf"alpha={alpha} must lie in \[1.01, 2\]; 1 is decoder/output=softmax"):
        EntmaxOutput(D, V, alpha=alpha)
