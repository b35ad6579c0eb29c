"""Windows: which memory positions a query may see, and factors of their normalised weights.

Shapes: B batch, H heads, T queries, S memory positions, P axes of position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import widen


class WindowMask(NamedTuple):
    """Output of a window: a mask and a factor of the normalised weights, both (B, 1 or H, T, S)."""

    visible: Tensor | None = None  # bool; None = all positions
    factor: Tensor | None = None  # None = 1


AttendPart = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Soft attention: queries (B, H, T, D), keys, values (B, G, S, D), mask (B, 1, 1 or T, S) -> contexts (B, H, T, D)."""
FastPath = Callable[[Tensor, Tensor, Tensor, AttendPart], tuple[Tensor, Tensor]]
"""Function (queries, keys, values, attend) -> (contexts, seen).

``attend`` attends within one part of the sequence. The contexts have shape (B, H, T, D); ``seen`` (B, T)
marks the queries that see anything.
"""


class Window(AttentionComponent, ABC):
    """Base of windows: a window hides positions and never shows hidden ones.

    ``mass`` declares the sum of the weights within the window. With ``renormalise`` the weights are divided by their
    sum. ``cache_window`` is (first, last): how many of the first and last positions of a key-value cache later queries
    can still see. The others are dropped from the cache. None keeps all.

    Args:
        query_dim: Q, width of the queries.
        heads: H, number of heads.
        source: Properties of the memory.
    """

    mass = "one"
    renormalise = False
    cache_window: tuple[int, int] | None = None

    def __init__(self, query_dim: int, heads: int, source: SourceSpec) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """Return the mask and the factor of T queries over S positions.

        Args:
            query: Queries (B, T, Q) with their positions.
            memory: Memory of S positions.
        """

    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        """Return a function that computes the same contexts without the hidden positions; None where there is none.

        Args:
            query: Queries (B, T, Q) with their positions.
            memory: Memory of S positions.
        """
        return None


class Global(Window):
    """Window that shows every position."""

    @override
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        return WindowMask()


class Last(Window):
    """Window that shows only the last real position.

    The context is the final state of the encoder, as in sequence to sequence without attention (Sutskever 2014).

    Args:
        query_dim, heads, source: As in ``Window``.

    Raises:
        UserError: The source is a grid or decoder self-attention.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec) -> None:
        super().__init__(query_dim, heads, source)
        if source.axes != 1:
            raise UserError("the last window needs positions in time; image regions have none")
        if source.causal:
            raise UserError("the last window needs a whole source; a memory that grows has no last position")

    @override
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        last = memory.positions[..., 0] == memory.extent - 1  # (B, S)
        return WindowMask(last[:, None, None, :].expand(-1, -1, query.vector.shape[1], -1))


class _Centred(Window):
    """Base of windows that show |s - p_t| <= D around a centre p_t."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int) -> None:
        super().__init__(query_dim, heads, source)
        if reach < 1:
            raise UserError(f"reach={reach}, half the width of the window, must be at least 1")
        self.radius = reach


