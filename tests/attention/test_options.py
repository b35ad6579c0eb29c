"""No dead options: whatever a YAML offers changes what is built or computed, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.attention.base import Attention, SourceSpec
from seq2seq.config import build_node, plain
from seq2seq.errors import UserError
from tests.attention.walk import walk
from tests.catalogue import WIDTH, choices, config, memory, noise

GROUPS = ("attention", "self_attention")
PARTS = ("score", "window", "normalizer")


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
        return [value + 0.25]
    return [2, True, 0.25]


def changed(node: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    head, *rest = path
    return {**node, head: changed(node[head], tuple(rest), value) if rest else value}


def behaviour(node: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
    """Start and training-mode answer under fixed seeds."""
    torch.manual_seed(0)
    attention: Attention = build_node(node, WIDTH, SourceSpec(WIDTH, input_dim=WIDTH))
    attention.double()
    torch.manual_seed(1)
    return attention.state_dict(), walk(attention, noise(2, 6, WIDTH), memory(6, 4, step=3)).context


def is_alive(node: Mapping[str, Any], path: tuple[str, ...], value: Any) -> bool:
    """Whether another value makes a difference, or is refused."""
    start, answer = behaviour(node)
    shapes = {name: tensor.shape for name, tensor in start.items()}
    for candidate in other(value):
        try:
            new_start, new_answer = behaviour(changed(node, path, candidate))
        except UserError:
            return True
        if {name: tensor.shape for name, tensor in new_start.items()} != shapes or not torch.equal(answer, new_answer):
            return True
    return False


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in choices(group)])
def test_every_option_of_a_mechanism(group: str, name: str) -> None:
    node = plain(config(f"{group}={name}")[group])
    assert [path for path, value in options(node) if not is_alive(node, path, value)] == []


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in choices(f"attention/{part}")])
def test_every_option_of_a_part(part: str, name: str) -> None:
    """Inside multi-head attention."""
    node = plain(config("attention=multi_head", f"attention/{part}={name}").attention)
    assert [path for path, value in options(node[part], (part,)) if not is_alive(node, path, value)] == []
