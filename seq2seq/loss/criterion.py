"""The one place that weighs and sums what training minimises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seq2seq.attention.components.selections import Estimator
from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.loss.cross_entropy import CrossEntropy, cross_entropy
from seq2seq.loss.passes import Passes, estimator_of
from seq2seq.loss.reinforce import baselines, reinforce
from seq2seq.loss.terms import check_alignment, doubly_stochastic, penalties, word_prediction
from seq2seq.model import Seq2Seq


@dataclass(frozen=True)
class Losses:
    """Sums over the batch's target tokens; divide by the number of tokens of the whole update."""

    total: Tensor  # what is minimised: smoothed cross-entropy + weighted terms
    nll: Tensor  # plain negative log-likelihood, for perplexity
    tokens: int
    terms: Mapping[str, Tensor] = field(default_factory=dict)  # each term, summed and unweighted
    costs: Tensor | None = None  # (2,) where a moving baseline needs them: ``Reinforce.costs``
    logged: Mapping[str, Tensor] = field(default_factory=dict)  # further figures for the log, times ``tokens``

    @staticmethod
    def mean(draws: Sequence[Losses]) -> Losses:
        """Return the mean of several draws for the same targets."""
        if len(draws) == 1:
            return draws[0]

        def each(parts: Iterable[Tensor]) -> Tensor:
            return torch.stack(list(parts)).mean(0)

        first = draws[0]
        return Losses(
            each(losses.total for losses in draws),
            each(losses.nll for losses in draws),
            first.tokens,
            {name: each(losses.terms[name] for losses in draws) for name in first.terms},
            None if first.costs is None else each(losses.costs for losses in draws if losses.costs is not None),
            {name: each(losses.logged[name] for losses in draws) for name in first.logged},
        )


