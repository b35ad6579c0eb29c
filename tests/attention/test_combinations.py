"""Tests of pairs of attention parts: each pair obeys the laws of attention, or is refused when it is built.

A part is a file of ``conf/attention/{score,window,normalizer,selection}``, an option of heads or a kind of positions.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from seq2seq.attention.base import Attention
from seq2seq.attention.components.scores import Dot
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import SourceSpec
from seq2seq.config.instantiate import build_node, plain
from seq2seq.errors import UserError
from tests import catalogue, seeding
from tests.attention.walk import close, same, walk
from tests.catalogue import CONF, WIDTH, choices, config, memory, noise, randomise
from tests.sampling import mostly_slow

T = 6
PARTS = ("score", "window", "normalizer", "selection")
HEADS: dict[str, dict[str, Any]] = {
    "one": {},
    "projected": {"project": True},
    "two": {"heads": 2},
    "shared": {"heads": 2, "groups": 1},
}
AXES = {kind: choices(f"attention/{kind}") for kind in PARTS} | {
    "heads": list(HEADS),
    "position": ["none", "rotary", "alibi"],
}
USUAL = {"score": "scaled_dot", "window": "global", "normalizer": "softmax", "selection": "soft"} | {
    "heads": "one",
    "position": "none",
}
SLOTS = {
    "cross": SourceSpec(WIDTH, input_dim=WIDTH),
    "encoder_self": SourceSpec(WIDTH, is_self=True),
    "decoder_self": SourceSpec(WIDTH, is_self=True, causal=True),
}
SMALL = {"reach": 2, "size": 2, "keys": 1, "tokens": 1, "max_span": 2, "ramp": 2}  # hide positions of short memories
Choice = tuple[tuple[str, str], ...]
"""Zero, one or two pairs (axis, name) that differ from ``USUAL``."""

CHOICES: list[Choice] = sorted(
    {
        tuple((axis, name) for axis, name in zip(axes, names, strict=True) if name != USUAL[axis])
        for axes in combinations(AXES, 2)
        for names in product(*(AXES[axis] for axis in axes))
    }
)
CASES = [
    pytest.param(
        choice,
        slot,
        id="-".join((*(name for _, name in choice), slot)),
        marks=[pytest.mark.slow] if len(choice) == 2 and index % 8 else [],
    )
    for index, choice in enumerate(CHOICES)
    for slot in SLOTS
    if slot != "cross" or all(axis != "position" for axis, _ in choice)  # only self-attention has relative positions
]


@cache
def part(kind: str, name: str) -> dict[str, Any]:
    """Return the configuration of a part, with the small sizes of ``SMALL``."""
    node = catalogue.part(kind, name)
    return {**node} | {option: value for option, value in SMALL.items() if option in node}


@cache
def composed() -> dict[str, Any]:
    """Return the configuration of composed attention."""
    return plain(config("attention=dot").attention)


@cache
def built(choice: Choice, slot: str) -> ComposedAttention | UserError:
    """Return the mechanism with these parts, or the error that refuses them."""
    chosen = USUAL | dict(choice)
    node = composed() | {kind: part(kind, chosen[kind]) for kind in PARTS} | HEADS[chosen["heads"]]
    try:
        ours: ComposedAttention = build_node(node, WIDTH, replace(SLOTS[slot], position=chosen["position"]))
    except UserError as refusal:
        return refusal
    return randomise(ours.double()).eval()


def meaningless(choice: Choice, slot: str) -> bool:
    """Return whether a pair must be refused although each of its two parts works alone."""
    chosen = dict(choice)
    if chosen.get("position") == "rotary":  # rotary positions need a dot product
        score = built((("score", chosen.get("score", USUAL["score"])),), slot)
        return isinstance(score, ComposedAttention) and not isinstance(score.score, Dot)
    return False


@pytest.mark.parametrize(
    "training", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["evaluation", "training"]
)
@pytest.mark.parametrize(("choice", "slot"), CASES)
def test_pairs(choice: Choice, slot: str, training: bool) -> None:
    """A pair is refused only if one of its parts is refused alone or the two don't fit; other pairs obey the laws."""
    ours = copy.deepcopy(built(choice, slot))
    apart = [built((single,), slot) for single in choice]
    if len(choice) == 2 and (meaningless(choice, slot) or any(isinstance(one, UserError) for one in apart)):
        assert isinstance(ours, UserError)
    if isinstance(ours, UserError):
        assert len(choice) == 1 or meaningless(choice, slot) or any(isinstance(one, UserError) for one in apart)
        assert len(str(ours)) > 40  # long enough to contain a reason
        return
    check_laws(ours.train(training))


