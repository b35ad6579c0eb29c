"""Windows: which memory positions a query may see, and how their weights are shaped after normalising.

Shapes: B batch, H heads, T queries, S memory positions, P axes of position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import widen


class WindowMask(NamedTuple):
    """``visible`` (B, 1 or H, T, S) bool, None = all; ``factor``, alike, multiplies normalised weights, None = 1."""

    visible: Tensor | None = None
    factor: Tensor | None = None


AttendPart = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Soft attention: queries (B, H, T, D), keys and values (B, G, S, D), bool (B, 1, 1 or T, S) -> (B, H, T, D)."""
FastPath = Callable[[Tensor, Tensor, Tensor, AttendPart], tuple[Tensor, Tensor]]
"""Queries, keys, values, and what to ask for each part: contexts (B, H, T, D), and who sees anything (B, T)."""


class Window(AttentionComponent, ABC):
    """Base of windows: a window narrows what may be seen and never widens it.

    ``mass`` is what the weights sum to within the window; with ``renormalise`` they are divided by their sum.
    ``cache_window`` is how many of the first and of the last positions of a key-value cache later queries can still
    see; the others are dropped from it. None keeps all.
    """

    mass = "one"
    renormalise = False
    cache_window: tuple[int, int] | None = None

    def __init__(self, query_dim: int, heads: int, source: SourceSpec) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """What T queries see of S positions."""

    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        """Return a way to the same contexts that skips what ``forward`` hides, or None where there is none."""
        return None


class Global(Window):
    """No window: every position is visible."""

    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """Hide nothing and leave weights as they are."""
        return WindowMask()


class Last(Window):
    """Only the last real position: the encoder's final state, as in attention-free sequence to sequence
    (Sutskever 2014).
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec) -> None:
        super().__init__(query_dim, heads, source)
        if source.axes != 1:
            raise UserError("the last window needs an order in time; image regions have none")
        if source.causal:
            raise UserError("the last window needs a whole source; a memory that grows has no last position")

    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """True at position extent - 1."""
        last = memory.positions[..., 0] == memory.extent - 1  # (B, S)
        return WindowMask(last[:, None, None, :].expand(-1, -1, query.vector.shape[1], -1))


class _Centred(Window):
    """|s - p_t| <= D around a centre p_t."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int) -> None:
        super().__init__(query_dim, heads, source)
        if reach < 1:
            raise UserError(f"reach={reach}, the half width D of the window, must be at least 1")
        self.radius = reach


class LocalM(_Centred):
    """Local-m: [p_t - D, p_t + D] around p_t = t, monotone alignment assumed (Luong 2015, section 3.2).

    D = ``reach``. A target longer than the source by more than D sees nothing there: zero context.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int = 10) -> None:
        super().__init__(query_dim, heads, source, reach=reach)
        if source.axes != 1:
            raise UserError(
                "the local_m window moves on with time; image regions have no such order: use the window local_p"
            )
        self.cache_window = 0, reach

    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """Hide what is outside the window."""
        return WindowMask(_distance(query.position, memory).abs() <= self.radius)


class LocalP(_Centred):
    """Local-p: a predicted centre and a Gaussian around it (Luong 2015, section 3.2).

    p_t = S sigmoid(v_p^T tanh(W_p h_t)), S the true source length, positions counted from 0;
    a_t(s) = align(h_t, h_s) exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D/2, align normalised over
    [p_t - D, p_t + D]. As in the paper nothing normalises afterwards, so weights sum to at most one;
    ``renormalise`` divides by the sum. ``dim`` is the rows of W_p, by default the query's width.

    Over a grid, of which the paper does not speak, p_t and S are a row and a column, each predicted by a v_p of its
    own, the window is what lies within D along both axes, and the square of the distance is the sum over axes.
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
            raise UserError("local-p needs the length of a whole source; a memory that grows has none yet")
        self.mass = "one" if renormalise else "at_most_one"
        self.renormalise = renormalise
        self.hidden = nn.Linear(query_dim, dim or query_dim, bias=False)
        self.centre = nn.Linear(dim or query_dim, source.axes, bias=False)

    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """Hidden outside the window, shaped by the Gaussian inside."""
        centre = _predict_centre(self.hidden, self.centre, query, memory)  # (B, T, P)
        distance = memory.positions[:, None, None] - centre[:, None, :, None]  # (B, 1, T, S, P)
        shape = torch.exp(-2.0 * (distance / self.radius).square().sum(-1))  # sigma = D/2
        return WindowMask((distance.abs() <= self.radius).all(-1), shape)


