"""Selections: weights as they are (soft), or one position drawn by them (hard).

Shapes: B batch, H heads, T queries, S memory positions. A draw is a function of the sequence's seed, which travels in
the state, and of the places of query and memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.components import counter_rng
from seq2seq.attention.types import AttentionState
from seq2seq.errors import UserError
from seq2seq.layers.tensors import widen

Draw = Callable[[], Tensor]
"""() -> u (B, H, T, S), uniform in (0, 1)."""


@dataclass(frozen=True)
class SelectedWeights:
    """Weights as they are used, log-probabilities (B, H, T) of what was drawn, penalties {name: (B, H, T)}."""

    weights: Tensor
    log_prob: Tensor | None = None
    penalties: Mapping[str, Tensor] = field(default_factory=dict)


class Selection(AttentionComponent, ABC):
    """``gradient`` says whether back-propagation through the weights is exact."""

    gradient = "exact"

    def initial_state(self, batch: int, device: torch.device) -> AttentionState:
        """What is drawn once a sequence."""
        return {}

    @abstractmethod
    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        """(B, H, T, S) weights, bias, normaliser and window applied -> the weights to use."""


class Soft(Selection):
    """The expectation: weights as they are."""

    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        """Return the weights as they are; nothing is drawn."""
        return SelectedWeights(weights)


class _Sampled(Selection):
    """One position a head and query: drawn while training, the likeliest in evaluation.

    The probability p of a position is its share of the weights: where a window takes mass away, p is what is left,
    divided by its sum.
    """

    gradient = "surrogate"

    def initial_state(self, batch: int, device: torch.device) -> AttentionState:
        """A seed each sequence, while training."""
        return {"seed": counter_rng.seeds(batch, device)} if self.training else {}

    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        """Draw one position a query, and return one-hot weights."""
        possible = weights > 0
        if "seed" not in state:
            return SelectedWeights(_one_hot(weights, possible))
        total = weights.sum(-1, keepdim=True)
        log_p = _log_where(weights, possible) - _log_where(total, total > 0)
        return self.drawn(weights, log_p, log_p + gumbel(draw()), possible, state)

    @abstractmethod
    def drawn(
        self, weights: Tensor, log_p: Tensor, perturbed: Tensor, possible: Tensor, state: AttentionState
    ) -> SelectedWeights:
        """What is used in training: all (B, H, T, S); ``perturbed`` is largest at the position that was drawn."""


class Hard(_Sampled):
    """Stochastic hard attention: s_t ~ Multinoulli(a_t), c_t = v_{s_t} (Xu 2015, section 4.1).

    The gradient of a reaches the loss through log a_{t,s_t} (``log_prob``), by REINFORCE (``seq2seq.loss``), and
    through the penalty ``negative_entropy`` = sum_j a_tj log a_tj. With probability ``soft`` a forward pass is made
    with a itself, the "expected value" of the sample (the paper's section 4.1): one draw for the whole batch, as in the
    released code, but each slot draws for itself, where Xu has one. Evaluation reads the likeliest position.
    """

    terms = ("negative_entropy", "reinforce")

    def __init__(self, *, soft: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= soft <= 1.0:
            raise UserError(f"soft={soft} is a probability and must lie in 0..1")
        self.soft = soft

    @property
    def passes_gradient(self) -> bool:
        """Whether all passes are soft."""
        return self.soft == 1

    def initial_state(self, batch: int, device: torch.device) -> AttentionState:
        """A seed each sequence, and whether this pass is soft."""
        state = super().initial_state(batch, device)
        if state:
            state["soft"] = (torch.rand(()) < self.soft).expand(batch).to(device)
        return state

    def drawn(
        self, weights: Tensor, log_p: Tensor, perturbed: Tensor, possible: Tensor, state: AttentionState
    ) -> SelectedWeights:
        """The position itself, and the log-probability of each choice."""
        chosen = _one_hot(perturbed, possible).to(weights.dtype)
        soft = state["soft"][:, None, None]
        return SelectedWeights(
            torch.where(soft.unsqueeze(-1), weights, chosen),
            torch.where(soft, 0.0, (chosen * log_p).sum(-1)),
            {"negative_entropy": (possible * log_p.exp() * log_p).sum(-1)},
        )


class Gumbel(_Sampled):
    """Straight-through Gumbel-softmax (Jang 2017, sections 2.1 and 2.2; Maddison 2017): forward one-hot(argmax y),
    backward dy, y = softmax((log a + g) / tau), g = -log(-log u).

    tau goes from ``temperature`` to ``final_temperature`` exponentially as training goes. Evaluation reads the
    likeliest position.
    """

    temperature: Tensor

    def __init__(self, *, temperature: float = 1.0, final_temperature: float = 0.5) -> None:
        super().__init__()
        for name, value in (("temperature", temperature), ("final_temperature", final_temperature)):
            if value <= 0:
                raise UserError(f"{name}={value} must be above 0")
        self.ends = temperature, final_temperature
        self.register_buffer("temperature", torch.tensor(temperature))

    def set_progress(self, progress: float) -> None:
        """tau = first (last / first)^progress."""
        first, last = self.ends
        self.temperature.fill_(first * (last / first) ** progress)

    def drawn(
        self, weights: Tensor, log_p: Tensor, perturbed: Tensor, possible: Tensor, state: AttentionState
    ) -> SelectedWeights:
        """One-hot forward, soft backward."""
        y = perturbed / self.temperature.to(perturbed.dtype)
        y = torch.softmax(y.masked_fill(~possible, torch.finfo(y.dtype).min), -1).masked_fill(~possible, 0.0)
        # y - y first: one-hot plus 0 is one-hot to the bit
        return SelectedWeights((_one_hot(perturbed, possible) + (y - y.detach())).to(weights.dtype))


def gumbel(u: Tensor) -> Tensor:
    """-log(-log u): the largest of e + g falls on j with probability softmax(e)_j."""
    return -torch.log(-torch.log(u))


def _log_where(x: Tensor, where: Tensor) -> Tensor:
    """log x in at least fp32, 0 elsewhere, where there is no gradient either."""
    return widen(x).where(where, 1.0).log()


def _one_hot(of: Tensor, possible: Tensor) -> Tensor:
    """1 where ``of`` is largest among what is possible, else 0; zero rows where nothing is."""
    place = of.masked_fill(~possible, -torch.inf).argmax(-1, keepdim=True)
    return torch.zeros_like(of).scatter(-1, place, possible.any(-1, keepdim=True).to(of.dtype))
