"""Selections: use the weights as they are (soft), or one position sampled from them (hard).

Shapes: B batch, H heads, T queries, S memory positions. A random draw is a function of the sequence's seed, which the
state carries, and of the positions of query and memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.components import counter_rng
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionState
from seq2seq.errors import UserError
from seq2seq.layers.tensors import widen

Draw = Callable[[], Tensor]
"""Function () -> u (B, H, T, S), uniform in (0, 1)."""
Credit = Literal["sentence", "to_go", "token", "mean"]
Baseline = Literal["none", "moving", "soft", "self_critical", "leave_one_out"]
Reading = Literal["sample", "soft", "likeliest"]


@dataclass(frozen=True)
class SelectedWeights:
    """Output of a selection."""

    weights: Tensor  # (B, H, T, S) weights that are used
    log_prob: Tensor | None = None  # (B, H, T) log-probability of the sampled positions
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, H, T)}


@dataclass(frozen=True)
class Estimator:
    """Settings of REINFORCE: how sampled positions learn from costs (Williams 1992).

    The advantage A_t = credit(C)_t - baseline_t multiplies grad log a_t[s_t]. C_t is the cost of target token t.
    ``credit`` selects the costs that the sample of step t is responsible for:

    - ``sentence``: sum_u C_u (Xu 2015, equation 11). Exact.
    - ``to_go``: sum_{u >= t} C_u, because a sample changes no cost before it (Schulman 2015, arXiv:1506.05254, theorem
      1). Exact.
    - ``token``: C_t alone (Deng 2018, section 3). Biased where later tokens depend on the sample, through input feeding
      or the layers above. It has the least noise.
    - ``mean``: the mean of the sentence's costs, as in Xu's released code. Biased: the gradient of ``sentence`` is
      divided by the sentence's length.

    ``baseline`` is subtracted from the credit and must not depend on the sample:

    - ``none``: 0.
    - ``moving``: the moving mean of the credit over earlier updates (Xu 2015, section 4.1).
    - ``soft``: the costs under soft attention (Deng 2018, section 3).
    - ``self_critical``: the costs where the likeliest position is read (Rennie 2017, section 3).
    - ``leave_one_out``: the mean costs of the other ``draws`` of the same target (Kool 2019).

    Attributes:
        credit: Costs that a sample is responsible for.
        baseline: Value that is subtracted from the credit.
        draws: Number of samples for each target; the loss is their mean.

    Raises:
        UserError: An option is unknown, or ``leave_one_out`` has no other draw.
    """

    credit: Credit = "sentence"
    baseline: Baseline = "moving"
    draws: int = 1

    def __post_init__(self) -> None:
        # Check the options.
        for name, known in (("credit", get_args(Credit)), ("baseline", get_args(Baseline))):
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)} is unknown; choose {', '.join(known)}")
        at_least_1(draws=self.draws)
        if self.baseline == "leave_one_out" and self.draws < 2:
            raise UserError(f"draws={self.draws} leaves no other draw for baseline=leave_one_out; use draws=2 or more")


class Selection(AttentionComponent, ABC):
    """Base of selections.

    ``gradient`` declares how the gradient of the training loss reaches the weights, as in ``Attention.gradient``.
    """

    gradient: str = "exact"
    __call__: Callable[..., SelectedWeights]

    def initial_state(self, batch: int, device: torch.device) -> AttentionState:
        """Return the random state that is drawn once for each sequence.

        Args:
            batch: B, number of sequences.
            device: Device of the state.

        Returns:
            Tensors by name, whose first dimension is B; {} where nothing is drawn.
        """
        return {}

    @abstractmethod
    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        """Select the weights that are used.

        Args:
            weights: Weights (B, H, T, S), after bias, normaliser and window.
            draw: Draws uniform numbers (B, H, T, S).
            state: State with the result of ``initial_state``.
        """


class Soft(Selection):
    """Soft selection: the weights as they are, so that the context is an expectation."""

    @override
    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        return SelectedWeights(weights)


class _Sampled(Selection):
    """Base of selections that read one position for each head and query.

    The position is sampled in training, and the likeliest one in evaluation.

    The probability p of a position is its share of the weights. Where a window reduces the sum of the weights, p is the
    rest divided by its sum.
    """

    gradient = "surrogate"

    @override
    def initial_state(self, batch: int, device: torch.device) -> AttentionState:
        """Return one seed for each sequence in training, and {} in evaluation."""
        return {"seed": counter_rng.seeds(batch, device)} if self.training else {}

    @override
    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        possible = weights > 0
        # In evaluation, read the likeliest position.
        if "seed" not in state:
            return SelectedWeights(_one_hot(weights, possible))
        # In training, sample by the Gumbel-max trick.
        total = weights.sum(-1, keepdim=True)
        log_p = _log_where(weights, possible) - _log_where(total, total > 0)
        return self.drawn(weights, log_p, log_p + gumbel(draw()), possible, state)

    @abstractmethod
    def drawn(
        self, weights: Tensor, log_p: Tensor, perturbed: Tensor, possible: Tensor, state: AttentionState
    ) -> SelectedWeights:
        """Return the weights that are used in training. All tensors have shape (B, H, T, S).

        Args:
            weights: Weights before sampling.
            log_p: Log-probability of each position.
            perturbed: ``log_p`` plus Gumbel noise; it is largest at the sampled position.
            possible: Mask of the positions with a positive weight.
            state: State with the result of ``initial_state``.
        """


class Hard(_Sampled):
    """Stochastic hard attention, trained by REINFORCE.

    s_t ~ Multinoulli(a_t), c_t = v_{s_t} (Xu 2015, section 4.1). The gradient reaches a through log a_{t,s_t}
    (``log_prob``), which REINFORCE uses (``seq2seq.loss``), and through the penalty
    ``negative_entropy`` = sum_j a_tj log a_tj. Evaluation reads the likeliest position.

    With a probability that changes from ``soft`` to ``final_soft``, a training pass uses a itself, the "expected value"
    of the sample (the paper's section 4.1). One draw decides for the whole batch, as in the released code. Each
    attention slot has its own draw, where Xu's model has only one slot.

    Args:
        soft: Probability that a training pass is soft, until ``anneal_from``.
        final_soft: The same probability from ``anneal_to`` on, with a linear change in between, as Bengio 2015 anneals
            scheduled sampling (arXiv:1506.03099, section 2.4); None = ``soft``.
        anneal_from: Share of training where the change begins, 0..1.
        anneal_to: Share of training where the change ends, 0..1.
        temperature: tau; in training a is proportional to the weights^(1/tau). Above 1, samples explore more (Sutton &
            Barto 1998, section 2.3).
        credit: Costs that a sample is responsible for (``Estimator``).
        baseline: Value that is subtracted from the credit (``Estimator``).
        draws: Number of samples for each target (``Estimator``).

    Raises:
        UserError: An option is out of range.
    """

    terms = ("negative_entropy", "reinforce")
    soft: Tensor | float  # probability that the next pass is soft; a buffer where it changes

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
        # Check the options.
        final_soft = soft if final_soft is None else final_soft
        for name, value in (("soft", soft), ("final_soft", final_soft)):
            if not 0.0 <= value <= 1.0:
                raise UserError(f"{name}={value} is a probability and must lie in 0..1")
        if not 0.0 <= anneal_from < anneal_to <= 1.0:
            raise UserError(
                f"anneal_from={anneal_from} and anneal_to={anneal_to} must be shares of training with "
                "0 <= anneal_from < anneal_to <= 1"
            )
        if temperature <= 0:
            raise UserError(f"temperature={temperature} must be above 0")
        # Store the schedule and the estimator.
        self.ends, self.anneal = (soft, final_soft), (anneal_from, anneal_to)
        self.temperature = temperature
        self.estimator = Estimator(credit, baseline, draws)
        self.gradient = "surrogate" if credit in ("sentence", "to_go") else "biased"
        self.reading: Reading = "sample"  # the context manager ``reading`` changes it
        self.draw_index = 0  # index of one of several samples under the same random state
        # A probability that changes is a buffer, so that checkpoints store it.
        if soft == final_soft:
            self.soft = soft
        else:
            self.register_buffer("soft", torch.tensor(float(soft)))

    @property
    @override
    def passes_gradient(self) -> bool:
        return self.ends == (1.0, 1.0)

    @override
    def set_progress(self, progress: float) -> None:
        """Change the probability of a soft pass linearly between ``anneal_from`` and ``anneal_to``."""
        if isinstance(self.soft, Tensor):
            (first, last), (start, stop) = self.ends, self.anneal
            share = min(max((progress - start) / (stop - start), 0.0), 1.0)
            self.soft.fill_(first + share * (last - first))

    @override
    def initial_state(self, batch: int, device: torch.device) -> AttentionState:
        """Return one seed for each sequence and whether this pass is soft; {} where the likeliest position is read."""
        state = super().initial_state(batch, device)
        if not state:
            return state
        # Draw in every reading mode, so that the random numbers of later dropout stay the same.
        soft = torch.rand(()) < self.soft
        # Follow the reading mode of the context manager.
        if self.reading == "likeliest":
            return {}
        if self.reading == "soft":
            soft = torch.ones_like(soft)
        return {"seed": state["seed"] + self.draw_index, "soft": soft.expand(batch).to(device)}

    @override
    def forward(self, weights: Tensor, draw: Draw, state: AttentionState) -> SelectedWeights:
        if "seed" in state and self.temperature != 1.0:
            weights = _tempered(weights, self.temperature)
        return super().forward(weights, draw, state)

    @override
    def drawn(
        self, weights: Tensor, log_p: Tensor, perturbed: Tensor, possible: Tensor, state: AttentionState
    ) -> SelectedWeights:
        # Use the weights themselves in a soft pass, where nothing is sampled.
        chosen = _one_hot(perturbed, possible).to(weights.dtype)
        soft = state["soft"][:, None, None]
        return SelectedWeights(
            torch.where(soft.unsqueeze(-1), weights, chosen),
            torch.where(soft, 0.0, (chosen * log_p).sum(-1)),
            {"negative_entropy": (possible * log_p.exp() * log_p).sum(-1)},
        )


@contextmanager
def reading(model: nn.Module, how: Reading, draw: int = 0) -> Iterator[None]:
    """Make all hard selections of ``model`` read in one way within the context, where they sample at all.

    Args:
        model: Model, or a part of one.
        how: ``sample``: as in training; ``soft``: the weights themselves; ``likeliest``: the likeliest position, as in
            evaluation.
        draw: Index of one of several samples under the same state of torch's generator.
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
    """Return the selections of ``model`` that learn from their samples.

    Args:
        model: Model, or a part of one.
    """
    return [module for module in model.modules() if isinstance(module, Hard)]


class Gumbel(_Sampled):
    """Straight-through Gumbel-softmax (Jang 2017, sections 2.1 and 2.2; Maddison 2017).

    y = softmax((log a + g) / tau), g = -log(-log u). The forward pass uses one-hot(argmax y), the backward pass the
    gradient dy. tau changes exponentially from ``temperature`` to ``final_temperature`` during training. Evaluation
    reads the likeliest position.

    Args:
        temperature: tau at the start of training.
        final_temperature: tau at the end of training.

    Raises:
        UserError: A temperature is not above 0.
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

    @override
    def set_progress(self, progress: float) -> None:
        """Set tau = first (last / first)^progress."""
        first, last = self.ends
        self.temperature.fill_(first * (last / first) ** progress)

    @override
    def drawn(
        self, weights: Tensor, log_p: Tensor, perturbed: Tensor, possible: Tensor, state: AttentionState
    ) -> SelectedWeights:
        # Compute the soft weights over the possible positions.
        y = perturbed / self.temperature.to(perturbed.dtype)
        y = torch.softmax(y.masked_fill(~possible, torch.finfo(y.dtype).min), -1).masked_fill(~possible, 0.0)
        # Compute y - y first: one-hot plus an exact 0 is exactly one-hot.
        return SelectedWeights((_one_hot(perturbed, possible) + (y - y.detach())).to(weights.dtype))


def gumbel(u: Tensor) -> Tensor:
    """Return Gumbel noise -log(-log u): the largest of e + noise is position j with probability softmax(e)_j.

    Args:
        u: Uniform numbers in (0, 1).
    """
    return -torch.log(-torch.log(u))


def _log_where(x: Tensor, where: Tensor) -> Tensor:
    """Return log x in at least fp32 where ``where`` is true, else 0 with no gradient."""
    return widen(x).where(where, 1.0).log()


def _tempered(weights: Tensor, temperature: float) -> Tensor:
    """Return weights (B, H, T, S) in proportion to weights^(1/temperature), with the same sum."""
    possible, total = weights > 0, weights.sum(-1, keepdim=True)
    log = _log_where(weights, possible) / temperature
    # Keep the sum of the weights, which may be below one.
    shares = torch.softmax(log.masked_fill(~possible, torch.finfo(log.dtype).min), -1)
    return (total * shares.masked_fill(~possible, 0.0)).to(weights.dtype)


def _one_hot(scores: Tensor, possible: Tensor) -> Tensor:
    """Return 1 at the largest score among the possible positions, else 0; rows without a possible position are zero."""
    # Take the first of several largest scores.
    index = scores.masked_fill(~possible, -torch.inf).argmax(-1, keepdim=True)
    return torch.zeros_like(scores).scatter(-1, index, possible.any(-1, keepdim=True).to(scores.dtype))
