"""Selections: weights as they are (soft), or one position drawn by them (hard).

Shapes: B batch, H heads, T queries, S memory positions. A draw is a function of the sequence's seed, which travels in
the state, and of the places of query and memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.components import counter_rng
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionState
from seq2seq.errors import UserError
from seq2seq.layers.tensors import widen

Draw = Callable[[], Tensor]
"""() -> u (B, H, T, S), uniform in (0, 1)."""
Credit = Literal["sentence", "to_go", "token", "mean"]
Baseline = Literal["none", "moving", "soft", "self_critical", "leave_one_out"]
Reading = Literal["sample", "soft", "likeliest"]


@dataclass(frozen=True)
class SelectedWeights:
    """Weights as they are used, log-probabilities (B, H, T) of what was drawn, penalties {name: (B, H, T)}."""

    weights: Tensor
    log_prob: Tensor | None = None
    penalties: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimator:
    """How draws learn from costs: A_t = credit(C)_t - baseline_t multiplies grad log a_t[s_t] (Williams 1992).

    With C_t the cost of target token t, ``credit`` is what the draw of step t answers for:

    - ``sentence``: sum_u C_u (Xu 2015, equation 11). Exact.
    - ``to_go``: sum_{u >= t} C_u, as a draw changes no cost before it (Schulman 2015, arXiv:1506.05254, theorem 1).
      Exact.
    - ``token``: C_t alone (Deng 2018, section 3). Biased where later tokens depend on what was drawn, as by input
      feeding or through the layers above; the noise is the least.
    - ``mean``: the mean of the sentence's costs, as Xu's released code has it. Biased: the gradient of ``sentence``
      is divided by the sentence's length.

    ``baseline`` is what is taken off, and must not depend on the draw:

    - ``none``: 0.
    - ``moving``: the moving mean of the credit over earlier updates (Xu 2015, section 4.1).
    - ``soft``: the costs under soft attention (Deng 2018, section 3).
    - ``self_critical``: the costs where the likeliest position is read (Rennie 2017, section 3).
    - ``leave_one_out``: the mean costs of the other ``draws`` of the same target (Kool 2019).

    ``draws`` is how often each target is drawn for; the loss is the mean.

    Raises:
        UserError: an option is unknown, or ``leave_one_out`` has no other draw.
    """

    credit: Credit = "sentence"
    baseline: Baseline = "moving"
    draws: int = 1

    def __post_init__(self) -> None:
        for name, known in (("credit", get_args(Credit)), ("baseline", get_args(Baseline))):
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)} is unknown; choose {', '.join(known)}")
        at_least_1(draws=self.draws)
        if self.baseline == "leave_one_out" and self.draws < 2:
            raise UserError(f"draws={self.draws} leaves no other draw for baseline=leave_one_out; use draws=2 or more")


class Selection(AttentionComponent, ABC):
    """``gradient`` says how the gradient of the training loss reaches the weights: ``Attention.gradient``."""

    gradient: str = "exact"

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
    through the penalty ``negative_entropy`` = sum_j a_tj log a_tj. With a probability that goes from ``soft`` to
    ``final_soft`` a forward pass is made with a itself, the "expected value" of the sample (the paper's section 4.1):
    one draw for the whole batch, as in the released code, but each slot draws for itself, where Xu has one. Evaluation
    reads the likeliest position.

    Args:
        soft: The probability that a training pass is soft, until ``anneal_from``.
        final_soft: The same from ``anneal_to`` on, linear between, as Bengio 2015 anneals scheduled
            sampling (arXiv:1506.03099, section 2.4); None = ``soft``.
        anneal_from: A share of training.
        anneal_to: A share of training.
        temperature: tau; in training a is proportional to the weights^(1/tau): above 1 draws explore more (Sutton &
            Barto 1998, section 2.3).
        credit: What a draw answers for (``Estimator``).
        baseline: What it is compared with (``Estimator``).
        draws: How often each target is drawn for (``Estimator``).
    """

    terms = ("negative_entropy", "reinforce")
    soft: Tensor | float  # of the next pass; a buffer where it is annealed

    def __init__(
        self,
        *,
        soft: float = 0.5,
        final_soft: float | None = None,
        anneal_from: float = 0.0,
        anneal_to: float = 1.0,
        temperature: float = 1.0,
        credit: Credit = "sentence",
        baseline: Baseline = "moving",
        draws: int = 1,
    ) -> None:
        super().__init__()
        final_soft = soft if final_soft is None else final_soft
        for name, value in (("soft", soft), ("final_soft", final_soft)):
            if not 0.0 <= value <= 1.0:
                raise UserError(f"{name}={value} is a probability and must lie in 0..1")
        if not 0.0 <= anneal_from < anneal_to <= 1.0:
            raise UserError(
                f"anneal_from={anneal_from} and anneal_to={anneal_to} are shares of training: the first must be at "
                "least 0 and below the second, which is at most 1"
            )
        if temperature <= 0:
            raise UserError(f"temperature={temperature} must be above 0")
        self.ends, self.anneal = (soft, final_soft), (anneal_from, anneal_to)
        self.temperature = temperature
        self.estimator = Estimator(credit, baseline, draws)
        self.gradient = "surrogate" if credit in ("sentence", "to_go") else "biased"
        self.reading: Reading = "sample"  # ``reading`` sets it
        self.draw_index = 0  # of several draws under the same random numbers
        if soft == final_soft:
            self.soft = soft
        else:
            self.register_buffer("soft", torch.tensor(float(soft)))

    @property
    def passes_gradient(self) -> bool:
        """Whether all passes are soft."""
        return self.ends == (1.0, 1.0)

    def set_progress(self, progress: float) -> None:
        """Move the probability of a soft pass, linearly between ``anneal_from`` and ``anneal_to``."""
        if isinstance(self.soft, Tensor):
            (first, last), (start, stop) = self.ends, self.anneal
            share = min(max((progress - start) / (stop - start), 0.0), 1.0)
            self.soft.fill_(first + share * (last - first))

    def initial_state(self, batch: int, device: torch.device) -> AttentionState:
        """A seed each sequence, and whether this pass is soft."""
        state = super().initial_state(batch, device)
        if not state:
            return state
        soft = torch.rand(()) < self.soft  # drawn however it reads, so that the dropout that follows does not change
        if self.reading == "likeliest":
            return {}
        if self.reading == "soft":
            soft = torch.ones_like(soft)
        return {"seed": state["seed"] + self.draw_index, "soft": soft.expand(batch).to(device)}

    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        """Draw one position a query from the tempered weights, and return one-hot weights, or these in a soft pass."""
        if "seed" in state and self.temperature != 1.0:
            weights = _tempered(weights, self.temperature)
        return super().forward(weights, draw, state)

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


