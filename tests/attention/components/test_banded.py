"""Tests of the fast layouts of patterns: contexts and gradients equal those with masks over the whole sequence, memory
is linear, and layouts are used only where they are right.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seq2seq.attention.components import banded, patterns
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import AttentionOutput, Memory, Query, SourceSpec
from tests.attention.walk import EXACT, close, walk
from tests.catalogue import WIDTH, mechanism, memory, noise

H, D = 2, 3
both_slots = pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])
Rule = Callable[[Tensor, Tensor], Tensor]


def soft(queries: Tensor, keys: Tensor, values: Tensor, keep: Tensor) -> Tensor:
    """Return softmax(q . k) v by the plain formula."""
    weights = (queries @ keys.mT).masked_fill(~keep, -1e30).softmax(-1)
    return weights.masked_fill(~keep, 0.0) @ values


def compare(layout: Callable[..., tuple[Tensor, Tensor]], rule: Rule, lengths: tuple[int, ...], causal: bool) -> None:
    """Check that ``layout`` gives the contexts and gradients of a softmax over all pairs that ``rule`` allows."""
    size = max(lengths)
    mask = torch.arange(size) < torch.tensor(lengths)[:, None]
    i, j = torch.arange(size)[:, None], torch.arange(size)
    keep = (rule(i, j) & ((j <= i) | (not causal)) & mask[:, None])[:, None]  # (B, 1, S, S)
    inputs = [noise(len(lengths), H, size, D, seed=seed).requires_grad_() for seed in range(3)]
    context, sees = layout(*inputs, soft, mask=mask, causal=causal)
    expected = soft(*inputs, keep)
    close(context, expected)
    assert torch.equal(sees, keep.any(-1)[:, 0])
    weight = noise(*context.shape, seed=3)
    ours, theirs = (torch.autograd.grad((x * weight).sum(), inputs) for x in (context, expected))
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@both_slots
@pytest.mark.parametrize("lengths", [(12, 7, 0), (13, 13), (3, 1), (1,)], ids=str)
@pytest.mark.parametrize("reach", [1, 2, 3, 5, 20])
def test_banded(reach: int, lengths: tuple[int, ...], causal: bool) -> None:
    """Parts may be as long as the reach or longer. S may be any number, also one shorter than a part."""
    for size in (reach, reach + 1):
        compare(partial(banded.banded, radius=reach, size=size), lambda i, j: (i - j).abs() <= reach, lengths, causal)


@both_slots
@pytest.mark.parametrize("lengths", [(12, 7, 0), (13, 13), (3, 1), (1,)], ids=str)
@pytest.mark.parametrize(("reach", "tokens"), [(1, 1), (2, 3), (3, 2), (20, 1)])
def test_banded_with_tokens_that_see_all(reach: int, tokens: int, lengths: tuple[int, ...], causal: bool) -> None:
    def rule(i: Tensor, j: Tensor) -> Tensor:
        """Allow |i - j| <= reach and all pairs with a global token."""
        return (i < tokens) | (j < tokens) | ((i - j).abs() <= reach)

    compare(partial(banded.banded, radius=reach, size=reach, tokens=tokens), rule, lengths, causal)


@both_slots
@pytest.mark.parametrize("lengths", [(12, 7, 0), (13, 13), (3, 1), (1,)], ids=str)
@pytest.mark.parametrize("size", [1, 3, 4, 20])
def test_blocked(size: int, lengths: tuple[int, ...], causal: bool) -> None:
    compare(partial(banded.blocked, size=size), lambda i, j: i // size == j // size, lengths, causal)


@both_slots
@pytest.mark.parametrize("lengths", [(17, 7, 0), (24,), (3, 1), (1,)], ids=str)
@pytest.mark.parametrize(("reach", "dilation"), [(1, 1), (1, 3), (2, 2), (3, 5)])
def test_dilated(reach: int, dilation: int, lengths: tuple[int, ...], causal: bool) -> None:
    def rule(i: Tensor, j: Tensor) -> Tensor:
        """Allow distances that are multiples of the dilation, up to reach times the dilation."""
        return ((i - j).abs() <= reach * dilation) & ((i - j) % dilation == 0)

    compare(partial(banded.dilated, radius=reach, dilation=dilation, size=reach), rule, lengths, causal)


PATTERNS: dict[str, list[str]] = {
    "sliding_window": ["reach=3"],
    "dilated": ["reach=2", "dilation=3"],
    "block_local": ["size=5"],
    "longformer": ["reach=3", "tokens=2"],
}
every_pattern = pytest.mark.parametrize("name", PATTERNS)
S = 29


@pytest.fixture
def used_layouts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Use the layouts for short sequences too, and return a list of the layouts that were used."""
    monkeypatch.setattr(patterns, "MIN_BANDED_LENGTH", 1)
    monkeypatch.setattr(patterns, "MIN_PART_SIZE", 1)
    used: list[str] = []
    for name in ("banded", "blocked", "dilated"):
        layout = getattr(banded, name)

        def record(*inputs: Any, layout: Any = layout, name: str = name, **options: Any) -> Any:
            """Record the name of the layout and call it."""
            used.append(name)
            return layout(*inputs, **options)

        monkeypatch.setattr(banded, name, record)
    return used


def build(name: str, causal: bool, *overrides: str, position: str = "none") -> ComposedAttention:
    """Build self-attention with this pattern."""
    source = SourceSpec(WIDTH, is_self=True, causal=causal, position=position)
    options = [f"self_attention.window.{option}" for option in PATTERNS[name]]
    return mechanism("self_attention", name, source, *options, *overrides)


