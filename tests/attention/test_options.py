"""No dead options: whatever a YAML offers changes what is built or computed, or is refused with a reason."""

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
"""What all mechanisms get from the model, and these leave alone: drawn weights are not dropped out."""


def options(node: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of all that can be set."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from options(value, (*path, key))
        elif not key.startswith("_"):
            yield (*path, key), value


def other(value: Any) -> list[Any]:
    """Values of the same kind; for null, of any."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [2 * value, 2, 4]
    if isinstance(value, float):
        return [value + 0.25, value / 2]
    return [2, True, 0.25]


def changed(node: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    head, *rest = path
    return {**node, head: changed(node[head], tuple(rest), value) if rest else value}


Behaviour = tuple[dict[str, Tensor], list[Tensor], list[Estimator]]


def behaviour(node: Mapping[str, Any], source: SourceSpec) -> Behaviour:
    """Start, the answers as training goes and in evaluation with their gradients, under fixed seeds, and what the loss
    is told of draws (tests/loss/test_estimators.py holds what it makes of it).
    """
    seeding.seed(0)
    attention: Attention = build_node(node, WIDTH, source)
    attention.double()
    answers = []
    for seed, training, progress in ((0, True, 0.0), (1, True, 1.0), (2, False, 1.0)):
        attention.set_progress(progress)
        seeding.seed(seed)
        size, step = (12, 1) if source.is_self else (6, 3)  # 12: further than the patterns of self-attention reach
        queries, values = noise(2, size, WIDTH).requires_grad_(), memory(size, 4, step=step)
        values.values.requires_grad_()
        answer = walk(attention.train(training), queries, values)
        context = answer.context
        total = (context * noise(*context.shape, seed=4)).sum() + sum(x.sum() for x in answer.penalties.values())
        gradients = torch.autograd.grad(total, [queries, values.values], allow_unused=True)
        answers += [context, *(gradient for gradient in gradients if gradient is not None)]
    return attention.state_dict(), answers, [selection.estimator for selection in drawing(attention)]


def differ(one: list[Tensor], another: list[Tensor]) -> bool:
    return len(one) != len(another) or not all(map(torch.equal, one, another))


def is_alive(usual: Behaviour, node: Mapping[str, Any], source: SourceSpec, path: tuple[str, ...], value: Any) -> bool:
    """Whether another value makes a difference to the ``usual`` behaviour, or is refused."""
    start, answers, estimators = usual
    shapes = {name: tensor.shape for name, tensor in start.items()}
    for candidate in other(value):
        try:
            new_start, new_answers, new_estimators = behaviour(changed(node, path, candidate), source)
        except UserError:
            return True
        if {name: tensor.shape for name, tensor in new_start.items()} != shapes or differ(answers, new_answers):
            return True
        if new_estimators != estimators:
            return True
    return False


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in choices(group)])
def test_every_option_of_a_mechanism(group: str, name: str) -> None:
    node = plain(config(f"{group}={name}")[group])
    usual = behaviour(node, GROUPS[group])
    dead = [path for path, value in options(node) if not is_alive(usual, node, GROUPS[group], path, value)]
    assert [path for path in dead if (name, *path) not in UNUSED] == []


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in choices(f"attention/{part}")])
def test_every_option_of_a_part(part: str, name: str) -> None:
    """Inside multi-head attention, over a source or, what serves no source, over its own sequence."""
    node = {**plain(config("attention=multi_head").attention), part: catalogue.part(part, name)}
    try:
        build_node(node, WIDTH, source := CROSS)
    except UserError:
        source = SELF
    usual = behaviour(node, source)
    assert [
        path for path, value in options(node[part], (part,)) if not is_alive(usual, node, source, path, value)
    ] == []
