"""Tests of the gradient of an update, against autograd on the mean loss and PyTorch's clipping."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.components.scores import Additive
from seq2seq.attention.components.windows import AdaptiveSpan
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.training.gradients import regularise, rescale
from seq2seq.training.optimization import parameter_groups

X, Y = torch.randn(7, 5), torch.randn(7, 3)


class Regularised(Attention):
    """Mechanism whose regulariser makes its only parameter small."""

    def __init__(self) -> None:
        super().__init__(1, SourceSpec(1))
        self.width = nn.Parameter(torch.tensor([2.0, -3.0]))

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        raise NotImplementedError

    def regulariser(self) -> dict[str, Tensor]:
        return {"width": self.width.square().sum()}


def summed(model: nn.Module) -> Tensor:
    """Return the sum of squared errors of the model on ``X`` and ``Y``."""
    return (model(X) - Y).square().sum()


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_mean_and_clipping_by_norm(clip: float | None) -> None:
    """The gradient equals that of the mean loss after ``clip_grad_norm_``."""
    ours = nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    summed(ours).backward()
    norm = rescale(ours.parameters(), 1 / 7, clip, "norm")
    (summed(theirs) / 7).backward()
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), clip or float("inf"))
    torch.testing.assert_close(norm, expected)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_clipping_by_value() -> None:
    """The gradient equals that of the mean loss after ``clip_grad_value_``."""
    ours = nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    summed(ours).backward()
    rescale(ours.parameters(), 1 / 7, 0.1, "value")
    (summed(theirs) / 7).backward()
    nn.utils.clip_grad_value_(theirs.parameters(), 0.1)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_regularisers_are_added_once_in_each_update() -> None:
    """d/dw (sum of losses / tokens + c R(w)), also where the loss is independent of w."""
    mechanism, model = Regularised(), nn.Linear(5, 3)
    both = nn.ModuleList([mechanism, model])
    (summed(model) + 5 * mechanism.width.sum()).backward()
    terms = regularise(both.parameters(), [mechanism], {"width": 0.25}, scale=1 / 7)
    rescale(both.parameters(), 1 / 7)
    assert terms["width"].item() == pytest.approx(13.0)
    torch.testing.assert_close(mechanism.width.grad, torch.full((2,), 5 / 7) + 0.25 * 2 * mechanism.width.detach())
    mechanism.width.grad = None
    regularise(both.parameters(), [mechanism], {"width": 0.25}, scale=1 / 7)
    rescale([mechanism.width], 1 / 7)
    torch.testing.assert_close(mechanism.width.grad, 0.5 * mechanism.width.detach())


def test_regulariser_without_coefficient_is_refused() -> None:
    with pytest.raises(UserError, match=r"loss\.weights\.width"):
        regularise([], [Regularised()], {}, 1.0)


def test_biases_norms_and_embeddings_do_not_decay() -> None:
    tied = nn.Embedding(4, 3)
    model = nn.ModuleDict({"e": tied, "n": nn.LayerNorm(3), "l": nn.Linear(3, 4), "r": nn.LSTM(3, 2)})
    decaying, constant = parameter_groups(model, "weights")
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decaying["params"]} == {"l.weight", "r.weight_ih_l0", "r.weight_hh_l0"}
    assert "weight_decay" not in decaying and constant["weight_decay"] == 0.0
    assert len(decaying["params"]) + len(constant["params"]) == len(names)
    (everything,) = parameter_groups(model, "all")
    assert len(everything["params"]) == len(names)


def test_scalars_and_biases_of_heads_do_not_decay() -> None:
    options = {"query_dim": 4, "key_dim": 4, "heads": 2, "source": SourceSpec(4)}
    model = nn.ModuleDict({"score": Additive(**options, bias=True), "window": AdaptiveSpan(4, 2, SourceSpec(4))})
    constant = {id(p) for p in parameter_groups(model, "weights")[1]["params"]}
    assert {name for name, p in model.named_parameters() if id(p) in constant} == {"score.bias", "window.fraction"}