class LocalM(_Centred):
    """Local-m: a window around the query's own position, for monotone alignments.

    It shows [p_t - D, p_t + D] around p_t = t (Luong 2015, section 3.2). A target position beyond the end of the source
    by more than D sees nothing and gets a zero context.

    Args:
        query_dim, heads, source: As in ``Window``.
        reach: D, half the width of the window.

    Raises:
        UserError: The source is a grid, or ``reach`` is below 1.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int = 10) -> None:
        super().__init__(query_dim, heads, source, reach=reach)
        if source.axes != 1:
            raise UserError(
                "the local_m window follows positions in time; image regions have none. Use the window local_p"
            )
        self.cache_window = 0, reach

    @override
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        return WindowMask(_distance(query.position, memory).abs() <= self.radius)


class LocalP(_Centred):
    """Local-p: a window with a predicted centre and a Gaussian around it (Luong 2015, section 3.2).

    p_t = S sigmoid(v_p^T tanh(W_p h_t)), where S is the true source length and positions count from 0;
    a_t(s) = align(h_t, h_s) exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D/2, where align is normalised over
    [p_t - D, p_t + D]. As in the paper, nothing is normalised afterwards, so that the weights sum to at most one.

    The paper has no grids. Over a grid, p_t and S are a row and a column, each predicted by its own v_p; the window
    shows what lies within D along both axes, and the square of the distance is the sum over the axes.

    Args:
        query_dim, heads, source: As in ``Window``.
        reach: D, half the width of the window.
        dim: Number of rows of W_p; None = Q.
        renormalise: Divide the weights by their sum.

    Raises:
        UserError: The source is decoder self-attention, or a size is below 1.
    """

    def __init__(
        self,
        query_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        reach: int = 10,
        dim: int | None = None,
        renormalise: bool = False,
    ) -> None:
        super().__init__(query_dim, heads, source, reach=reach)
        at_least_1(dim=dim)
        if source.causal:
            raise UserError(
                "the local_p window needs the length of the whole source, which a memory that grows does not have yet"
            )
        # Declare the mass, and build the network of the centre.
        self.mass = "one" if renormalise else "at_most_one"
        self.renormalise = renormalise
        self.hidden = nn.Linear(query_dim, dim or query_dim, bias=False)
        self.centre = nn.Linear(dim or query_dim, source.axes, bias=False)

    @override
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        # Measure the distance from the predicted centre on each axis.
        centre = _predict_centre(self.hidden, self.centre, query, memory)  # (B, T, P)
        distance = memory.positions[:, None, None] - centre[:, None, :, None]  # (B, 1, T, S, P)
        # Shape the window with a Gaussian, where sigma = D/2.
        shape = torch.exp(-2.0 * (distance / self.radius).square().sum(-1))  # sigma = D/2
        return WindowMask((distance.abs() <= self.radius).all(-1), shape)


class AdaptiveSpan(Window):
    """Window with a learned span for each head (Sukhbaatar 2019, section 2.2, equations 4 and 5).

    a = m_z softmax(e), divided by its sum, with m_z(x) = clamp((R + z - x) / R, 0, 1) of the distance x. The span z is
    ``max_span`` times a learned fraction. The penalty ``span`` is max_span mean(fraction), as in the released code.
    Positions at a distance of R + z or more are hidden (in the released code, the memory already ends at max_span).

    In self-attention, x is the distance from the query's own position, and a memory that grows keeps max_span + R
    positions. The paper has no encoder-decoder attention; there x is the distance from ``centre``.

    Args:
        query_dim, heads, source: As in ``Window``.
        max_span: Largest span, in positions.
        ramp: R, length of the decrease from 1 to 0, in positions.
        init: Initial fraction of ``max_span``, 0..1.
        centre: ``local_m`` for p_t = t, or ``local_p`` for p_t = S sigmoid(v_p^T tanh(W_p h_t)).

    Raises:
        UserError: The source is a grid, an option is out of range, or self-attention has ``centre=local_p``.
    """

    renormalise = True
    terms = ("span",)

    def __init__(
        self,
        query_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        max_span: int = 32,
        ramp: int = 32,
        init: float = 0.1,
        centre: str = "local_m",
    ) -> None:
        super().__init__(query_dim, heads, source)
        # Check the source and the options.
        if source.axes != 1:
            raise UserError("a span needs positions in time; image regions have none")
        at_least_1(max_span=max_span, ramp=ramp)
        if not 0.0 <= init <= 1.0:
            raise UserError(f"init={init} is a fraction of max_span and must lie in 0..1")
        if centre not in ("local_m", "local_p"):
            raise UserError(f"centre={centre} is unknown; choose local_m or local_p")
        if centre == "local_p" and source.is_self:
            raise UserError(
                f"centre={centre} predicts a centre, but in self-attention a span begins at the query's own "
                "position; use centre=local_m"
            )
        # Build the span, and the predicted centre if there is one.
        self.max_span, self.ramp = max_span, ramp
        self.cache_window = 0, max_span + ramp
        self.fraction = nn.Parameter(torch.full((heads, 1, 1), float(init)))
        predicts = centre == "local_p"
        self.hidden = nn.Linear(query_dim, query_dim, bias=False) if predicts else None
        self.centre = nn.Linear(query_dim, 1, bias=False) if predicts else None

    @override
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        # Measure the span from the centre.
        centre = query.position
        if self.hidden is not None and self.centre is not None:
            centre = _predict_centre(self.hidden, self.centre, query, memory).squeeze(-1)
        # Decrease the weights from 1 to 0 beyond the span.
        span = self.max_span * widen(self.fraction).clamp(max=1.0)
        factor = ((self.ramp + span - _distance(centre, memory).abs()) / self.ramp).clamp(0.0, 1.0)
        return WindowMask(factor > 0, factor)

    @override
    def regulariser(self) -> dict[str, Tensor]:
        """Return the mean span of the heads."""
        return {"span": self.max_span * self.fraction.mean()}

    @override
    def constrain(self) -> None:
        """Keep each fraction in 0..1."""
        with torch.no_grad():
            self.fraction.clamp_(0.0, 1.0)


def keep_ends(memory: Memory, first: int, last: int) -> Memory:
    """Keep the ``first`` and the ``last`` positions of a prepared memory; its extent still counts all positions.

    Args:
        memory: Key-value cache with prepared tensors whose S is dimension 2.
        first: Number of positions to keep at the start.
        last: Number of positions to keep at the end.
    """
    size = memory.mask.shape[1]
    if size <= first + last:
        return memory

    def ends(x: Tensor, dim: int) -> Tensor:
        tail = x.narrow(dim, size - last, last)
        return torch.cat((x.narrow(dim, 0, first), tail), dim) if first else tail

    # Cut all tensors, but not the extent.
    return Memory(
        ends(memory.values, 1),
        ends(memory.mask, 1),
        ends(memory.positions, 1),
        memory.extent,
        prepared={name: ends(tensor, 2) for name, tensor in memory.prepared.items()},
    )


def _distance(centre: Tensor, memory: Memory) -> Tensor:
    """Return s - p_t (B, 1, T, S) for centres (B, T)."""
    return memory.positions[:, None, None, :, 0] - centre[:, None, :, None]


def _predict_centre(hidden: nn.Linear, centre: nn.Linear, query: Query, memory: Memory) -> Tensor:
    """Return p_t = S sigmoid(v_p^T tanh(W_p h_t)) along each axis, (B, T, P)."""
    # Use at least fp32: in bf16, 257 and 258 are the same position.
    logit = widen(centre(torch.tanh(hidden(query.vector))))
    return torch.sigmoid(logit) * memory.extent.unsqueeze(1)
