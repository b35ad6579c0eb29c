"""Tests of mechanisms in 16 bits: penalties, log-probabilities and alternatives are near those in fp64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Additive, Dot, General
from seq2seq.attention.components.windows import Global
from seq2seq.attention.coverage import CoverageAttention
from seq2seq.attention.latent_alignment import HardMarginalAttention
from seq2seq.attention.types import AttentionOutput, Memory, SourceSpec
from tests import seeding
from tests.attention.walk import ask, walk
from tests.catalogue import WIDTH, mechanism, memory, noise

T, S = 5, 6
CROSS = SourceSpec(WIDTH, input_dim=WIDTH)
CASES = {
    "coverage": ["attention=coverage"],
    "linguistic": ["attention=coverage", "attention.kind=linguistic"],
    "neural": ["attention=coverage", "attention.kind=neural"],
    "hard": ["attention=hard", "attention.selection.soft=0"],
    "hard_marginal": ["attention=hard_marginal"],
    "first_order": ["attention=first_order"],
    "elbo": ["attention=variational"],
    "sample": ["attention=variational", "attention.mode=sample"],
    "gmm": ["attention=gmm"],
    "gmm_normalized": ["attention=gmm", "attention.normalize=true"],
    "gumbel": ["attention=gumbel"],
    "monotonic": ["attention=monotonic"],
    "mocha": ["attention=mocha"],
}
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])


def build(*overrides: str) -> Attention:
    """Build the mechanism of the first override with the others."""
    return mechanism("attention", overrides[0].partition("=")[2], CROSS, *overrides[1:])


def full_answer(attention: Attention, source: Memory, queries: Tensor, mask: Tensor | None = None) -> AttentionOutput:
    """Return the answer with everything that the mechanism can report, given a target."""
    prepared = attention.prepare(source)
    target = attention.read_target(queries, torch.ones(queries.shape[:2], dtype=torch.bool))
    seeding.seed(0)
    return attention(ask(queries, 0, target), prepared, attention.initial_state(prepared), mask=mask, need_weights=True)


def reported(answer: AttentionOutput) -> dict[str, Tensor]:
    """Return all reported tensors by name, except context and weights."""
    found = dict(answer.penalties)
    if answer.log_prob is not None:
        found["log_prob"] = answer.log_prob
    if answer.alternatives is not None:
        found["log_weights"], found["contexts"] = answer.alternatives.log_weights, answer.alternatives.contexts
    return found


@pytest.mark.parametrize("name", CASES)
@HALVES
def test_reports_are_near_those_of_fp64(name: str, dtype: torch.dtype) -> None:
    """The reports are near those in fp64, and their gradients are finite."""
    attention = build(*CASES[name]).train()
    queries, source = 0.25 * noise(3, T, WIDTH, dtype=dtype), memory(S, 4, 0, dtype=dtype)
    exact = reported(full_answer(attention, replace(source, values=source.values.double()), queries.double()))
    for tensor in (queries, source.values):
        tensor.requires_grad_()
    ours = full_answer(attention.to(dtype), source, queries)
    if name not in ("hard", "sample"):  # whose draws can differ
        for key, value in reported(ours).items():
            torch.testing.assert_close(value.double(), exact[key], rtol=0.1, atol=0.1)
    values = [x.masked_fill(x == -torch.inf, 0.0) for x in reported(ours).values()]
    sum(x.float().sum() for x in (ours.context, *values)).backward()
    assert all(x.isfinite().all() for x in values)
    leaves = [queries, source.values, *attention.parameters()]
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("name", CASES)
@HALVES
def test_queries_with_nothing_to_attend_to(name: str, dtype: torch.dtype) -> None:
    """They get a zero context, zero penalties and finite gradients."""
    attention = build(*CASES[name]).to(dtype)
    queries, source = noise(3, T, WIDTH, dtype=dtype).requires_grad_(), memory(S, 0, 4, dtype=dtype)
    source.values.requires_grad_()
    mask = torch.ones(3, T, S, dtype=torch.bool)
    mask[2, 1] = False
    answer = full_answer(attention, source, queries, mask)
    for empty in (answer.context, *answer.penalties.values()):
        assert not empty[1].any()
        assert not empty[2, 1].any()
    sum(x.float().sum() for x in (answer.context, *answer.penalties.values())).backward()
    leaves = [queries, source.values, *attention.parameters()]
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)
    assert not source.values.grad[1].any()


@pytest.mark.parametrize("score", [Additive, Dot])
@HALVES
def test_words_of_zero_fertility_give_finite_results(score: type[Additive], dtype: torch.dtype) -> None:
    """Their coverage, a sum of up to 4 million, overflows fp16."""
    parts = {"score": score, "window": Global, "normalizer": Softmax}
    attention = CoverageAttention(WIDTH, SourceSpec(WIDTH), **parts, kind="linguistic").to(dtype)
    nn.init.constant_(attention.fertility.weight, -100.0)
    source = memory(4, 2, dtype=dtype)
    source = replace(source, values=source.values.abs().requires_grad_())
    answer = walk(attention, noise(2, T, WIDTH, dtype=dtype), source)
    answer.context.float().sum().backward()
    assert answer.state["coverage"].max() > 1e6
    assert answer.weights.isfinite().all()
    assert all(x.grad is None or x.grad.isfinite().all() for x in (source.values, *attention.parameters()))


@HALVES
def test_small_weights_have_finite_gradients(dtype: torch.dtype) -> None:
    """d log a / da = 1/a overflows fp16 where a is below 1/65504. The likeliest word can have such a weight."""
    attention = HardMarginalAttention(WIDTH, CROSS, score=General, window=Global, normalizer=Softmax).to(dtype)
    nn.init.eye_(attention.score.weight[0])
    source = memory(4, dtype=dtype)
    depth = torch.tensor([0.0, -5.0, -11.0, -15.0], dtype=dtype) / WIDTH
    source = replace(source, values=depth[None, :, None].expand(1, 4, WIDTH).clone().requires_grad_())
    found = full_answer(attention, source, torch.ones(1, T, WIDTH, dtype=dtype)).alternatives
    assert found.log_weights[0, 0, :2].isfinite().all()
    torch.logsumexp(found.log_weights + torch.tensor([-40.0, -40.0, 0.0, 0.0]), -1).sum().backward()
    assert all(x.grad.isfinite().all() for x in (source.values, *attention.parameters()))