def attend(ours: ComposedAttention, values: Memory, need_weights: bool) -> AttentionOutput:
    """Return the answer of self-attention over the whole sequence."""
    return walk(ours, values.values, values, need_weights=need_weights)


@both_slots
@every_pattern
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("position", ["none", "rotary"])
@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)], ids=str)
def test_layouts_equal_masks(
    name: str, causal: bool, groups: int, position: str, dtype: torch.dtype, used_layouts: list[str]
) -> None:
    """Without weights, layouts are used; contexts and gradients equal those with weights, which use masks."""
    ours = build(name, causal, f"self_attention.groups={groups}", position=position).to(dtype)
    values = memory(S, 9, 0, 1, dtype=dtype)
    values.values.requires_grad_()
    leaves = [values.values, *ours.parameters()]
    answers = [attend(ours, values, need_weights) for need_weights in (True, False)]
    assert used_layouts
    close(answers[1].context, answers[0].context, dtype)
    weight = noise(*answers[0].context.shape, seed=3, dtype=dtype)
    with_masks, in_parts = (torch.autograd.grad((x.context * weight).sum(), leaves) for x in answers)
    for a, b in zip(in_parts, with_masks, strict=True):
        torch.testing.assert_close(a, b, rtol=20 * EXACT[dtype], atol=20 * EXACT[dtype])


@every_pattern
def test_unsupported_inputs_use_masks(name: str, used_layouts: list[str]) -> None:
    """Contexts equal those with masks, and no layout is used.

    The inputs are shuffled values, queries at other places than the values and a further mask; then ALiBi and an
    additive score.
    """
    ours, values = build(name, False), memory(S, 9)
    order = torch.randperm(S)
    shuffled = Memory(values.values[:, order], values.mask[:, order], values.positions[:, order], values.extent)
    close(walk(ours, values.values, shuffled, need_weights=False).context, attend(ours, values, True).context)
    close(
        walk(ours, values.values[:, 4:], values, need_weights=False).context,
        walk(ours, values.values[:, 4:], values).context,
    )
    prepared = ours.prepare(values)
    later = Query(values.values, torch.arange(4, S + 4).expand(2, -1))
    close(ours(later, prepared, {}).context, ours(later, prepared, {}, need_weights=True).context)
    mask = noise(2, S, S) > -1
    close(
        walk(ours, values.values, values, mask=mask, need_weights=False).context,
        walk(ours, values.values, values, mask=mask).context,
    )
    biased = build(name, False, position="alibi")
    close(attend(biased, values, False).context, attend(biased, values, True).context)
    additive = build(name, False, "attention/score@self_attention.score=additive")
    close(attend(additive, values, False).context, attend(additive, values, True).context)
    assert not used_layouts
    attend(ours, values, False)
    assert used_layouts


def test_long_sequences_use_layouts() -> None:
    """Layouts are used from 256 positions on. This test doesn't use the fixture that changes this number."""
    ours = build("sliding_window", False)
    assert ours.window.fast_path(Query(noise(1, 255, WIDTH), torch.arange(255)[None]), memory(255)) is None
    assert ours.window.fast_path(Query(noise(1, 256, WIDTH), torch.arange(256)[None]), memory(256)) is not None
    values = memory(300, 128)
    close(attend(ours, values, False).context, attend(ours, values, True).context)


@both_slots
@every_pattern
def test_parts_run_in_the_flash_kernel(name: str, causal: bool, used_layouts: list[str]) -> None:
    """Each part runs in the flash kernel, which stores no weights. A mask that it doesn't support would raise."""
    ours, values = build(name, causal).float(), memory(S, 9, dtype=torch.float32)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        attend(ours, values, False)
    assert used_layouts


@every_pattern
def test_dropout(name: str, used_layouts: list[str]) -> None:
    """Dropout acts on the weights.

    With values of 1 and without W_o, a context is the sum of the weights that dropout keeps, and its mean is 1.
    """
    ours = build(name, False, "self_attention.dropout=0.5")
    ours.key_value.weight.data.zero_()
    ours.key_value.bias.data.fill_(1.0)
    ours.output = nn.Identity()
    values = memory(40, 40)
    close(attend(ours, values, False).context, torch.ones(2, 40, WIDTH).double())
    ours.train()
    torch.manual_seed(0)
    context = attend(ours, values, False).context
    assert used_layouts[: len(used_layouts) // 2] == used_layouts[len(used_layouts) // 2 :]
    assert context.std() > 0.2
    assert context.mean().item() == pytest.approx(1.0, abs=0.1)


@both_slots
@every_pattern
def test_memory_is_linear_in_the_length(name: str, causal: bool) -> None:
    """The memory for the backward pass doubles with the length, and no stored tensor has S^2 / 2 elements."""
    ours = build(name, causal)
    kept, largest = [], []
    for length in (512, 1024):
        sizes: list[int] = []

        def record(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            """Record the size of a stored tensor."""
            sizes.append(x.numel())
            return x

        values = memory(length, dtype=torch.float64)
        values.values.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(record, lambda x: x):
            attend(ours, values, False)
        kept.append(sum(sizes))
        largest.append(max(sizes))
    assert kept[1] < 2.1 * kept[0]
    assert largest[1] < 1024 * 512


@every_pattern
def test_bfloat16(name: str, used_layouts: list[str]) -> None:
    """Contexts under autocast are near those in fp64."""
    ours, values = build(name, False), memory(S, 9)
    exact = attend(ours, values, True).context
    with torch.autocast("cpu", torch.bfloat16):
        rough = walk(ours.float(), values.values.float(), memory(S, 9, dtype=torch.float32), need_weights=False)
    assert used_layouts
    torch.testing.assert_close(rough.context.double(), exact, rtol=0.1, atol=0.1)
