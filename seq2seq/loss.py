"""The one place that weighs and sums what training minimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from seq2seq.batch import Batch
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq


@dataclass(frozen=True)
class Losses:
    """Sums over the batch's target tokens; divide by the number of tokens of the whole update."""

    total: Tensor  # what is minimised: smoothed cross-entropy + weighted penalties
    nll: Tensor  # plain negative log-likelihood, for perplexity
    tokens: int
    correct: Tensor  # tokens whose argmax is right (counted in evaluation, 0 in training)
    terms: Mapping[str, Tensor] = field(default_factory=dict)  # each penalty, summed and unweighted


class Criterion(nn.Module):
    """Label-smoothed cross-entropy (Szegedy 2016, section 7) and the penalties that mechanisms report.

    ``weights`` gives the coefficient of each penalty by name; a penalty without one is refused, so that
    none is dropped silently.
    """

    def __init__(self, label_smoothing: float = 0.0, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(f"loss.label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing
        self.weights = dict(weights or {})

    def forward(self, model: Seq2Seq, batch: Batch) -> Losses:
        """One teacher-forced pass and its loss, padding left out before the vocabulary projection."""
        decoded = model(batch)
        features, targets, mask = decoded.features.flatten(0, 1), batch.target_out.flatten(), batch.target_mask
        if mask.device.type == "cpu":  # a GPU would have to wait for the count; there padding is masked instead
            real = mask.flatten().nonzero().squeeze(1)
            features, targets = features[real], targets[real]
        loss = model.decoder.output.loss(features, targets, self.label_smoothing if self.training else 0.0)
        terms = {name: (value * mask).sum() for name, value in decoded.penalties.items()}
        total = loss.smoothed + sum(self._weight(name) * value for name, value in terms.items())
        return Losses(total, loss.nll, batch.target_tokens, loss.correct, terms)

    def _weight(self, name: str) -> float:
        if name not in self.weights:
            raise UserError(
                f"the attention mechanism reports a penalty {name}; give its coefficient as loss.weights.{name}"
            )
        return self.weights[name]
