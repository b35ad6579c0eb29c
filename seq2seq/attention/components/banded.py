"""Fast layouts for patterns: the sequence is split into parts, and each part attends only to the keys that it may see.

Time and memory grow as S times the width of a window, not as S^2. Queries, keys and values have the positions 0..S-1,
in order. Letters: B batch, H heads, G groups of heads that share keys, S positions, D width of a head, N parts,
L positions of a part.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.attention.components.windows import AttendPart
from seq2seq.attention.types import Memory, Query


def is_whole_sequence(query: Query, memory: Memory) -> bool:
    """Return whether query t and value t are both at position t: a whole sequence that attends to itself.

    This test reads S numbers and waits for the GPU. Call it only where it decides on work that takes longer.

    Args:
        query: Queries with positions (B, T).
        memory: Memory with positions (B, S, P).
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
    """Attend where |i - j| <= ``radius``.

    The sequence is split into parts of ``size`` >= ``radius`` positions. A part sees itself, the part before it and,
    unless ``causal``, the part after it. The first ``tokens`` positions see all and are seen by all: their keys are
    added to each part, and their queries attend once more to the whole sequence.

    Args:
        queries: Queries (B, H, S, D).
        keys: Keys (B, G, S, D).
        values: Values (B, G, S, D).
        attend: Attends within one part.
        mask: Mask (B, S), True = real.
        radius: Largest distance, in positions.
        size: L, positions in a part.
        causal: Hide j > i.
        tokens: Number of global tokens.

    Returns:
        Contexts (B, H, S, D), and the mask (B, S) of queries that see anything.
    """
    batch, tokens = len(mask), min(tokens, mask.shape[1])
    # Mask the keys of a part and its neighbours by distance and padding.
    place = torch.arange(size, device=mask.device)
    offset = torch.arange(-size, size if causal else 2 * size, device=mask.device) - place[:, None]  # (L, 2 or 3 L)
    near = (offset >= -radius) & (offset <= (0 if causal else radius))
    local = mask & (torch.arange(mask.shape[1], device=mask.device) >= tokens)  # global tokens are added below
    keep = near & _with_neighbours(_split_parts(local, 1, size), causal).flatten(0, 1)[:, None]  # (B N, L, 2 or 3 L)
    # Split queries, keys and values into parts.
    query, key, value = (
        _split_parts(queries, 2, size),
        *(_with_neighbours(_split_parts(x, 2, size), causal) for x in (keys, values)),
    )
    # Add the global tokens to the keys of each part.
    if tokens:
        parts = query.shape[1]
        key, value = (
            torch.cat((x[:, :, :tokens].transpose(1, 2).unsqueeze(1).expand(-1, parts, -1, -1, -1), near), 2)
            for x, near in ((keys, key), (values, value))
        )
        seen = mask[:, None, None, :tokens].expand(-1, parts, size, -1).flatten(0, 1)
        keep = torch.cat((seen, keep), -1)
    # Attend within all parts at once.
    context, sees = _attend_parts(query, key, value, attend, keep, mask)
    # Let the global tokens attend to the whole sequence.
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
    """Attend where floor(i / size) == floor(j / size): each part sees only itself.

    Args:
        queries: Queries (B, H, S, D).
        keys: Keys (B, G, S, D).
        values: Values (B, G, S, D).
        attend: Attends within one part.
        mask: Mask (B, S), True = real.
        size: L, positions in a part.
        causal: Hide j > i.

    Returns:
        Contexts (B, H, S, D), and the mask (B, S) of queries that see anything.
    """
    # Mask padding, and later keys where the attention is causal.
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
    """Attend where (i - j) mod r = 0 and |i - j| <= radius r, as a band in each of r sequences of every r-th position.

    Args:
        queries: Queries (B, H, S, D).
        keys: Keys (B, G, S, D).
        values: Values (B, G, S, D).
        attend: Attends within one part.
        mask: Mask (B, S), True = real.
        radius: Largest distance, in steps of ``dilation`` positions.
        dilation: r.
        size: L, positions in a part of every r-th position.
        causal: Hide j > i.

    Returns:
        Contexts (B, H, S, D), and the mask (B, S) of queries that see anything.
    """
    batch, length = mask.shape

    def every_rth(x: Tensor, dim: int) -> Tensor:
        """Split (B, ., S, .) into r = dilation sequences (B r, ., S/r, .); sequence k has the positions r n + k."""
        x = torch.unflatten(_pad_to_multiple(x, dim, dilation), dim, (-1, dilation))
        return x.movedim(dim + 1, 1).flatten(0, 1)

    # Attend within a band of each sequence.
    query, key, value = (every_rth(x, 2) for x in (queries, keys, values))
    context, seen = banded(query, key, value, attend, mask=every_rth(mask, 1), radius=radius, size=size, causal=causal)
    # Put the positions of the r sequences back in order.
    context = context.unflatten(0, (batch, dilation)).movedim(1, 3).flatten(2, 3)
    return context[:, :, :length], seen.unflatten(0, (batch, dilation)).transpose(1, 2).flatten(1)[:, :length]


def _attend_parts(
    queries: Tensor, keys: Tensor, values: Tensor, attend: AttendPart, keep: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend within all parts at once, as a batch of B N.

    Queries (B, N, L, H, D), keys and values (B, N, L', G, D), ``keep`` (B N, 1 or L, L') -> contexts (B, H, S, D) and
    the mask (B, S) of queries that see anything.
    """
    batch, length = mask.shape
    size = queries.shape[2]
    # Make the parts a dimension of the batch.
    query, key, value = (x.flatten(0, 1).transpose(1, 2) for x in (queries, keys, values))
    context = attend(query, key, value, keep.unsqueeze(1))
    # Join the parts, without the padding at the end.
    context = context.transpose(1, 2).unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]
    seen = keep.any(-1).expand(-1, size).reshape(batch, -1)[:, :length]
    return context.transpose(1, 2), seen


def _split_parts(x: Tensor, dim: int, size: int) -> Tensor:
    """Split (B, S) into (B, N, L), or (B, H, S, D) with dim 2 into (B, N, L, H, D), as projections store it."""
    x = _pad_to_multiple(x, dim, size)
    return torch.unflatten(x if dim == 1 else x.transpose(1, 2), 1, (-1, size))


def _with_neighbours(parts: Tensor, causal: bool) -> Tensor:
    """Join each part (B, N, L, ...) with its neighbours, 0 beyond the ends, to (B, N, 2 or 3 L, ...)."""
    nothing = torch.zeros_like(parts[:, :1])
    neighbours = [torch.cat((nothing, parts[:, :-1]), 1), parts]
    if not causal:
        neighbours.append(torch.cat((parts[:, 1:], nothing), 1))
    return torch.cat(neighbours, 2)


def _pad_to_multiple(x: Tensor, dim: int, size: int) -> Tensor:
    """Append zeros (False) to dimension ``dim``, up to a multiple of ``size``."""
    missing = -x.shape[dim] % size
    return F.pad(x, (0, 0) * (x.dim() - 1 - dim) + (0, missing)) if missing else x
