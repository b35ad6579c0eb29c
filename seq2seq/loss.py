"""The one place that weighs and sums what training minimises.

Shapes: B batch, T target tokens, S source tokens, N = B T (or the real ones among them), J alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seq2seq.attention.components.selections import Hard
from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.layers.cross_entropy import MIN_LOG_PROB
from seq2seq.layers.output import TokenLoss
from seq2seq.model import Seq2Seq

OWN_TERMS = ("doubly_stochastic", "word_prediction")
"""Loss terms that no mechanism has to report."""


def terms_of(model: nn.Module) -> set[str]:
    """Return the names of all loss terms that training ``model`` can have; the model may be on the meta device."""
    return {*OWN_TERMS, *(term for module in model.modules() for term in getattr(module, "terms", ()))}


@dataclass(frozen=True)
class Losses:
    """Sums over the batch's target tokens; divide by the number of tokens of the whole update."""

    total: Tensor  # what is minimised: smoothed cross-entropy + weighted terms
    nll: Tensor  # plain negative log-likelihood, for perplexity
    tokens: int
    each: Tensor  # (B, T) what each token costs, without a gradient; 0 where there is none
    hits: Tensor  # (B, T) bool, tokens whose argmax is right; looked at in evaluation alone
    terms: Mapping[str, Tensor] = field(default_factory=dict)  # each term, summed and unweighted
    costs: Tensor | None = None  # (2,) where something was drawn: sum_b C_b, and the number of sentences with a target
    figures: Mapping[str, Tensor] = field(default_factory=dict)  # to be told, times ``tokens``