def check_laws(ours: Attention) -> None:
    """Check the cheap laws: chunks, need_weights, masks, weights, rows without visible positions, finite gradients."""
    causal = ours.source.causal
    queries, source = noise(3, T, WIDTH), memory(T, 0, 4, step=1 if ours.source.is_self else 3)
    mask = noise(3, T, T, seed=3) > -1
    mask[2, 1] = False
    leaves = [queries.requires_grad_(), source.values.requires_grad_(), *ours.parameters()]
    seeding.seed(0)
    answer = walk(ours, queries, source, mask=mask)
    seeding.seed(0)
    same(walk(ours, queries, source, mask=mask, chunks=(2, 1, 3)), answer)
    seeding.seed(0)
    close(walk(ours, queries, source, mask=mask, need_weights=False).context, answer.context)
    weights = answer.weights
    assert weights.shape[::2] == (3, T)
    assert weights.isfinite().all()
    visible = source.mask[:, None] & mask
    if causal:
        visible = visible & torch.ones(T, T, dtype=torch.bool).tril()
    assert not weights.masked_select(~visible[:, None]).any()
    assert weights.any()
    if ours.mass != "free":
        total = weights.sum(-1) if answer.sentinel is None else weights.sum(-1) + answer.sentinel
        assert (weights >= 0).all()
        assert (total <= 1 + 1e-12).all()
    if ours.mass == "one":
        close(total, (total > 0).double())
    reported = [x for x in (answer.log_prob, *answer.penalties.values()) if x is not None]
    empty = reported if answer.sentinel is not None else [answer.context, *reported]
    assert not any(x[1].any() or x[2, 1].any() for x in empty)  # rows without visible positions give 0
    objective = sum((x * noise(*x.shape, seed=4)).sum() for x in (answer.context, *reported))
    assert objective.isfinite()
    gradients = torch.autograd.grad(objective, leaves, allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in PARTS for name in AXES[kind]])
def test_every_part_works_in_some_slot(kind: str, name: str) -> None:
    choice = () if name == USUAL[kind] else ((kind, name),)
    assert any(isinstance(built(choice, slot), ComposedAttention) for slot in SLOTS)


OTHERS = [
    name
    for name in choices("attention")
    if "_target_" in OmegaConf.load(CONF / "attention" / f"{name}.yaml")  # not ComposedAttention
    and "score" in config(f"attention={name}").attention
]


@pytest.mark.parametrize(
    "training", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["evaluation", "training"]
)
@pytest.mark.parametrize(
    ("mechanism", "kind", "name"),
    mostly_slow([(other, kind, name) for other in OTHERS for kind in PARTS for name in AXES[kind]], every=3),
)
def test_other_mechanisms_with_each_part(mechanism: str, kind: str, name: str, training: bool) -> None:
    """A mechanism with another class obeys the laws or is refused, when one of its parts is replaced."""
    node = plain(config(f"attention={mechanism}").attention) | {kind: part(kind, name)}
    try:
        ours = build_node(node, WIDTH, SLOTS["cross"])
    except UserError as refusal:
        assert len(str(refusal)) > 40
        return
    check_laws(randomise(ours.double()).train(training))
