"""Tests of the seven laws of ``seq2seq/attention/base.py``, for every file of ``conf/attention`` and
``conf/self_attention`` in every slot that the file supports. A new file is tested as soon as it exists.

Memory positions in the cross slot are three apart, so that code which counts places instead of reading positions fails.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from seq2seq.attention.base import Attention
from seq2seq.attention.types import Alternatives, Memory, SourceSpec, select_rows
from tests import seeding
from tests.attention.walk import EXACT, ask, close, cut, outcome, same, walk
from tests.catalogue import WIDTH, choices, mechanism, memory, noise, serves

RELATIVE = ("none", "rotary", "alibi")
SELF_SLOTS = {
    **{f"encoder_self-{p}": SourceSpec(WIDTH, is_self=True, position=p) for p in RELATIVE},
    **{f"decoder_self-{p}": SourceSpec(WIDTH, is_self=True, position=p, causal=True) for p in RELATIVE},
}
CROSS = SourceSpec(WIDTH, input_dim=WIDTH)
T, S = 6, 6


@dataclass(frozen=True)
class Case:
    """A file of the catalogue in one slot."""

    group: str
    name: str
    slot: str
    source: SourceSpec

    def build(self, *overrides: str, dtype: torch.dtype = torch.float64) -> Attention:
        """Build the mechanism with ``overrides``."""
        return mechanism(self.group, self.name, self.source, *overrides).to(dtype)

    def memory(self, *lengths: int, dtype: torch.dtype = torch.float64) -> Memory:
        """Build a memory of rows with these lengths."""
        return memory(*lengths, step=1 if self.source.causal else 3, dtype=dtype)

    def __str__(self) -> str:
        return f"{self.group}/{self.name}-{self.slot}"


CASES = [Case("attention", name, "cross", CROSS) for name in choices("attention")] + [
    Case("self_attention", name, slot, source)
    for name in choices("self_attention")
    for slot, source in SELF_SLOTS.items()
    if serves("self_attention", name, source)
]
every_case = pytest.mark.parametrize("case", CASES, ids=str, scope="module")  # ordered by case: each is built once
every_dtype = pytest.mark.parametrize(
    "dtype",
    [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)],  # fp64 shows most errors of fp32 too
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
slow = pytest.mark.slow
every_path = pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "fast"])


@pytest.mark.parametrize("group", ["attention", "self_attention"])
def test_every_file_serves_a_slot(group: str) -> None:
    assert {case.name for case in CASES if case.group == group} == set(choices(group))


@every_case
@every_dtype
@pytest.mark.parametrize(
    "chunks", [(1, 2, T - 3), *(pytest.param(c, marks=slow) for c in ((1,) * T, (2, T - 2), (T - 1, 1)))], ids=str
)
def test_chunks(case: Case, dtype: torch.dtype, chunks: tuple[int, ...]) -> None:
    """Several calls with parts of the queries equal one call, with and without weights."""
    attention = case.build(dtype=dtype)
    queries, source = noise(3, T, WIDTH, dtype=dtype), case.memory(S, 4, 2, dtype=dtype)
    whole = walk(attention, queries, source)
    same(walk(attention, queries, source, chunks=chunks), whole, dtype)
    fast = walk(attention, queries, source, chunks=chunks, need_weights=False)
    close(outcome(fast), outcome(whole), dtype)
    assert fast.weights is None


@every_case
@pytest.mark.parametrize("chunks", [(1, 2, T - 3), pytest.param((1,) * T, marks=slow)], ids=str)
def test_chunks_in_training(case: Case, chunks: tuple[int, ...]) -> None:
    """Random draws depend on the seed in the state and on positions, not on how the queries are split."""
    attention = case.build().train()
    queries, source = noise(3, T, WIDTH), case.memory(S, 0, 4)
    answers = []
    for parts in ((T,), chunks):
        seeding.seed(0)
        answers.append(walk(attention, queries, source, chunks=parts))
    same(*answers)


@every_case
@every_dtype
@every_path
def test_queries_with_nothing_to_attend_to(case: Case, dtype: torch.dtype, need_weights: bool) -> None:
    """They get a zero context, zero weights, a sentinel of 1 and finite gradients."""
    attention = case.build(dtype=dtype)
    queries, source = noise(3, T, WIDTH, dtype=dtype), case.memory(S, 0, 4, dtype=dtype)
    mask = torch.ones(3, T, S, dtype=torch.bool)
    mask[2, 1] = False
    for tensor in (queries, source.values):
        tensor.requires_grad_()
    answer = walk(attention, queries, source, mask=mask, need_weights=need_weights)
    context = answer.context
    for empty in (*([context] if answer.sentinel is None else []), *answer.penalties.values()):
        assert not empty[1].any()
        assert not empty[2, 1].any()
    if need_weights:
        assert not answer.weights[1].any()
        assert not answer.weights[2, :, 1].any()
    if answer.sentinel is not None:
        assert (answer.sentinel[1] == 1).all()
        assert (answer.sentinel[2, :, 1] == 1).all()
    inputs = [queries, source.values, *attention.parameters()]
    gradients = torch.autograd.grad((context * noise(*context.shape, dtype=dtype)).sum(), inputs, allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)
    assert gradients[1][0].any()
    assert not gradients[1][1].any()
    neighbour = walk(attention, queries[:1], source.select(torch.tensor([0])), need_weights=need_weights)
    close(context[:1], neighbour.context, dtype)


@every_case
@every_dtype
def test_weights(case: Case, dtype: torch.dtype) -> None:
    """Weights are 0 where masked, and their sums are as ``mass`` declares."""
    attention = case.build(dtype=dtype)
    queries, source = noise(3, T, WIDTH, dtype=dtype), case.memory(S, 4, 2, dtype=dtype)
    mask = noise(3, T, S, seed=3) > -1
    answer = walk(attention, queries, source, mask=mask)
    weights = answer.weights
    assert weights.dim() == 4
    assert weights.shape[0] == 3
    assert weights.shape[2:] == (T, S)
    visible = source.mask[:, None] & mask
    if case.source.causal:
        visible = visible & torch.ones(T, S, dtype=torch.bool).tril()
    assert not weights.masked_select(~visible[:, None]).any()
    assert attention.mass in ("one", "at_most_one", "free")
    if attention.mass != "free":
        total = weights.sum(-1) if answer.sentinel is None else weights.sum(-1) + answer.sentinel
        assert (weights >= 0).all()
        assert total.gt(0.01).any()
        assert (total <= 1 + EXACT[dtype]).all()
    if attention.mass == "one":
        close(total, total.ne(0).to(dtype), dtype)
    assert attention.alignment(weights).shape == (3, T, S)
    close(outcome(walk(attention, queries, source, mask=mask, need_weights=False)), outcome(answer), dtype)


@every_case
@every_dtype
@every_path
def test_padding_and_neighbours(case: Case, dtype: torch.dtype, need_weights: bool) -> None:
    """Neither the values in the padding nor the other rows of the batch change an answer."""
    attention = case.build(dtype=dtype)
    queries, source = noise(3, T, WIDTH, dtype=dtype), case.memory(S, 4, 2, dtype=dtype)
    answer = walk(attention, queries, source, need_weights=need_weights)
    noisy = replace(source, values=source.values + 1e3 * ~source.mask.unsqueeze(-1))
    same(walk(attention, queries, noisy, need_weights=need_weights), answer, dtype)
    alone = replace(cut(source, slice(0, 4)), extent=source.extent).select(torch.tensor([1]))
    steps = 4 if case.source.causal else T  # in a causal slot each query has one value
    trimmed = walk(attention, queries[1:2, :steps], alone, need_weights=need_weights)
    close(outcome(trimmed), outcome(answer)[1:2, :steps], dtype)
    if need_weights:
        close(trimmed.weights, answer.weights[1:2, :, :steps, :4], dtype)


@every_case
def test_order_in_memory(case: Case) -> None:
    """Places are read from ``positions``: values shuffled together with their positions give the same answer."""
    attention = case.build()
    queries, source = noise(2, T, WIDTH), case.memory(S, 4)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = Memory(source.values[:, order], source.mask[:, order], source.positions[:, order], source.extent)
    answer, moved = walk(attention, queries, source), walk(attention, queries, shuffled)
    expected = replace(answer, weights=answer.weights[..., order], state={})
    if answer.alternatives is not None:
        contexts, log_weights = answer.alternatives.contexts, answer.alternatives.log_weights
        expected = replace(expected, alternatives=Alternatives(contexts[:, :, order], log_weights[..., order]))
    same(replace(moved, state={}), expected)


@every_case
@every_path
def test_select(case: Case, need_weights: bool) -> None:
    """Reordering memory and state after two queries equals reordering all inputs at the start."""
    attention, index = case.build(), torch.tensor([2, 0, 0, 1])
    queries, source = noise(3, T, WIDTH), case.memory(S, 4, 2)
    expected = outcome(walk(attention, queries[index], source.select(index)))
    causal = case.source.causal
    grown = attention.prepare(cut(source, slice(0, 2)) if causal else source)
    grown = attention.extend(None, grown) if causal else grown
    state = attention(ask(queries[:, :2], 0), grown, attention.initial_state(grown), need_weights=need_weights).state
    grown, state = grown.select(index), select_rows(state, index)
    if causal:
        grown = attention.extend(grown, attention.prepare(cut(source, slice(2, S)).select(index)))
    rest = attention(ask(queries[index, 2:], 2), grown, state, need_weights=need_weights)
    close(outcome(rest), expected[:, 2:])


@pytest.mark.parametrize("case", [case for case in CASES if case.source.position != "none"], ids=str)
def test_relative_positions_change_the_answer(case: Case) -> None:
    """A mechanism that accepts rotary or ALiBi positions uses them."""
    queries, source = noise(1, T, WIDTH), case.memory(S)
    plain = replace(case, source=replace(case.source, position="none")).build()
    assert not torch.allclose(walk(case.build(), queries, source).context, walk(plain, queries, source).context)


@every_case
def test_calls_store_nothing_on_self(case: Case) -> None:
    attention = case.build()
    stored, shape = copy.deepcopy(attention.state_dict()), snapshot(attention)
    first = walk(attention, noise(3, T, WIDTH), case.memory(S, 4, 2), chunks=(2, 4)).context
    walk(attention, noise(2, 3, WIDTH, seed=5), case.memory(3, 1), need_weights=False)
    assert snapshot(attention) == shape
    assert all(torch.equal(tensor, stored[name]) for name, tensor in attention.state_dict().items())
    assert {name for name, _ in attention.named_buffers()} <= stored.keys()
    again = walk(attention, noise(3, T, WIDTH), case.memory(S, 4, 2), chunks=(2, 4)).context
    assert torch.equal(first, again)


def snapshot(module: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the attributes of each submodule by name. Tensors in them are compared by identity."""
    return {
        name: {key: dict(value) if isinstance(value, dict) else value for key, value in vars(part).items()}
        for name, part in module.named_modules()
    }


