"""Interventions: replace the attention weights of a trained model, to measure what its own weights contribute.

Letters as in ``types.py``. A mechanism still computes its own weights, and its state follows from these. Only the
contexts use the replaced weights.
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
from seq2seq.errors import UserError
from seq2seq.layers.tensors import widen

Change = Callable[[Tensor, Query, Memory, Tensor | None], Tensor]
"""Function (weights, query, memory, first) -> other weights of the same shape (B, H, T, S or more).

``first`` is the weights (B, H, 1, S or more) of the first query, or None if it is among these queries. A sentinel's
column, after the S columns, is not a position of the memory.
"""


def uniform(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Spread the mass of each row evenly over the real positions.

    (Jain & Wallace 2019, arXiv:1902.10186, section 4.2.1; Wiegreffe & Pinter 2019, arXiv:1908.04626, section 3.2.)

    Args:
        weights: Weights (B, H, T, S or more).
        query: Queries that the weights belong to.
        memory: Memory of S positions.
        first: Weights of the first query; not used.
    """
    size = memory.mask.shape[1]
    real = memory.mask[:, None, None, :].to(weights.dtype)
    # A sentinel keeps its weight.
    spread = weights[..., :size].sum(-1, keepdim=True) * real / real.sum(-1, keepdim=True).clamp(min=1)
    return torch.cat((spread, weights[..., size:]), -1)


