"""Every normaliser: against its formula, and where nothing can be seen."""

from __future__ import annotations

import pytest
import torch

from seq2seq.attention.normalizers import Normalizer, Softmax
from seq2seq.config import build_node
from tests.attention.walk import close
from tests.catalogue import choices, config, noise


def build(name: str, heads: int) -> Normalizer:
    return build_node(config(f"attention/normalizer={name}").attention.normalizer)(heads)


def test_softmax_by_hand() -> None:
    scores = torch.tensor([0.0, 1.0, 3.0, 2.0]).double().log().view(1, 1, 1, 4)
    visible = torch.tensor([True, True, True, False])
    close(Softmax(1)(scores, visible), torch.tensor([[[[0, 0.25, 0.75, 0]]]], dtype=torch.float64))


@pytest.mark.parametrize("name", choices("attention/normalizer"))
def test_weights_over_what_is_seen(name: str) -> None:
    scores = (10 * noise(2, 3, 4, 5)).requires_grad_()
    visible = noise(2, 1, 4, 5, seed=1) > 0
    visible[0, :, 0] = False
    weights = build(name, 3)(scores, visible)
    assert (weights >= 0).all()
    assert not weights[~visible.expand_as(weights)].any()
    close(weights.sum(-1), visible.any(-1).double().expand(2, 3, 4))
    (gradient,) = torch.autograd.grad((weights * noise(2, 3, 4, 5, seed=2)).sum(), [scores])
    assert gradient.isfinite().all()
    assert not gradient[~visible.expand_as(weights)].any()


@pytest.mark.parametrize("name", choices("attention/normalizer"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_scores(name: str, dtype: torch.dtype) -> None:
    big = torch.finfo(dtype).max / 2
    scores = torch.tensor([[[[big, -big, 0.0], [-big, -big, -big]]]], dtype=dtype)
    weights = build(name, 1)(scores, torch.tensor([True, True, False]))
    assert weights[0, 0, :, :2].tolist() == [[1, 0], [0.5, 0.5]]
    assert not weights[..., 2].any()
