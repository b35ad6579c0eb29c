"""Check that every option of a mechanism's YAML changes what is built or computed, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.attention.base import Attention
from seq2seq.attention.components.selections import Estimator, drawing
from seq2seq.attention.types import SourceSpec
from seq2seq.config.instantiate import build_node, plain
from seq2seq.errors import UserError
from tests import catalogue, seeding
from tests.attention.walk import walk
from tests.catalogue import WIDTH, choices, config, memory, noise

CROSS, SELF = SourceSpec(WIDTH, input_dim=WIDTH), SourceSpec(WIDTH, is_self=True)
GROUPS = {"attention": CROSS, "self_attention": SELF}
PARTS = ("score", "window", "normalizer", "selection")
UNUSED = {("hard", "dropout"), ("gumbel", "dropout")}
"""Options that have no effect. Every mechanism gets the model's dropout, but these two don't drop drawn weights."""


def options(node: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (path, value) of each option in the node."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from options(value, (*path, key))
        elif not key.startswith("_"):
            yield (*path, key), value


def other_values(value: Any) -> list[Any]:
    """Return other values of the same type, or of several types for null."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [2 * value, 2, 4]
    if isinstance(value, float):
        return [value + 0.25, value / 2]
    return [2, True, 0.25]


def with_value(node: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a copy of the node with another value at ``path``."""
    head, *rest = path
    return {**node, head: with_value(node[head], tuple(rest), value) if rest else value}


Behaviour = tuple[dict[str, Tensor], list[Tensor], list[Estimator]]


def behaviour(node: Mapping[str, Any], source: SourceSpec) -> Behaviour:
    """Return initial parameters, outputs and gradients, and estimators of a mechanism under fixed seeds.

    The outputs are those at the start and the end of training and in evaluation. Estimators tell the loss how to learn
    from draws; ``tests/loss/test_estimators.py`` tests the loss.
    """
    seeding.seed(0)
    attention: Attention = build_node(node, WIDTH, source)
    attention.double()
    answers = []
    for seed, training, progress in ((0, True, 0.0), (1, True, 1.0), (2, False, 1.0)):
        attention.set_progress(progress)
        seeding.seed(seed)
        size, step = (12, 1) if source.is_self else (6, 3)  # 12 is longer than the patterns of self-attention
        queries, values = noise(2, size, WIDTH).requires_grad_(), memory(size, 4, step=step)
        values.values.requires_grad_()
        # In training, variational attention reads the target.
        target = attention.read_target(noise(2, size, WIDTH, seed=5), torch.ones(2, size, dtype=torch.bool))
        answer = walk(attention.train(training), queries, values, target=target if training else None)
        context = answer.context
        total = (context * noise(*context.shape, seed=4)).sum() + sum(x.sum() for x in answer.penalties.values())
        gradients = torch.autograd.grad(total, [queries, values.values], allow_unused=True)
        answers += [context, *(gradient for gradient in gradients if gradient is not None)]
    return attention.state_dict(), answers, [selection.estimator for selection in drawing(attention)]


def differ(one: list[Tensor], another: list[Tensor]) -> bool:
    """Return True if the two lists of tensors are not equal."""
    return len(one) != len(another) or not all(map(torch.equal, one, another))


def is_alive(usual: Behaviour, node: Mapping[str, Any], source: SourceSpec, path: tuple[str, ...], value: Any) -> bool:
    """Return True if another value changes the ``usual`` behaviour or is refused."""
    start, answers, estimators = usual
    shapes = {name: tensor.shape for name, tensor in start.items()}
    for candidate in other_values(value):
        try:
            new_start, new_answers, new_estimators = behaviour(with_value(node, path, candidate), source)
        except UserError:
            return True
        if {name: tensor.shape for name, tensor in new_start.items()} != shapes or differ(answers, new_answers):
            return True
        if new_estimators != estimators:
            return True
    return False


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in choices(group)])
def test_every_option_of_a_mechanism_has_an_effect(group: str, name: str) -> None:
    node = plain(config(f"{group}={name}")[group])
    usual = behaviour(node, GROUPS[group])
    dead = [path for path, value in options(node) if not is_alive(usual, node, GROUPS[group], path, value)]
    assert [path for path in dead if (name, *path) not in UNUSED] == []


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in choices(f"attention/{part}")])
def test_every_option_of_a_part_has_an_effect(part: str, name: str) -> None:
    """The part is inside multi-head attention over a source or, if it refuses a source, in self-attention."""
    node = {**plain(config("attention=multi_head").attention), part: catalogue.part(part, name)}
    try:
        build_node(node, WIDTH, source := CROSS)
    except UserError:
        source = SELF
    usual = behaviour(node, source)
    assert [
        path for path, value in options(node[part], (part,)) if not is_alive(usual, node, source, path, value)
    ] == []
