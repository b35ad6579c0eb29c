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


def cases() -> Iterator[Any]:
    """Every option of every mechanism, and of every part inside multi-head attention."""
    for group in GROUPS:
        for name in choices(group):
            node = plain(config(f"{group}={name}")[group])
            for path, _ in options(node):
                yield pytest.param(node, path, id=f"{group}/{name}:{'.'.join(path)}")
    for part in PARTS:
        for name in choices(f"attention/{part}"):
            node = plain(config("attention=multi_head", f"attention/{part}={name}").attention)
            for path, _ in options(node[part], (part,)):
                yield pytest.param(node, path, id=f"{part}/{name}:{'.'.join(path)}")


def other(value: Any) -> list[Any]:
    """Values of the same kind; for null, of any."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [2 * value, 2, 4]
    if isinstance(value, float):
        return [value + 0.25]
    return [True, 4, 0.25]


def changed(node: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    head, *rest = path
    return {**node, head: changed(node[head], tuple(rest), value) if rest else value}


def behaviour(node: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
    """Start and training-mode answer under fixed seeds."""
    torch.manual_seed(0)
    attention: Attention = build_node(node, WIDTH, SourceSpec(WIDTH))
    attention.double()
    torch.manual_seed(1)
    return attention.state_dict(), walk(attention, noise(2, 6, WIDTH), memory(6, 4, step=3)).context


@pytest.mark.parametrize(("node", "path"), cases())
def test_no_dead_option(node: dict[str, Any], path: tuple[str, ...]) -> None:
    start, answer = behaviour(node)
    value = dict(options(node))[path]
    effects = []
    for candidate in other(value):
        try:
            new_start, new_answer = behaviour(changed(node, path, candidate))
        except UserError as refusal:
            effects.append(len(str(refusal)) > 20)
            continue
        shapes = {name: tensor.shape for name, tensor in start.items()}
        new_shapes = {name: tensor.shape for name, tensor in new_start.items()}
        effects.append(shapes != new_shapes or not torch.equal(answer, new_answer))
    assert any(effects)