class Criterion(nn.Module):
    """Label-smoothed cross-entropy (Szegedy 2016, section 7) and the terms that mechanisms report.

    ``weights`` gives the coefficient of each term by name; a term without one is refused, so that none is dropped
    silently. ``start`` delays terms: {coverage: 0.9} counts it in the last tenth of training only, {coverage: 230000}
    from that update on (See 2017, section 5, where it is the last 3,000 of 233,000).
    While training, the total has these terms beside the penalties of ``AttentionOutput``:

    - ``reinforce``: sum_b (C_b - b) sum_t log a_t[s_t], whose gradient is that of the expected cost by what was drawn
      (Xu 2015, equation 11; Williams 1992). C_b is the cost of sentence b, smoothed as what is minimised, no gradient
      flows through it, and the baseline b is a buffer, moved by ``settle`` once an update. ``reinforce_variance`` is
      told beside it: that of C_b - b, which multiplies the gradient.
    - ``doubly_stochastic``: sum_b sum_i (1 - sum_t alpha_ti)^2 over real source and target positions (Xu 2015,
      equation 14), alpha the last cross layer's alignment, which has to be differentiable. A sum over sentences as the
      cost is, so that the coefficient is the paper's.
    - ``word_prediction``: -sum_t log softmax(W m + b)[y_t] with m the mean of the source's memory and W, b the output
      layer's: the source as a whole shall know the words of its target, in whatever order (Weng 2017, D17-1013,
      section 3, where it is the decoder's first state that tells them). It reaches an encoder past attention.

    Sampled alternatives bring their own: sum_t (C_tj - C_t) log q(z_tj), the baseline C_t being the cost under the
    expected context (Deng 2018, section 3); its coefficient is 1, as it completes a gradient.
    """

    baseline: Tensor
    progress: Tensor
    updates: Tensor

    def __init__(
        self,
        label_smoothing: float = 0.0,
        weights: Mapping[str, float] | None = None,
        start: Mapping[str, float] | None = None,
        baseline_decay: float = 0.9,
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
        if not 0.0 <= baseline_decay <= 1.0:
            raise UserError(f"baseline_decay={baseline_decay} must lie in 0..1")
        self.label_smoothing, self.baseline_decay = label_smoothing, baseline_decay
        self.coefficients, self.start = dict(weights or {}), dict(start or {})
        self.endless = False  # ``start`` can't be told: nothing says when training ends
        for name, weight in self.coefficients.items():
            if not _is_number(weight):
                raise UserError(f"weights.{name}={weight} must be a finite number; 0 leaves the term out")
        for name, share in self.start.items():
            if name not in self.coefficients:
                raise UserError(f"start.{name}={share} has no weights.{name}; {self._known()}")
            if not (_is_number(share) and share >= 0.0 and (share <= 1.0 or share == int(share))):
                raise UserError(f"start.{name}={share} must be a share of training (0..1) or a number of updates")
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("progress", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long), persistent=False)

    @property
    def weights(self) -> Mapping[str, float | Tensor]:
        """The coefficients that count now."""
        return {
            name: self._counts(self.start[name]) * weight if name in self.start else weight
            for name, weight in self.coefficients.items()
        }

    def _counts(self, start: float) -> Tensor:
        """Whether a share of training, or a number of updates, is over."""
        return (self.progress if start <= 1.0 else self.updates) >= start

    def set_progress(self, progress: float, updates: int) -> None:
        """How far training has come, from 0 to 1, and after how many updates."""
        self.progress.fill_(progress)
        self.updates.fill_(updates)

    def settle(self, costs: Tensor) -> None:
        """After an update: b <- d b + (1 - d) mean C, d = ``baseline_decay``, over its sentences that have a target.

        costs (2,) sums the ``Losses.costs`` of all micro-batches and processes; what is not finite moves nothing.
        """
        mean = (costs[0] / costs[1]).to(self.baseline.dtype)
        self.baseline.lerp_(mean.where(mean.isfinite(), self.baseline), 1.0 - self.baseline_decay)

    def accept(self, names: Iterable[str]) -> None:
        """Refuses terms without a coefficient, and those that would wait for ever."""
        for name in names:
            if name not in self.coefficients:
                raise UserError(
                    f"the attention mechanism reports a term {name}; give its coefficient: {self._known(name)}"
                )
            if self.endless and self.training and self.coefficients[name] and 0.0 < self.start.get(name, 0.0) <= 1.0:
                raise UserError(
                    f"loss.start.{name}={self.start[name]} is a share of training, but nothing says when this run "
                    f"ends: set trainer.max_steps or trainer.max_time, or loss.start.{name} to 0 or a number of updates"
                )

    def forward(self, model: Seq2Seq, batch: Batch) -> Losses:
        """One teacher-forced pass and its loss, padding left out before the vocabulary projection."""
        doubly = self.training and bool(self.coefficients.get("doubly_stochastic"))
        decoded = model(batch, need_weights=doubly)
        mask = batch.target_mask
        loss, surrogate = self._cross_entropy(model, decoded, batch)
        terms = {name: (value * mask).sum() for name, value in decoded.penalties.items()}
        costs, figures = None, {}
        if self.training and decoded.log_prob is not None:
            cost = loss.each.sum(1)
            terms["reinforce"] = ((cost - self.baseline) * (decoded.log_prob * mask).sum(1)).sum()
            has_target = mask.any(1)
            costs = torch.stack((cost.sum(), has_target.sum()))
            figures["reinforce_variance"] = batch.target_tokens * _variance(cost - self.baseline, has_target)
        if doubly:
            covered = (_alignment(model, decoded) * mask.unsqueeze(2)).sum(1)  # (B, S)
            assert decoded.memory is not None
            real = decoded.memory.mask & mask.any(1, keepdim=True)
            terms["doubly_stochastic"] = ((1 - covered).square() * real).sum()
        if self.training and self.coefficients.get("word_prediction"):
            terms["word_prediction"] = _word_prediction(model, decoded, batch)
        self.accept(terms)
        total, weights = loss.smoothed + surrogate, self.weights
        for name, value in terms.items():
            total = total + weights[name] * value
        return Losses(total, loss.nll, batch.target_tokens, loss.each, loss.hits, terms, costs, figures)

    def _cross_entropy(self, model: Seq2Seq, decoded: Decoded, batch: Batch) -> tuple[TokenLoss, Tensor]:
        """The loss, of tokens as (B, T), and the surrogate of sampled alternatives."""
        output, smoothing = model.decoder.output, self.label_smoothing if self.training else 0.0
        features, targets, mask = decoded.features.flatten(0, 1), batch.target_out.flatten(), batch.target_mask
        rows: Tensor | slice = slice(None)
        if mask.device.type == "cpu" or decoded.mixture is not None:
            rows = mask.flatten().nonzero().squeeze(1)  # a GPU has to wait for the count: there padding is masked
        surrogate = features.new_zeros(())
        copied: tuple[Tensor, ...] = ()
        if decoded.copying is not None:
            if not self.training:
                return _likelihood(model, decoded, batch), surrogate
            copied = decoded.copying.generated.flatten()[rows], decoded.copying.of(batch.target_out).flatten()[rows]
        if decoded.mixture is None:
            loss = output.loss(features[rows], targets[rows], smoothing, *copied)
            of_tokens = loss.each
        else:
            mixture = decoded.mixture.flatten().rows(rows)
            loss = output.mixed_loss(mixture, targets[rows], smoothing, *copied)
            of_tokens = loss.each
            if mixture.kind == "sampled":
                with torch.no_grad():
                    expected = output.loss(features[rows], targets[rows], smoothing).each.unsqueeze(1)
                surrogate = ((loss.each - expected) * mixture.log_weights).mean(1).sum()
                of_tokens = loss.each.mean(1)
        each, hits = of_tokens.new_zeros(len(targets)), loss.hits.new_zeros(len(targets))
        each[rows], hits[rows] = of_tokens, loss.hits
        return loss._replace(each=each.view_as(mask), hits=hits.view_as(mask)), surrogate

    def _known(self, missing: str = "NAME") -> str:
        return f"loss.weights.{missing}=NUMBER (there are: {', '.join(sorted(self.coefficients)) or 'none'})"


