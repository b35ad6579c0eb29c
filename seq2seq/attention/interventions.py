"""Interventions: a trained model's contexts are made of other weights than its own, to measure what those contribute.

Letters as in ``types.py``. A mechanism computes its weights, and what follows from them in its state, as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.components import counter_rng
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query
from seq2seq.layers.tensors import widen

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


CHANGES: dict[str, Change] = {"uniform": uniform, "permuted": permuted, "frozen": frozen}

FIRST_WEIGHTS = "transform.first."
"""Prefix of names in a state: the weights (B, H, 1, S or more) of the first query, one for each time that a call
applies weights (a memory network does so once a hop).
"""

FirstWeights = Mapping[nn.Module, Mapping[str, Tensor]]
"""For each mechanism, {``FIRST_WEIGHTS`` and the number of the hop: weights (B, H, 1, S or more)}."""


def source_attentions(model: nn.Module) -> list[Attention]:
    """Return every attention of ``model`` to a source, that is, all but self-attention."""
    mechanisms = (module for module in model.modules() if isinstance(module, Attention))
    return [mechanism for mechanism in mechanisms if not (mechanism.source.is_self or mechanism.source.causal)]


@contextmanager
def intervened(model: nn.Module, change: Change, first: FirstWeights | None = None) -> Iterator[None]:
    """Within it, every attention to a source in ``model`` uses, and reports, changed weights.

    Forward hooks hand each query ``change`` as its ``weights_transform``, which ``Attention.apply_weights`` applies.

    Args:
        model: A model, or a mechanism.
        change: What becomes of the weights.
        first: What ``change`` gets as the first weights of each sentence, in the place of those of its first query.
    """
    with ExitStack() as stack:
        for mechanism in source_attentions(model):
            before = partial(_before, change, (first or {}).get(mechanism, {}))
            stack.enter_context(mechanism.register_forward_pre_hook(before, with_kwargs=True))
            stack.enter_context(mechanism.register_forward_hook(_after))
        yield


class RecordedWeights:
    """The weights that each attention to a source used, call by call and hop by hop."""

    def __init__(self) -> None:
        self.calls: dict[nn.Module, list[list[Tensor]]] = {}

    def keep(self, mechanism: nn.Module, args: tuple[Query, Memory, AttentionState], output: AttentionOutput) -> None:
        """Keep what one call used; a forward hook."""
        transform = args[0].weights_transform
        assert isinstance(transform, _Intervention)
        self.calls.setdefault(mechanism, []).append(transform.used)

    def means(self, real: Tensor) -> FirstWeights:
        """Return the mean row of each sentence, abar_s = sum_t m_t a_ts / sum_t m_t, for each hop and head.

        Args:
            real: (B, T) bool, m: the target positions that are no padding.
        """
        share = real / real.sum(1, keepdim=True).clamp(min=1)
        found: dict[nn.Module, dict[str, Tensor]] = {}
        for mechanism, calls in self.calls.items():
            hops = [torch.cat(parts, 2) for parts in zip(*calls, strict=True)]  # (B, H, T, S or more) each
            found[mechanism] = {
                f"{FIRST_WEIGHTS}{n}": (widen(rows) * share[:, None, :, None]).sum(2, keepdim=True).to(rows.dtype)
                for n, rows in enumerate(hops)
            }
        return found


@contextmanager
def recorded(model: nn.Module) -> Iterator[RecordedWeights]:
    """Within it, keep the weights of every attention to a source in ``model``; nothing is changed."""
    weights = RecordedWeights()
    with intervened(model, _unchanged), ExitStack() as stack:
        for mechanism in source_attentions(model):
            stack.enter_context(mechanism.register_forward_hook(weights.keep))
        yield weights


@contextmanager
def averaged_over(model: nn.Module, batch: Any) -> Iterator[None]:
    """Within it, every row is the mean of the rows of its sentence, taken over the target positions of ``batch``.

    Args:
        model: A ``Seq2Seq``, without dropout.
        batch: A ``Batch`` with targets, over which one teacher-forced pass records the rows.
    """
    with torch.no_grad(), recorded(model) as weights:
        model.forward(batch)
    with intervened(model, frozen, weights.means(batch.target_mask)):
        yield


@contextmanager
def averaged(model: nn.Module) -> Iterator[None]:
    """Within it, each teacher-forced pass of ``model`` uses averaged rows, for which it runs twice."""
    with ExitStack() as during:

        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            during.enter_context(averaged_over(module, args[0]))

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            during.close()

        with model.register_forward_pre_hook(before), model.register_forward_hook(after, always_call=True):
            yield


INTERVENTIONS: dict[str, Callable[[nn.Module], AbstractContextManager[None]]] = {
    **{name: partial(intervened, change=change) for name, change in CHANGES.items()},
    "averaged": averaged,
}
"""By name, what changes the attention of a whole model within a ``with`` block."""


def _unchanged(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    return weights


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
    change: Change,
    first: Mapping[str, Tensor],
    mechanism: nn.Module,
    args: tuple[Query, Memory, AttentionState],
    kwargs: dict[str, Any],
) -> tuple[tuple[Query, Memory, AttentionState], dict[str, Any]]:
    """Give the query a weights transform, and ask for weights, so that no fused kernel hides them."""
    query, memory, state = args
    carried = {name: value for name, value in state.items() if name.startswith(FIRST_WEIGHTS)}
    if not carried:  # before the first query, where search has the hypotheses of a sentence side by side
        count = len(query.position)
        carried = {name: value.repeat_interleave(count // len(value), 0) for name, value in first.items()}
    transform = _Intervention(change, query, memory, carried, kwargs.get("need_weights", False))
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