@every_case
def test_methods_have_the_arguments_of_the_base_class(case: Case) -> None:
    """A decoder calls every mechanism in the same way."""
    attention = case.build()
    for name in ("prepare", "extend", "initial_state", "forward", "alignment", "regulariser", "constrain"):
        ours, theirs = (inspect.signature(getattr(cls, name)) for cls in (type(attention), Attention))
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
    assert attention.context_dim == walk(attention, noise(1, T, WIDTH), case.memory(S)).context.shape[-1]
    assert all(term.dim() == 0 for term in attention.regulariser().values())


@every_case
def test_every_parameter_learns(case: Case) -> None:
    """Every parameter gets a gradient. A surrogate or biased gradient needs draws, which only training makes."""
    attention = case.build()
    attention.train(attention.gradient != "exact")
    seeding.seed(0)
    source = case.memory(S, 4, 2)
    source.values.requires_grad_()
    queries = noise(3, T, WIDTH)
    target = attention.read_target(queries, torch.ones(3, T, dtype=torch.bool))
    answer = walk(attention, queries, source, target=target)
    drawn = [] if answer.log_prob is None else [answer.log_prob]
    sum((x * noise(*x.shape, seed=4)).sum() for x in (answer.context, *drawn, *answer.penalties.values())).backward()
    assert source.values.grad is not None
    assert [name for name, p in attention.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_case
def test_terms_are_declared(case: Case) -> None:
    """``terms``, which the check of ``loss.weights`` reads, lists exactly the loss terms that the mechanism reports.

    The soft passes of ``hard`` report the same terms as its drawn passes.
    """
    attention = case.build().train()
    queries = noise(3, T, WIDTH)
    target = attention.read_target(queries, torch.ones(3, T, dtype=torch.bool))
    answer = walk(attention, queries, case.memory(S, 4, 2), target=target)
    found = {*answer.penalties, *attention.regulariser(), *([] if answer.log_prob is None else ["reinforce"])}
    assert found == {term for module in attention.modules() for term in getattr(module, "terms", ())}


@every_case
@every_path
def test_gradcheck(case: Case, need_weights: bool) -> None:
    """Exact gradients equal finite differences. Other tests compare surrogate gradients with enumeration."""
    attention = case.build()
    assert attention.gradient in ("exact", "surrogate", "biased")
    if attention.gradient == "exact":
        source = case.memory(3, 2)

        def outcomes(queries: Tensor, values: Tensor, *parameters: Tensor) -> Tensor:
            """Return the outcome; gradcheck changes ``parameters`` in place."""
            return outcome(walk(attention, queries, replace(source, values=values), need_weights=need_weights))

        inputs = (noise(2, 3, WIDTH).requires_grad_(), source.values.requires_grad_(), *attention.parameters())
        assert gradcheck(outcomes, inputs, fast_mode=True)


@every_case
@pytest.mark.parametrize(
    ("need_weights", "mode"),
    [
        *((True, "all"), (False, "autocast")),
        *(pytest.param(*one, marks=slow) for one in ((True, "autocast"), (False, "all"))),
    ],
)
def test_bfloat16(case: Case, need_weights: bool, mode: str) -> None:
    """Results in bfloat16, or under autocast, are near those in fp64, and gradients are finite."""
    dtype = torch.float32 if mode == "autocast" else torch.bfloat16
    attention = case.build(dtype=dtype)
    queries, source = noise(3, T, WIDTH, dtype=dtype), case.memory(S, 0, 2, dtype=dtype)
    exact = outcome(walk(case.build(), queries.double(), replace(source, values=source.values.double())))
    for tensor in (queries, source.values):
        tensor.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        found = outcome(walk(attention, queries, source, need_weights=need_weights))
    torch.testing.assert_close(found.double(), exact, rtol=0.1, atol=0.1)
    found.sum().backward()
    leaves = [queries, source.values, *attention.parameters()]
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)


@every_case
def test_state_dict(case: Case) -> None:
    """A mechanism with a loaded state dict gives the same contexts."""
    attention, other = case.build(), case.build()
    for parameter in other.parameters():
        nn.init.ones_(parameter)
    other.load_state_dict(attention.state_dict())
    queries, source = noise(3, T, WIDTH), case.memory(S, 4, 2)
    assert torch.equal(walk(attention, queries, source).context, walk(other, queries, source).context)


@every_case
def test_constrain_is_a_projection(case: Case) -> None:
    """A second call of ``constrain`` changes nothing."""
    attention = case.build()
    attention.constrain()
    once = copy.deepcopy(attention.state_dict())
    attention.constrain()
    assert all(torch.equal(tensor, once[name]) for name, tensor in attention.state_dict().items())