class AdaptiveSpan(Window):
    """a = m_z softmax(e), divided by its sum; m_z(x) = clamp((R + z - x) / R, 0, 1) of the distance x (Sukhbaatar 2019,
    section 2.2, equations 4 and 5).

    z = ``max_span`` times a learned fraction, one a head, from ``init``, put back into 0..1 after each step; the
    penalty ``span`` is max_span mean(fraction), as in the released code; R = ``ramp``. Nothing is seen from R + z on
    (the released code's memory ends at max_span already). In self-attention x is measured from the query's own place,
    and a memory that grows keeps max_span + R places.
    In encoder-decoder attention, of which the paper doesn't speak, it is measured from ``centre``: p_t = t (local_m)
    or p_t = S sigmoid(v_p^T tanh(W_p h_t)) (local_p).
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
        if source.axes != 1:
            raise UserError("a span runs along time; image regions have no such order")
        at_least_1(max_span=max_span, ramp=ramp)
        if not 0.0 <= init <= 1.0:
            raise UserError(f"init={init} is a fraction of max_span and must lie in 0..1")
        if centre not in ("local_m", "local_p"):
            raise UserError(f"centre={centre} is unknown; choose local_m or local_p")
        if centre == "local_p" and source.is_self:
            raise UserError(
                f"centre={centre} predicts a centre, but in self-attention spans are measured from the query's own "
                "place: use centre=local_m"
            )
        self.max_span, self.ramp = max_span, ramp
        self.cache_window = 0, max_span + ramp
        self.fraction = nn.Parameter(torch.full((heads, 1, 1), float(init)))
        predicts = centre == "local_p"
        self.hidden = nn.Linear(query_dim, query_dim, bias=False) if predicts else None
        self.centre = nn.Linear(query_dim, 1, bias=False) if predicts else None

    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """(B, H, T, S): hidden where m_z is 0, shaped by it elsewhere."""
        centre = query.position
        if self.hidden is not None and self.centre is not None:
            centre = _predict_centre(self.hidden, self.centre, query, memory).squeeze(-1)
        span = self.max_span * widen(self.fraction).clamp(max=1.0)
        factor = ((self.ramp + span - _distance(centre, memory).abs()) / self.ramp).clamp(0.0, 1.0)
        return WindowMask(factor > 0, factor)

    def regulariser(self) -> dict[str, Tensor]:
        """Return the mean span of the heads."""
        return {"span": self.max_span * self.fraction.mean()}

    def constrain(self) -> None:
        """A fraction stays one."""
        with torch.no_grad():
            self.fraction.clamp_(0.0, 1.0)


def keep_ends(memory: Memory, first: int, last: int) -> Memory:
    """Keep the ``first`` and the ``last`` positions of a memory; its extent still counts all positions."""
    size = memory.mask.shape[1]
    if size <= first + last:
        return memory

    def ends(x: Tensor, dim: int) -> Tensor:
        tail = x.narrow(dim, size - last, last)
        return torch.cat((x.narrow(dim, 0, first), tail), dim) if first else tail

    return Memory(
        ends(memory.values, 1),
        ends(memory.mask, 1),
        ends(memory.positions, 1),
        memory.extent,
        prepared={name: ends(tensor, 2) for name, tensor in memory.prepared.items()},
    )


def _distance(centre: Tensor, memory: Memory) -> Tensor:
    """centre (B, T) -> s - p_t (B, 1, T, S)."""
    return memory.positions[:, None, None, :, 0] - centre[:, None, :, None]


def _predict_centre(hidden: nn.Linear, centre: nn.Linear, query: Query, memory: Memory) -> Tensor:
    """p_t = S sigmoid(v_p^T tanh(W_p h_t)): (B, T, P), along each axis."""
    logit = widen(centre(torch.tanh(hidden(query.vector))))  # in bf16 257 and 258 are one position
    return torch.sigmoid(logit) * memory.extent.unsqueeze(1)
