"""Interventions: a trained model's contexts are made of other weights than its own, to measure what those contribute.

Letters as in ``types.py``. A mechanism computes its weights, and what follows from them in its state, as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.components import counter_rng
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query

Change = Callable[[Tensor, Query, Memory, Tensor | None], Tensor]
"""(weights (B, H, T, S or more), query, memory, first) -> other weights of the same shape.

``first`` is the weights (B, H, 1, S or more) of the first query, or None if it is among these queries. A sentinel's
column, behind the S, is no position of the memory.
"""


def uniform(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Spread the mass of each row evenly over the real positions (Jain & Wallace 2019, arXiv:1902.10186,
    section 4.2.1; Wiegreffe & Pinter 2019, arXiv:1908.04626, section 3.2).
    """
    size = memory.mask.shape[1]
    real = memory.mask[:, None, None, :].to(weights.dtype)
    spread = weights[..., :size].sum(-1, keepdim=True) * real / real.sum(-1, keepdim=True).clamp(min=1)
    return torch.cat((spread, weights[..., size:]), -1)


def permuted(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Permute the weights of each row among the real positions (Jain & Wallace 2019, section 4.2.1).

    One permutation is drawn for each step, the same for all sentences and heads.
    """
    size = memory.mask.shape[1]
    seed = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    u = counter_rng.uniform(seed, query.position, 1, memory.positions)  # (B, 1, T, S)
    hidden = ~memory.mask[:, None, None, :]
    source = hidden.expand_as(u).to(u.dtype).argsort(stable=True, dim=-1)  # real positions in order, then the others,
    target = u.masked_fill(hidden, 2.0).argsort(-1)  # and shuffled
    shape = weights[..., :size].shape
    dealt = torch.zeros_like(weights[..., :size]).scatter(
        -1, target.expand(shape), weights[..., :size].gather(-1, source.expand(shape))
    )
    return torch.cat((dealt, weights[..., size:]), -1)


def frozen(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Use the weights of the first step at every step."""
    if first is None:
        first = weights[:, :, :1]
    return first.expand_as(weights)


INTERVENTIONS: dict[str, Change] = {"uniform": uniform, "permuted": permuted, "frozen": frozen}


@contextmanager
def intervened(model: nn.Module, change: Change) -> Iterator[None]:
    """Within it, every attention to a source (not self-attention) in ``model`` uses, and reports, changed weights.

    Forward hooks hand each query ``change`` as its ``weights_transform``, which ``Attention.apply_weights`` applies.
    """
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, Attention) and not (module.source.is_self or module.source.causal):
                stack.enter_context(module.register_forward_pre_hook(partial(_before, change), with_kwargs=True))
                stack.enter_context(module.register_forward_hook(_after))
        yield


FIRST_WEIGHTS = "transform.first."
"""Prefix of names in a state: the weights (B, H, 1, S or more) of the first query, one for each time that a call
applies weights (a memory network does so once a hop).
"""


@dataclass
class _Intervention:
    """The weights transform of one call of a mechanism, which keeps what it returned."""

    change: Change
    query: Query
    memory: Memory
    first: dict[str, Tensor]
    report: bool  # whether the caller asked for weights
    used: list[Tensor] = field(default_factory=list)

    def __call__(self, weights: Tensor) -> Tensor:
        name = f"{FIRST_WEIGHTS}{len(self.used)}"
        batch, length = self.query.position.shape
        rows = weights.reshape(batch, -1, length, weights.shape[-1])  # heads may be missing, or be rows
        changed = self.change(rows, self.query, self.memory, self.first.get(name))
        self.first.setdefault(name, rows[:, :, :1])
        self.used.append(changed)
        return changed.reshape(weights.shape)


def _before(
    change: Change, mechanism: nn.Module, args: tuple[Query, Memory, AttentionState], kwargs: dict[str, Any]
) -> tuple[tuple[Query, Memory, AttentionState], dict[str, Any]]:
    """Give the query a weights transform, and ask for weights, so that no fused kernel hides them."""
    query, memory, state = args
    first = {name: value for name, value in state.items() if name.startswith(FIRST_WEIGHTS)}
    transform = _Intervention(change, query, memory, first, kwargs.get("need_weights", False))
    return (replace(query, weights_transform=transform), memory, state), {**kwargs, "need_weights": True}


def _after(
    mechanism: nn.Module, args: tuple[Query, Memory, AttentionState], output: AttentionOutput
) -> AttentionOutput:
    """Report the weights that were used, and keep those of the first query in the state."""
    query, memory, _ = args
    call = query.weights_transform
    assert isinstance(call, _Intervention)
    weights = torch.cat(call.used, 1)[..., : memory.mask.shape[1]] if call.used and call.report else None
    return replace(output, weights=weights, state={**output.state, **call.first})
