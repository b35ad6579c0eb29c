"""Layouts that leave out what a pattern hides: the sequence in parts, each with the keys that it may see.

Time and memory grow as S times the width of a window, not as S^2. Queries, keys and values stand at 0..S-1, in order.
Letters: B batch, H heads, G groups of heads that share keys, S places, D width of a head, N parts, L places of a part.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.attention.components.windows import AttendPart
from seq2seq.attention.types import Memory, Query


def is_whole_sequence(query: Query, memory: Memory) -> bool:
    """Whether query t and value t both stand at t: a whole sequence that attends to itself.

    It reads S numbers, for which a GPU is waited for: ask it where what it decides on takes longer.
    """
    places = memory.positions[..., 0]
    return query.position.shape == places.shape and all(
        torch.equal(at, torch.arange(at.shape[1], device=at.device).expand_as(at)) for at in (query.position, places)
    )


def banded(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    attend: AttendPart,
    *,
    mask: Tensor,
    radius: int,
    size: int,
    causal: bool,
    tokens: int = 0,
) -> tuple[Tensor, Tensor]:
    """Attend where |i - j| <= ``radius``: parts of ``size`` >= ``radius`` places, each with its neighbours.

    A part sees the part before it and, unless ``causal``, the part after it. The first ``tokens`` places see all and
    are seen by all: they are put beside each part, and are queries once more.

    (B, H, S, D), (B, G, S, D) twice, mask (B, S) -> contexts (B, H, S, D), who sees anything (B, S).
    """
    batch, tokens = len(mask), min(tokens, mask.shape[1])
    place = torch.arange(size, device=mask.device)
    offset = torch.arange(-size, size if causal else 2 * size, device=mask.device) - place[:, None]  # (L, 2 or 3 L)
    near = (offset >= -radius) & (offset <= (0 if causal else radius))
    local = mask & (torch.arange(mask.shape[1], device=mask.device) >= tokens)  # who is seen by all is seen once
    keep = near & _with_neighbours(_split_parts(local, 1, size), causal).flatten(0, 1)[:, None]  # (B N, L, 2 or 3 L)
    query, key, value = (
        _split_parts(queries, 2, size),
        *(_with_neighbours(_split_parts(x, 2, size), causal) for x in (keys, values)),
    )
    if tokens:
        parts = query.shape[1]
        key, value = (
            torch.cat((x[:, :, :tokens].transpose(1, 2).unsqueeze(1).expand(-1, parts, -1, -1, -1), near), 2)
            for x, near in ((keys, key), (values, value))
        )
        seen = mask[:, None, None, :tokens].expand(-1, parts, size, -1).flatten(0, 1)
        keep = torch.cat((seen, keep), -1)
    context, sees = _attend_parts(query, key, value, attend, keep, mask)
    if tokens:
        everything = mask[:, None]
        if causal:
            everything = everything & torch.ones(tokens, mask.shape[1], dtype=torch.bool, device=mask.device).tril()
        first = attend(queries[:, :, :tokens], keys, values, everything.unsqueeze(1))
        context = torch.cat((first, context[:, :, tokens:]), 2)
        sees = torch.cat((everything.any(-1).expand(batch, tokens), sees[:, tokens:]), 1)
    return context, sees


def blocked(
    queries: Tensor, keys: Tensor, values: Tensor, attend: AttendPart, *, mask: Tensor, size: int, causal: bool
) -> tuple[Tensor, Tensor]:
    """Attend where floor(i / size) == floor(j / size): parts that see only themselves. Shapes as in ``banded``."""
    keep = _split_parts(mask, 1, size).flatten(0, 1)[:, None]  # (B N, 1, L)
    if causal:
        keep = keep & torch.ones(size, size, dtype=torch.bool, device=mask.device).tril()
    query, key, value = (_split_parts(x, 2, size) for x in (queries, keys, values))
    return _attend_parts(query, key, value, attend, keep, mask)


def dilated(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    attend: AttendPart,
    *,
    mask: Tensor,
    radius: int,
    dilation: int,
    size: int,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Attend where (i - j) mod r = 0 and |i - j| <= radius r: a band in each of r sequences of every r-th place.

    Shapes as in ``banded``.
    """
    batch, length = mask.shape

    def every_rth(x: Tensor, dim: int) -> Tensor:
        """Rest k of place dilation n + k leads: (B, ., S, .) -> (B r, ., S/r, .), r = dilation."""
        return _pad_to_multiple(x, dim, dilation).unflatten(dim, (-1, dilation)).movedim(dim + 1, 1).flatten(0, 1)

    query, key, value = (every_rth(x, 2) for x in (queries, keys, values))
    context, seen = banded(query, key, value, attend, mask=every_rth(mask, 1), radius=radius, size=size, causal=causal)
    context = context.unflatten(0, (batch, dilation)).movedim(1, 3).flatten(2, 3)
    return context[:, :, :length], seen.unflatten(0, (batch, dilation)).transpose(1, 2).flatten(1)[:, :length]


def _attend_parts(
    queries: Tensor, keys: Tensor, values: Tensor, attend: AttendPart, keep: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """(B, N, L, H, D), (B, N, L', G, D) twice, keep (B N, 1 or L, L'), as a batch of B N -> (B, H, S, D), (B, S)."""
    batch, length = mask.shape
    size = queries.shape[2]
    query, key, value = (x.flatten(0, 1).transpose(1, 2) for x in (queries, keys, values))
    context = attend(query, key, value, keep.unsqueeze(1))
    context = context.transpose(1, 2).unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]
    seen = keep.any(-1).expand(-1, size).reshape(batch, -1)[:, :length]
    return context.transpose(1, 2), seen


def _split_parts(x: Tensor, dim: int, size: int) -> Tensor:
    """(B, S) -> (B, N, L); (B, H, S, D), dim 2 -> (B, N, L, H, D), which is how a projection left it."""
    x = _pad_to_multiple(x, dim, size)
    return (x if dim == 1 else x.transpose(1, 2)).unflatten(1, (-1, size))


def _with_neighbours(parts: Tensor, causal: bool) -> Tensor:
    """(B, N, L, ...) -> (B, N, 2 or 3 L, ...): the part before, the part itself, the part after; 0 beyond the ends."""
    nothing = torch.zeros_like(parts[:, :1])
    neighbours = [torch.cat((nothing, parts[:, :-1]), 1), parts]
    if not causal:
        neighbours.append(torch.cat((parts[:, 1:], nothing), 1))
    return torch.cat(neighbours, 2)


def _pad_to_multiple(x: Tensor, dim: int, size: int) -> Tensor:
    """Zeros (False) at the end of ``dim``, up to a multiple of ``size``."""
    missing = -x.shape[dim] % size
    return F.pad(x, (0, 0) * (x.dim() - 1 - dim) + (0, missing)) if missing else x