def permuted(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Permute the weights of each row among the real positions (Jain & Wallace 2019, section 4.2.1).

    One permutation is drawn for each step, the same for all sentences and heads.

    Args:
        weights: Weights (B, H, T, S or more).
        query: Queries whose positions select the permutations.
        memory: Memory of S positions.
        first: Weights of the first query; not used.
    """
    size = memory.mask.shape[1]
    # Draw an order of the real positions for each step.
    seed = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    u = counter_rng.uniform(seed, query.position, 1, memory.positions)  # (B, 1, T, S)
    hidden = ~memory.mask[:, None, None, :]
    source = hidden.expand_as(u).to(u.dtype).argsort(stable=True, dim=-1)  # real positions in order, then the others
    target = u.masked_fill(hidden, 2.0).argsort(-1)  # real positions in random order, then the others
    # Move each weight from its position in the first order to that in the second.
    shape = weights[..., :size].shape
    moved = torch.zeros_like(weights[..., :size]).scatter(
        -1, target.expand(shape), weights[..., :size].gather(-1, source.expand(shape))
    )
    return torch.cat((moved, weights[..., size:]), -1)


def frozen(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Use the weights of the first step at every step.

    Args:
        weights: Weights (B, H, T, S or more).
        query: Queries that the weights belong to; not used.
        memory: Memory of S positions; not used.
        first: Weights of the first query (B, H, 1, S or more); None if it is among these queries.
    """
    if first is None:
        first = weights[:, :, :1]
    return first.expand_as(weights)


CHANGES: dict[str, Change] = {"uniform": uniform, "permuted": permuted, "frozen": frozen}


def forced(rows: Any) -> Change:
    """Return a change that replaces the weights of one sentence by given weights, the same for all heads and layers.

    Each row is divided by its sum. A row of zeros, and a step after the last row, keep the weights of the model.

    Args:
        rows: Array or tensor of weights (T, S), at least 0. Row t is used at step t; S is the number of source pieces
            with ``</s>``.

    Raises:
        UserError: ``rows`` is not a matrix of finite weights; or the source has another number of pieces.
    """
    given = torch.as_tensor(rows, dtype=torch.float32)
    if given.dim() != 2 or not given.numel() or not bool((given.isfinite() & (given >= 0)).all()):
        raise UserError("forced attention: must be a matrix (steps, source pieces) of finite weights, at least 0")

    def change(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
        size = memory.mask.shape[1]
        if given.shape[1] != size or not bool(memory.mask.all()):
            raise UserError(
                f"forced attention: has {given.shape[1]} columns, but the sources have "
                f"{memory.mask.sum(1).tolist()} pieces with </s>; give one source at a time"
            )
        # Look up the row of each step; steps after the last row get zeros.
        step, known = query.position, given.to(weights)
        row = known[step.clamp(max=len(known) - 1)] * (step < len(known)).unsqueeze(-1)  # (B, T, S)
        total = row.sum(-1, keepdim=True)
        new = torch.cat((row / total.clamp(min=1e-30), row.new_zeros(*row.shape[:2], weights.shape[-1] - size)), -1)
        return torch.where((total > 0).unsqueeze(1), new.unsqueeze(1), weights)

    return change


def change_of(change: str | Change | Any) -> Change:
    """Return a change of attention weights.

    Args:
        change: Name of a change in ``CHANGES``, a function, or a matrix for ``forced``.

    Raises:
        UserError: There is no change of that name.
    """
    if isinstance(change, str):
        if change not in CHANGES:
            raise UserError(f"intervention {change!r} is unknown; choose from: {', '.join(CHANGES)}")
        return CHANGES[change]
    return change if callable(change) else forced(change)


FIRST_WEIGHTS = "transform.first."
"""Prefix of state names for the weights (B, H, 1, S or more) of the first query.

There is one such name for each time that a call applies weights (a memory network does so once for each hop).
"""

FirstWeights = Mapping[nn.Module, Mapping[str, Tensor]]
"""First weights of each mechanism: {``FIRST_WEIGHTS`` and the number of the hop: weights (B, H, 1, S or more)}."""


def source_attentions(model: nn.Module) -> list[Attention]:
    """Return every attention of ``model`` to a source, that is, all except self-attention.

    Args:
        model: Model, or a part of one.
    """
    mechanisms = (module for module in model.modules() if isinstance(module, Attention))
    return [mechanism for mechanism in mechanisms if not (mechanism.source.is_self or mechanism.source.causal)]


@contextmanager
def intervened(model: nn.Module, change: Change, first: FirstWeights | None = None) -> Iterator[None]:
    """Change the weights of every attention to a source in ``model`` within the context; the model also returns them.

    Forward hooks give each query ``change`` as its ``weights_transform``, which ``Attention.apply_weights`` applies.

    Args:
        model: Model, or a mechanism.
        change: Function that changes the weights.
        first: First weights of each sentence for ``change``, instead of those of its first query.
    """
    with ExitStack() as stack:
        for mechanism in source_attentions(model):
            before = partial(_before, change, (first or {}).get(mechanism, {}))
            stack.enter_context(mechanism.register_forward_pre_hook(before, with_kwargs=True))
            stack.enter_context(mechanism.register_forward_hook(_after))
        yield


class RecordedWeights:
    """Weights that each attention to a source used, for each call and hop."""

    def __init__(self) -> None:
        self.calls: dict[nn.Module, list[list[Tensor]]] = {}

    def keep(self, mechanism: nn.Module, args: tuple[Query, Memory, AttentionState], output: AttentionOutput) -> None:
        """Keep the weights that one call used, as a forward hook.

        Args:
            mechanism: Attention that was called.
            args: Its arguments.
            output: Its output; not used.
        """
        transform = args[0].weights_transform
        assert isinstance(transform, _Intervention)
        self.calls.setdefault(mechanism, []).append(transform.used)

    def means(self, real: Tensor) -> FirstWeights:
        """Return the mean row of each sentence, abar_s = sum_t m_t a_ts / sum_t m_t, for each hop and head.

        Args:
            real: m, mask of the target positions that are not padding (B, T).
        """
        share = real / real.sum(1, keepdim=True).clamp(min=1)
        found: dict[nn.Module, dict[str, Tensor]] = {}
        for mechanism, calls in self.calls.items():
            # Concatenate the calls along T, and average each hop over the real target positions.
            hops = [torch.cat(parts, 2) for parts in zip(*calls, strict=True)]  # (B, H, T, S or more) each
            found[mechanism] = {
                f"{FIRST_WEIGHTS}{n}": (widen(rows) * share[:, None, :, None]).sum(2, keepdim=True).to(rows.dtype)
                for n, rows in enumerate(hops)
            }
        return found


@contextmanager
def recorded(model: nn.Module) -> Iterator[RecordedWeights]:
    """Keep the weights of every attention to a source in ``model`` within the context; nothing is changed.

    Args:
        model: Model, or a mechanism.
    """
    weights = RecordedWeights()
    with intervened(model, _unchanged), ExitStack() as stack:
        for mechanism in source_attentions(model):
            stack.enter_context(mechanism.register_forward_hook(weights.keep))
        yield weights


@contextmanager
def averaged_over(model: nn.Module, batch: Any) -> Iterator[None]:
    """Replace every row of weights by the mean row of its sentence within the context.

    The mean is taken over the target positions of ``batch``, in one teacher-forced pass.

    Args:
        model: ``Seq2Seq`` without dropout.
        batch: ``Batch`` with targets.
    """
    # Record the rows of one pass, then use their means.
    with torch.no_grad(), recorded(model) as weights:
        model.forward(batch)
    with intervened(model, frozen, weights.means(batch.target_mask)):
        yield


@contextmanager
def averaged(model: nn.Module) -> Iterator[None]:
    """Use averaged rows in each teacher-forced pass of ``model`` within the context; each pass then runs twice.

    Args:
        model: ``Seq2Seq`` without dropout.
    """
    with ExitStack() as during:

        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            during.enter_context(averaged_over(module, args[0]))

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            during.close()

        # Wrap each pass of the model, and end it even after an error.
        with model.register_forward_pre_hook(before), model.register_forward_hook(after, always_call=True):
            yield


INTERVENTIONS: dict[str, Callable[[nn.Module], AbstractContextManager[None]]] = {
    **{name: partial(intervened, change=change) for name, change in CHANGES.items()},
    "averaged": averaged,
}
"""Interventions by name: context managers that change the attention of a whole model."""


def _unchanged(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
    """Return the weights as they are."""
    return weights


@dataclass
class _Intervention:
    """Weights transform of one call of a mechanism, which keeps the weights that it returned."""

    change: Change
    query: Query
    memory: Memory
    first: dict[str, Tensor]
    report: bool  # True where the caller requested weights
    used: list[Tensor] = field(default_factory=list)

    def __call__(self, weights: Tensor) -> Tensor:
        name = f"{FIRST_WEIGHTS}{len(self.used)}"
        batch, length = self.query.position.shape
        # Some mechanisms have no dimension of heads, or have their heads in the rows.
        rows = weights.reshape(batch, -1, length, weights.shape[-1])
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
    """Give the query a weights transform, and request weights, so that no fused kernel hides them."""
    query, memory, state = args
    carried = {name: value for name, value in state.items() if name.startswith(FIRST_WEIGHTS)}
    # Before the first query, repeat the given first weights for all hypotheses of a sentence.
    if not carried:
        count = len(query.position)
        carried = {name: value.repeat_interleave(count // len(value), 0) for name, value in first.items()}
    transform = _Intervention(change, query, memory, carried, kwargs.get("need_weights", False))
    return (replace(query, weights_transform=transform), memory, state), {**kwargs, "need_weights": True}


def _after(
    mechanism: nn.Module, args: tuple[Query, Memory, AttentionState], output: AttentionOutput
) -> AttentionOutput:
    """Return the weights that were used, and keep those of the first query in the state."""
    query, memory, _ = args
    call = query.weights_transform
    assert isinstance(call, _Intervention)
    weights = torch.cat(call.used, 1)[..., : memory.mask.shape[1]] if call.used and call.report else None
    return replace(output, weights=weights, state={**output.state, **call.first})
