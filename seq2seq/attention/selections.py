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
from torch.nn import functional as F

from seq2seq.attention import noise
from seq2seq.attention.base import State
from seq2seq.attention.parts import Part
from seq2seq.errors import UserError

Weigh = Callable[[Tensor], Tensor]
"""Scores (B, H, T, S) -> weights (B, H, T, S): bias, normaliser and window applied."""
Draw = Callable[[], Tensor]
"""() -> u (B, H, T, S), uniform in (0, 1)."""


@dataclass(frozen=True)
class Selected:
    """Weights as they are used, log-probabilities (B, H, T) of what was drawn, penalties {name: (B, H, T)}."""

    weights: Tensor
    log_prob: Tensor | None = None
    penalties: Mapping[str, Tensor] = field(default_factory=dict)


class Selection(Part, ABC):
    """``gradient`` says whether back-propagation through the weights is exact."""

    gradient = "exact"

    def initial_state(self, batch: int, device: torch.device) -> State:
        """What is drawn once a sequence."""
        return {}

    @abstractmethod
    def forward(self, scores: Tensor, weigh: Weigh, draw: Draw, state: State) -> Selected:
        """(B, H, T, S) scores -> the weights to use."""


class Soft(Selection):
    """The expectation: weights as they are."""

    def forward(self, scores: Tensor, weigh: Weigh, draw: Draw, state: State) -> Selected:
        """Nothing is drawn."""
        return Selected(weigh(scores))


class _Sampled(Selection):
    """One position a head and query: drawn while training, the likeliest in evaluation."""

    gradient = "surrogate"

    def initial_state(self, batch: int, device: torch.device) -> State:
        """A seed each sequence, while training."""
        return {"seed": noise.seeds(batch, device)} if self.training else {}


class Hard(_Sampled):
    """Stochastic hard attention: s_t ~ Multinoulli(a_t), c_t = v_{s_t} (Xu 2015, section 4.1).

    The gradient of a reaches the loss through log a_{t,s_t} (``log_prob``), by REINFORCE (``seq2seq.loss``), and
    through the penalty ``negative_entropy`` = sum_j a_tj log a_tj. With probability ``soft`` a forward pass is made
    with a itself, the "expected value" of the sample (the paper's section 4.1; one draw for the whole batch, as in the
    released code). Evaluation reads the likeliest position.
    """

    def __init__(self, *, soft: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= soft <= 1.0:
            raise UserError(f"selection.soft is a probability and must lie in 0..1, got {soft}")
        self.soft = soft

    def initial_state(self, batch: int, device: torch.device) -> State:
        """A seed each sequence, and whether this pass is soft."""
        state = super().initial_state(batch, device)
        if state:
            state["soft"] = (torch.rand(()) < self.soft).expand(batch).to(device)
        return state

    def forward(self, scores: Tensor, weigh: Weigh, draw: Draw, state: State) -> Selected:
        """One-hot weights, and the log-probability of each choice."""
        weights = weigh(scores)
        if "seed" not in state:
            return Selected(_one_hot(weights, weights))
        seen = weights > 0
        log_weights = torch.where(seen, weights, 1.0).log()
        total = weights.sum(-1)
        chosen = _one_hot(log_weights.detach() + gumbel(draw()).to(weights.dtype), weights)
        soft = state["soft"][:, None, None, None]
        picked = (chosen * log_weights).sum(-1) - torch.where(total > 0, total, 1.0).log()
        return Selected(
            torch.where(soft, weights, chosen),
            torch.where(soft.squeeze(-1), 0.0, picked),
            {"negative_entropy": (weights * log_weights).sum(-1)},
        )


class Gumbel(_Sampled):
    """Straight-through Gumbel-softmax (Jang 2017; Maddison 2017): forward one-hot(argmax y), backward dy,
    y = normalise((e + g) / tau), g = -log(-log u).

    tau goes from ``temperature`` to ``final_temperature`` exponentially as training goes. Evaluation reads the
    likeliest position.
    """

    temperature: Tensor

    def __init__(self, *, temperature: float = 1.0, final_temperature: float = 0.5) -> None:
        super().__init__()
        for name, value in (("temperature", temperature), ("final_temperature", final_temperature)):
            if value <= 0:
                raise UserError(f"selection.{name} must be above 0, got {value}")
        self.ends = temperature, final_temperature
        self.register_buffer("temperature", torch.tensor(temperature))

    def anneal(self, progress: float) -> None:
        """tau = first (last / first)^progress."""
        first, last = self.ends
        self.temperature.fill_(first * (last / first) ** progress)

    def forward(self, scores: Tensor, weigh: Weigh, draw: Draw, state: State) -> Selected:
        """One-hot forward, soft backward."""
        if "seed" not in state:
            weights = weigh(scores)
            return Selected(_one_hot(weights, weights))
        soft = weigh((scores + gumbel(draw()).to(scores.dtype)) / self.temperature.to(scores.dtype))
        return Selected(_one_hot(soft, soft) + soft - soft.detach())


def gumbel(u: Tensor) -> Tensor:
    """-log(-log u): the largest of e + g falls on j with probability softmax(e)_j."""
    return -torch.log(-torch.log(u))


def _one_hot(of: Tensor, weights: Tensor) -> Tensor:
    """1 where ``of`` is largest among positive ``weights``, else 0; zero rows where nothing is seen."""
    place = torch.where(weights > 0, of, -torch.inf).argmax(-1)
    return F.one_hot(place, weights.shape[-1]).to(weights.dtype) * (weights > 0).any(-1, keepdim=True)
