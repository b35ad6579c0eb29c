"""Attention made to look elsewhere, after training: what a model owes to where it looks.

Letters as in ``base.py``. A mechanism computes its weights as ever, and makes its context of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention, AttentionOutput, AttentionState, Memory, Query
from seq2seq.attention.components import counter_rng

Change = Callable[[Tensor, Query, Memory, Tensor | None], Tensor]
"""(weights (B, H, T, S or more), query, memory, weights of the first query (B, H, 1, S or more) if that was earlier) ->
other weights of the same shape. What stands behind S, a sentinel, is no place in the memory."""


def uniform(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """The mass of each row spread evenly over what is real: attention that chooses nothing (Jain & Wallace 2019,
    arXiv:1902.10186, section 4.2.1; Wiegreffe & Pinter 2019, arXiv:1908.04626, section 3.2).
    """
    size = memory.mask.shape[1]
    real = memory.mask[:, None, None, :].to(weights.dtype)
    spread = weights[..., :size].sum(-1, keepdim=True) * real / real.sum(-1, keepdim=True).clamp(min=1)
    return torch.cat((spread, weights[..., size:]), -1)


def permuted(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Each row's weights dealt out anew among the real places, as sharp as before and elsewhere (Jain & Wallace 2019,
    section 4.2.1). The order is drawn for each step, the same for all sentences and heads.
    """
    size = memory.mask.shape[1]
    seed = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    u = counter_rng.uniform(seed, query.position, 1, memory.positions)  # (B, 1, T, S)
    hidden = ~memory.mask[:, None, None, :]
    source = hidden.expand_as(u).to(u.dtype).argsort(stable=True, dim=-1)  # real places in order, then the others,
    target = u.masked_fill(hidden, 2.0).argsort(-1)  # and shuffled
    shape = weights[..., :size].shape
    dealt = torch.zeros_like(weights[..., :size]).scatter(
        -1, target.expand(shape), weights[..., :size].gather(-1, source.expand(shape))
    )
    return torch.cat((dealt, weights[..., size:]), -1)


def frozen(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """The weights of the first step at every step: attention that does not move."""
    if first is None:
        first = weights[:, :, :1]
    return first.expand_as(weights)


INTERVENTIONS: dict[str, Change] = {"uniform": uniform, "permuted": permuted, "frozen": frozen}


@contextmanager
def intervened(model: nn.Module, change: Change) -> Iterator[None]:
    """Within it, every attention to a source (not to a sequence by itself) in ``model`` uses changed weights, and
    reports them. For models that don't train: what training drops out it would drop of the weights unchanged.
    """
    found = [m for m in model.modules() if isinstance(m, Attention) and not (m.source.is_self or m.source.causal)]
    with ExitStack() as stack:
        for mechanism in found:
            stack.enter_context(_instead(mechanism, "forward", partial(_forward, mechanism, change)))
        yield


FIRST = "intervention.first."  # in a state: the weights of the first query, for each time that a query reads weights


def _forward(
    mechanism: Attention,
    change: Change,
    query: Query,
    memory: Memory,
    state: AttentionState,
    *,
    mask: Tensor | None = None,
    need_weights: bool = False,
) -> AttentionOutput:
    """What ``mechanism.forward`` gives if ``drop``, which sees all weights that make a context, changes them."""
    kept = {name: value for name, value in state.items() if name.startswith(FIRST)}
    inner = {name: value for name, value in state.items() if name not in kept}
    used: list[Tensor] = []

    def drop(weights: Tensor) -> Tensor:
        name = f"{FIRST}{len(used)}"
        batch, length = query.position.shape
        given = weights.reshape(batch, -1, length, weights.shape[-1])  # heads may be missing, or be rows
        first = kept.get(name)
        if first is None:
            kept[name] = given[:, :, :1]
        used.append(change(given, query, memory, first))
        return used[-1].reshape(weights.shape)

    with _instead(mechanism, "drop", drop):
        answer = type(mechanism).forward(mechanism, query, memory, inner, mask=mask, need_weights=True)
    weights = torch.cat(used, 1)[..., : memory.mask.shape[1]] if used and need_weights else None
    return replace(answer, weights=weights, state={**answer.state, **kept})


@contextmanager
def _instead(mechanism: Attention, name: str, function: Callable[..., object]) -> Iterator[None]:
    """``function`` in the place of a method, of this one object."""
    object.__setattr__(mechanism, name, function)
    try:
        yield
    finally:
        object.__delattr__(mechanism, name)
