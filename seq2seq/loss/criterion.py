"""Criterion that weights and sums all terms of the training loss."""

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
    """Loss of one batch, as sums over its target tokens.

    Divide the sums by the number of target tokens of the whole update.
    """

    total: Tensor  # the minimised loss: smoothed cross-entropy + weighted terms
    nll: Tensor  # loss without smoothing: negative log-likelihood, or the loss of a sparse output layer
    tokens: int  # number of target tokens
    terms: Mapping[str, Tensor] = field(default_factory=dict)  # each term by name, summed, unweighted
    costs: Tensor | None = None  # (2,) ``Reinforce.costs``; None without a moving baseline
    logged: Mapping[str, Tensor] = field(default_factory=dict)  # other values for the log, multiplied by ``tokens``

    @staticmethod
    def mean(draws: Sequence[Losses]) -> Losses:
        """Return the mean of the losses of several draws for the same targets.

        Args:
            draws: The loss of each draw; at least one.

        Returns:
            Losses whose tensors are the means over the draws.
        """
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
    """Training loss: label-smoothed cross-entropy plus the weighted terms that attention mechanisms report.

    Every reported term needs a coefficient. A term without one is an error, so that no term is dropped silently.
    Besides the penalties of ``AttentionOutput`` there are these terms:

    - ``reinforce``, if a mechanism samples its weights. The ``Estimator`` of the mechanism defines it. A moving
      baseline is a buffer, and ``update_baseline`` updates it once per update. ``reinforce_variance`` is logged too:
      the variance of the advantage, which multiplies the gradient.
    - ``doubly_stochastic``, if it has a coefficient. It needs attention weights (``needs_weights``).
    - ``word_prediction``, if it has a coefficient.

    The surrogate loss of sampled alternatives is a part of the cross-entropy. Its coefficient is 1, because it
    completes a gradient.

    Args:
        label_smoothing: Share of the probability that is spread over the vocabulary, in [0, 1).
        weights: Coefficient of each term, by name.
        start_at: When a term starts to count, by name. A value up to 1 is a share of training: {coverage: 0.9} uses
            the term in the last tenth only. A larger value is a number of updates: {coverage: 230000} uses the term
            from that update on (See 2017, section 5, where it is the last 3,000 of 233,000).
        baseline_decay: Decay d of the moving baseline, 0 to 1.

    Raises:
        UserError: An option is out of range, or ``start_at`` names a term without a coefficient.
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
        # Check the options.
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
        if not 0.0 <= baseline_decay <= 1.0:
            raise UserError(f"baseline_decay={baseline_decay} must lie in 0..1")
        self.label_smoothing, self.baseline_decay = label_smoothing, baseline_decay
        self.coefficients, self.start_at = dict(weights or {}), dict(start_at or {})
        self.has_no_end = False  # the end of training is unknown, so a share of training in ``start_at`` is an error
        for name, weight in self.coefficients.items():
            if not _is_number(weight):
                raise UserError(f"weights.{name}={weight} must be a finite number; 0 leaves the term out")
        for name, share in self.start_at.items():
            if name not in self.coefficients:
                raise UserError(f"start_at.{name}={share} has no weights.{name}; {self._known()}")
            if not (_is_number(share) and share >= 0.0 and (share <= 1.0 or share == int(share))):
                raise UserError(f"start_at.{name}={share} must be a share of training (0..1) or a number of updates")
        # Baseline and progress are buffers, so that checkpoints hold them.
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("progress", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long), persistent=False)

    @property
    def weights(self) -> Mapping[str, float | Tensor]:
        """Current coefficient of each term: 0 before the term starts."""
        return {
            name: self._counts(self.start_at[name]) * weight if name in self.start_at else weight
            for name, weight in self.coefficients.items()
        }

    @property
    def needs_weights(self) -> bool:
        """True if the forward pass has to return attention weights."""
        return bool(self.coefficients.get("doubly_stochastic"))

    def _counts(self, start: float) -> Tensor:
        """Return True (a bool scalar) once training has reached ``start``: a share of training or an update."""
        return (self.progress if start <= 1.0 else self.updates) >= start

    def set_progress(self, progress: float, updates: int) -> None:
        """Set the progress of training.

        Args:
            progress: Share of training that is done, 0 to 1.
            updates: Number of updates that are done.
        """
        self.progress.fill_(progress)
        self.updates.fill_(updates)

    def update_baseline(self, costs: Tensor) -> None:
        """Update the moving baseline after an update: b <- d b + (1 - d) mean C, d = ``baseline_decay``.

        The mean is over the sentences that have a target. A mean that is not finite changes nothing.

        Args:
            costs: Sum of ``Losses.costs`` (2,) over all micro-batches and processes of the update.
        """
        # Select on the device, so that the host does not wait for it.
        mean = (costs[0] / costs[1]).to(self.baseline.dtype)
        self.baseline.lerp_(mean.where(mean.isfinite(), self.baseline), 1.0 - self.baseline_decay)

    def check_model(self, model: Seq2Seq) -> None:
        """Check that every chosen term can be computed for ``model``.

        Args:
            model: The model; it may be on the meta device.

        Raises:
            UserError: A term cannot be computed for this model.
        """
        estimator_of(model)
        if self.needs_weights:
            check_alignment(model)

    def check_terms(self, names: Iterable[str]) -> None:
        """Check that every term has a coefficient and will start.

        Args:
            names: Names of the terms that the model reports.

        Raises:
            UserError: A term has no coefficient, or it starts at a share of a training whose end is unknown.
        """
        for name in names:
            if name not in self.coefficients:
                raise UserError(
                    f"the attention mechanism reports a term {name}; give its coefficient: {self._known(name)}"
                )
            if self.has_no_end and self.coefficients[name] and 0.0 < self.start_at.get(name, 0.0) <= 1.0:
                raise UserError(
                    f"loss.start_at.{name}={self.start_at[name]} is a share of training, but nothing says when this "
                    "run ends; set trainer.max_steps or trainer.max_time, or set the option to 0 or a number of updates"
                )

    def forward(self, passes: Passes | Decoded, batch: Batch) -> Losses:
        """Return the loss of teacher-forced passes over one batch.

        Args:
            passes: One pass, or the several passes of ``teacher_forced``.
            batch: The batch with its targets.

        Returns:
            The loss, averaged over the draws.

        Raises:
            UserError: A reported term has no coefficient.
        """
        if isinstance(passes, Decoded):
            passes = Passes([passes])
        # Compute the cross-entropy of each draw, and of the pass that is the baseline.
        losses = [cross_entropy(decoded, batch, self.label_smoothing) for decoded in passes.draws]
        reference = None
        if passes.reference is not None:
            with torch.no_grad():
                reference = cross_entropy(passes.reference, batch, self.label_smoothing).per_token
        # Add the weighted terms to each draw, and take the mean.
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
        """Return the loss of one pass; ``expected`` (B, T) are the costs that the baseline subtracts."""
        # Collect the unweighted terms.
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
        # Weight the terms and add them.
        total, weights = loss.smoothed, self.weights
        for name, value in terms.items():
            total = total + weights[name] * value
        return Losses(total, loss.nll, batch.target_tokens, terms, costs, logged)

    def _known(self, missing: str = "NAME") -> str:
        """Return the setting that is missing, with the names of the known coefficients."""
        return f"loss.weights.{missing}=NUMBER (there are: {', '.join(sorted(self.coefficients)) or 'none'})"


def _is_number(value: object) -> bool:
    """Return True for a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)