@contextmanager
def reading(model: nn.Module, how: Reading, draw: int = 0) -> Iterator[None]:
    """Let all hard selections of ``model`` read in one way in what follows, if they draw there at all.

    Args:
        model: A model, or a part of one.
        how: sample: as in training; soft: the weights themselves; likeliest: the likeliest position, as in evaluation.
        draw: Which of several draws to take under the same state of torch's generator.
    """
    selections = drawing(model)
    for selection in selections:
        selection.reading, selection.draw_index = how, draw
    try:
        yield
    finally:
        for selection in selections:
            selection.reading, selection.draw_index = "sample", 0


def drawing(model: nn.Module) -> list[Hard]:
    """Return the selections of ``model`` that learn from what they draw."""
    return [module for module in model.modules() if isinstance(module, Hard)]


class Gumbel(_Sampled):
    """Straight-through Gumbel-softmax (Jang 2017, sections 2.1 and 2.2; Maddison 2017): forward one-hot(argmax y),
    backward dy, y = softmax((log a + g) / tau), g = -log(-log u).

    tau goes from ``temperature`` to ``final_temperature`` exponentially as training goes. Evaluation reads the
    likeliest position.
    """

    gradient = "biased"
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


def _tempered(weights: Tensor, temperature: float) -> Tensor:
    """Weights (B, H, T, S) with the same sum, in proportion to weights^(1/temperature)."""
    possible, total = weights > 0, weights.sum(-1, keepdim=True)
    log = _log_where(weights, possible) / temperature
    shares = torch.softmax(log.masked_fill(~possible, torch.finfo(log.dtype).min), -1)
    return (total * shares.masked_fill(~possible, 0.0)).to(weights.dtype)


def _one_hot(of: Tensor, possible: Tensor) -> Tensor:
    """1 where ``of`` is largest among what is possible, else 0; zero rows where nothing is."""
    index = of.masked_fill(~possible, -torch.inf).argmax(-1, keepdim=True)
    return torch.zeros_like(of).scatter(-1, index, possible.any(-1, keepdim=True).to(of.dtype))
