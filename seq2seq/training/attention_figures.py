"""What validation shows of attention: how sharp its rows are, and what their differences are worth to the model.

Letters: H heads, T target positions, S source positions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seq2seq.attention.interventions import frozen, intervened, recorded, source_attentions
from seq2seq.batch import Batch
from seq2seq.loss import likelihood
from seq2seq.metrics.attention import logit_spread, statistics
from seq2seq.model import Seq2Seq
from seq2seq.training.metric_accumulator import MetricAccumulator


class AttentionFigures:
    """Figures of cross-attention over the first ``examples`` records of a split, with references forced on the model.

    ============================= ===================================================================================
    attention_normalized_entropy  mean entropy of a row as a share of ln S, 0 to 1 (``metrics/attention.py``)
    attention_logit_spread_source standard deviation of log-weights within a row (``metrics.attention.logit_spread``)
    attention_logit_spread_target standard deviation of log-weights within a column, less the mean of each row
    nll_increase_averaged         nats per target token that are lost if every row of a sentence is the mean of its
                                  rows, in all heads, hops and layers (``attention/interventions.py:averaged_over``)
    ============================= ===================================================================================

    The first three are of the last layer, means over heads, over rows, then over sentences. A model whose attention has
    no choice (``attention=none``) has no figures.
    """

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.start()

    def start(self) -> None:
        """Forget the last validation."""
        self.sums = MetricAccumulator()

    def step(self, model: Seq2Seq, batch: Batch) -> None:
        """Take in those records of ``batch`` that are among the first, by two passes over them."""
        rows = ((batch.index >= 0) & (batch.index < self.examples)).nonzero().squeeze(1)
        if not len(rows) or not any(mechanism.has_choice for mechanism in source_attentions(model)):
            return
        batch = batch.select(rows)
        with recorded(model) as weights:
            decoded = model(batch, need_weights=True)
        before = likelihood(decoded, batch)
        with intervened(model, frozen, weights.means(batch.target_mask)):
            after = likelihood(model(batch), batch)
        assert decoded.memory is not None
        entropy, by_source, by_target = behaviour(decoded.weights, batch.target_mask, decoded.memory.mask)
        self.sums.add(
            tokens=before.tokens,
            sentences=len(batch),
            nll_increase_averaged=after.nll.double() - before.nll.double(),
            attention_normalized_entropy=torch.tensor(entropy),
            attention_logit_spread_source=torch.tensor(by_source),
            attention_logit_spread_target=torch.tensor(by_target),
        )

    def finish(self) -> dict[str, float]:
        """Return the figures, the same in every process (each of which must call this)."""
        sums = self.sums.take() if self.examples else {}
        tokens, sentences = sums.pop("tokens", 0), sums.pop("sentences", 0)
        if not tokens:
            return {}
        return {name: sums[name] / (tokens if name == "nll_increase_averaged" else sentences) for name in sorted(sums)}


def behaviour(weights: Mapping[str, Tensor], target: Tensor, source: Tensor) -> tuple[float, float, float]:
    """Return sums over sentences: the entropy of rows, the spread of log-weights over source and target positions.

    Args:
        weights: {"cross.0": (B, H, T, S), ...}, of which the last layer counts.
        target: (B, T) bool, True = no padding.
        source: (B, S) bool, likewise.
    """
    layer = max(int(name.removeprefix("cross.")) for name in weights if name.startswith("cross."))
    sizes = zip(target.sum(1).tolist(), source.sum(1).tolist(), strict=True)
    sums = [0.0, 0.0, 0.0]
    for sentence, (length, width) in zip(weights[f"cross.{layer}"].float().cpu().numpy(), sizes, strict=True):
        real = sentence[:, :length, :width]
        figures = statistics(real)["normalized_entropy"], *logit_spread(real)
        sums = [total + figure for total, figure in zip(sums, figures, strict=True)]
    return sums[0], sums[1], sums[2]