class Criterion(nn.Module):
    """Label-smoothed cross-entropy and the terms that mechanisms report: the loss of training.

    ``weights`` gives the coefficient of each term by name; a term without one is refused, so that none is dropped
    silently. ``start_at`` delays terms: {coverage: 0.9} counts it in the last tenth of training only,
    {coverage: 230000} from that update on (See 2017, section 5, where it is the last 3,000 of 233,000).
    Beside the penalties of ``AttentionOutput`` the terms are:

    - ``reinforce``, where a mechanism draws its weights, by the mechanism's ``Estimator``. A moving baseline is a
      buffer, which ``update_baseline`` moves once an update. ``reinforce_variance`` is logged beside it: that of the
      advantage, which multiplies the gradient.
    - ``doubly_stochastic``, where it has a coefficient: it needs the weights of the pass (``needs_weights``).
    - ``word_prediction``, where it has a coefficient.

    The surrogate of sampled alternatives is part of the cross-entropy: its coefficient is 1, as it completes a
    gradient.
    """

    baseline: Tensor
    progress: Tensor
    updates: Tensor

    def __init__(
        self,
        label_smoothing: float = 0.0,
        weights: Mapping[str, float] | None = None,
        start_at: Mapping[str, float] | None = None,
        baseline_decay: float = 0.9,
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
        if not 0.0 <= baseline_decay <= 1.0:
            raise UserError(f"baseline_decay={baseline_decay} must lie in 0..1")
        self.label_smoothing, self.baseline_decay = label_smoothing, baseline_decay
        self.coefficients, self.start_at = dict(weights or {}), dict(start_at or {})
        self.has_no_end = False  # ``start_at`` can't be followed: nothing says when training ends
        for name, weight in self.coefficients.items():
            if not _is_number(weight):
                raise UserError(f"weights.{name}={weight} must be a finite number; 0 leaves the term out")
        for name, share in self.start_at.items():
            if name not in self.coefficients:
                raise UserError(f"start_at.{name}={share} has no weights.{name}; {self._known()}")
            if not (_is_number(share) and share >= 0.0 and (share <= 1.0 or share == int(share))):
                raise UserError(f"start_at.{name}={share} must be a share of training (0..1) or a number of updates")
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("progress", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long), persistent=False)

    @property
    def weights(self) -> Mapping[str, float | Tensor]:
        """Return the coefficients that count now."""
        return {
            name: self._counts(self.start_at[name]) * weight if name in self.start_at else weight
            for name, weight in self.coefficients.items()
        }

    @property
    def needs_weights(self) -> bool:
        """Whether the pass whose loss is taken has to return its attention weights."""
        return bool(self.coefficients.get("doubly_stochastic"))

    def _counts(self, start: float) -> Tensor:
        """Whether a share of training, or a number of updates, is over."""
        return (self.progress if start <= 1.0 else self.updates) >= start

    def set_progress(self, progress: float, updates: int) -> None:
        """Set how far training has come, from 0 to 1, and after how many updates."""
        self.progress.fill_(progress)
        self.updates.fill_(updates)

    def update_baseline(self, costs: Tensor) -> None:
        """Move the baseline after an update: b <- d b + (1 - d) mean C, d = ``baseline_decay``.

        Args:
            costs: (2,), the sum of ``Losses.costs`` over all micro-batches and processes of the update. The mean is of
                the sentences that have a target; one that is not finite changes nothing.
        """
        mean = (costs[0] / costs[1]).to(self.baseline.dtype)
        self.baseline.lerp_(mean.where(mean.isfinite(), self.baseline), 1.0 - self.baseline_decay)

    def check_model(self, model: Seq2Seq) -> None:
        """Refuse a model that a term can't be taken of; it may be on the meta device."""
        estimator_of(model)
        if self.needs_weights:
            check_alignment(model)

    def check_terms(self, names: Iterable[str]) -> None:
        """Refuse terms without a coefficient, and those that would wait for ever."""
        for name in names:
            if name not in self.coefficients:
                raise UserError(
                    f"the attention mechanism reports a term {name}; give its coefficient: {self._known(name)}"
                )
            if self.has_no_end and self.coefficients[name] and 0.0 < self.start_at.get(name, 0.0) <= 1.0:
                raise UserError(
                    f"loss.start_at.{name}={self.start_at[name]} is a share of training, but nothing says when this "
                    "run ends: set trainer.max_steps or trainer.max_time, or the option to 0 or a number of updates"
                )

    def forward(self, passes: Passes | Decoded, batch: Batch) -> Losses:
        """Return the loss of the teacher-forced passes over ``batch``, or of a single one."""
        if isinstance(passes, Decoded):
            passes = Passes([passes])
        losses = [cross_entropy(decoded, batch, self.label_smoothing) for decoded in passes.draws]
        reference = None
        if passes.reference is not None:
            with torch.no_grad():
                reference = cross_entropy(passes.reference, batch, self.label_smoothing).per_token
        expected = baselines([loss.per_token for loss in losses], reference, passes.estimator)
        return Losses.mean(
            [
                self._weighed(loss, decoded, batch, passes.estimator, costs)
                for loss, decoded, costs in zip(losses, passes.draws, expected, strict=True)
            ]
        )

    def _weighed(
        self, loss: CrossEntropy, decoded: Decoded, batch: Batch, estimator: Estimator, expected: Tensor | None
    ) -> Losses:
        """Return the loss of one pass; ``expected`` (B, T) are the costs that its draws are compared with."""
        terms, costs, logged = penalties(decoded, batch), None, {}
        if decoded.log_prob is not None:
            is_moving = estimator.baseline == "moving"
            baseline = self.baseline if is_moving else torch.zeros_like(self.baseline)
            drawn = reinforce(loss.per_token, decoded.log_prob, batch.target_mask, baseline, expected, estimator.credit)
            terms["reinforce"], costs = drawn.term, drawn.costs if is_moving else None
            logged["reinforce_variance"] = batch.target_tokens * drawn.variance
        if self.needs_weights:
            terms["doubly_stochastic"] = doubly_stochastic(decoded, batch)
        if self.coefficients.get("word_prediction"):
            terms["word_prediction"] = word_prediction(decoded, batch)
        self.check_terms(terms)
        total, weights = loss.smoothed, self.weights
        for name, value in terms.items():
            total = total + weights[name] * value
        return Losses(total, loss.nll, batch.target_tokens, terms, costs, logged)

    def _known(self, missing: str = "NAME") -> str:
        return f"loss.weights.{missing}=NUMBER (there are: {', '.join(sorted(self.coefficients)) or 'none'})"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