def _variance(x: Tensor, real: Tensor) -> Tensor:
    """Of the values x (B,) where ``real``."""
    count = real.sum().clamp(min=1)
    mean = (x * real).sum() / count
    return ((x - mean).square() * real).sum() / count


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _alignment(model: Seq2Seq, decoded: Decoded) -> Tensor:
    """(B, T, S) of the last cross layer, for a term that teaches it."""
    last = max(int(name.removeprefix("cross.")) for name in decoded.weights if name.startswith("cross."))
    if any(isinstance(part, Hard) and part.soft < 1 for part in model.decoder.cross_attention(last).parts()):
        raise UserError(
            "loss.weights.doubly_stochastic needs weights with a gradient, but attention=hard draws its weights; "
            "use loss.weights.doubly_stochastic=0, or attention=gumbel"
        )
    return model.alignment(decoded.weights)


def _word_prediction(model: Seq2Seq, decoded: Decoded, batch: Batch) -> Tensor:
    """What the words of the targets cost, told from the mean of the memory; those that only copying can say do not."""
    assert decoded.memory is not None
    memory, output = decoded.memory, model.decoder.output
    (vocabulary, width), given = output.weight.shape, memory.values.shape[-1]
    if given != width:
        raise UserError(
            f"loss.weights.word_prediction reads the source through the output layer, which takes {width} numbers, but "
            f"a place of the source has {given}: make them equal (model.dim, model.embedding_dim, decoder.tie_output)"
        )
    real = memory.mask.unsqueeze(2)
    mean = (memory.values * real).sum(1) / real.sum(1).clamp(min=1)
    said = batch.target_mask & (batch.target_out < vocabulary)
    log_p = output.log_probs(mean).gather(1, batch.target_out.masked_fill(~said, 0))
    return -(log_p * said).sum()


def _likelihood(model: Seq2Seq, decoded: Decoded, batch: Batch) -> TokenLoss:
    """From p whole, a sentence at a time: what a vocabulary and copied words together make most probable."""
    each = torch.zeros_like(batch.target_out, dtype=torch.float32)
    hits = torch.zeros_like(batch.target_mask)
    for row in range(len(batch)):
        log_p = model.decoder.log_probs(decoded.row(row))[0]  # (T, W)
        picked = log_p.gather(1, batch.target_out[row, :, None]).squeeze(1).clamp(min=MIN_LOG_PROB)
        each[row] = -picked * batch.target_mask[row]
        hits[row] = (picked >= log_p.amax(1)) & batch.target_mask[row]
    total = each.sum()
    return TokenLoss(total, total, hits, each)
