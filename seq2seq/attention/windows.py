"""Windows: which memory positions a query may see, and how their weights are shaped after normalising.

Shapes: B batch, H heads, T queries, S memory positions, P axes of position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Memory, Query, SourceSpec
from seq2seq.attention.parts import Part
from seq2seq.errors import UserError


class View(NamedTuple):
    """``visible`` (B, 1 or H, T, S) bool, None = all; ``factor``, alike, multiplies normalised weights, None = 1."""

    visible: Tensor | None = None
    factor: Tensor | None = None


class Window(Part, ABC):
    """Narrows what may be seen; never widens it. ``mass`` is what the weights then sum to, divided by their sum
    if ``renormalise``.
    """

    mass = "one"
    renormalise = False

    def __init__(self, query_dim: int, heads: int, source: SourceSpec) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, query: Query, memory: Memory) -> View:
        """What T queries see of S positions."""


class Global(Window):
    """Everything."""

    def forward(self, query: Query, memory: Memory) -> View:
        """Nothing hidden, nothing reshaped."""
        return View()


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

    def forward(self, query: Query, memory: Memory) -> View:
        """True at position extent - 1."""
        last = memory.positions[..., 0] == memory.extent - 1  # (B, S)
        return View(last[:, None, None, :].expand(-1, -1, query.vector.shape[1], -1))


class _Centred(Window):
    """|s - p_t| <= D around a centre p_t."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int) -> None:
        super().__init__(query_dim, heads, source)
        if source.axes != 1:
            raise UserError("a local window runs along time; image regions have no such order")
        if reach < 1:
            raise UserError(f"window.reach is D, the half width of the window, and must be at least 1, got {reach}")
        self.reach = reach

    def distance(self, centre: Tensor, memory: Memory) -> Tensor:
        """centre (B, T) -> s - p_t (B, 1, T, S)."""
        return memory.positions[:, None, None, :, 0] - centre[:, None, :, None]


class LocalM(_Centred):
    """Local-m: [p_t - D, p_t + D] around p_t = t, monotone alignment assumed (Luong 2015, section 3.2).

    D = ``reach``. A target longer than the source by more than D sees nothing there: zero context.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int = 10) -> None:
        super().__init__(query_dim, heads, source, reach=reach)

    def forward(self, query: Query, memory: Memory) -> View:
        """Hidden outside the window."""
        return View(self.distance(query.position, memory).abs() <= self.reach)


class LocalP(_Centred):
    """Local-p: a predicted centre and a Gaussian around it (Luong 2015, section 3.2).

    p_t = S sigmoid(v_p^T tanh(W_p h_t)), S the true source length, positions counted from 0;
    a_t(s) = align(h_t, h_s) exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D/2, align normalised over
    [p_t - D, p_t + D]. As in the paper nothing normalises afterwards, so weights sum to at most one;
    ``renormalise`` divides by the sum. ``dim`` is the rows of W_p, by default the query's width.
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
        if source.causal:
            raise UserError("local-p needs the length of a whole source; a memory that grows has none yet")
        self.mass = "one" if renormalise else "at_most_one"
        self.renormalise = renormalise
        self.hidden = nn.Linear(query_dim, dim or query_dim, bias=False)
        self.centre = nn.Linear(dim or query_dim, 1, bias=False)

    def forward(self, query: Query, memory: Memory) -> View:
        """Hidden outside the window, shaped by the Gaussian inside."""
        logit = self.centre(torch.tanh(self.hidden(query.vector))).squeeze(-1)  # (B, T)
        logit = logit.to(torch.promote_types(logit.dtype, torch.float32))  # in bf16 257 and 258 are one position
        distance = self.distance(torch.sigmoid(logit) * memory.extent, memory)  # (B, 1, T, S)
        return View(distance.abs() <= self.reach, torch.exp(-2.0 * (distance / self.reach) ** 2))  # sigma = D/2
