"""Statistics of attention at validation: how sharp its rows are, and how much the model depends on them.

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
from seq2seq.runtime.torch_kernels import widest
from seq2seq.training.metric_accumulator import MetricAccumulator

INCREASE = "_increase_averaged"
"""End of the name of the figure that is a mean over target tokens."""


class AttentionFigures:
    """Statistics of cross-attention over the first ``examples`` records of a split, under teacher forcing.

    ============================= ===================================================================================
    attention_normalized_entropy  mean entropy of a row as a share of ln S, 0 to 1 (``metrics/attention.py``)
    attention_logit_spread_source standard deviation of log-weights within a row (``metrics.attention.logit_spread``)
    attention_logit_spread_target standard deviation of log-weights within a column, less the mean of each row
    nll_increase_averaged         increase of the loss (nats per target token) if every row of a sentence is the mean of
                                  its rows, in all heads, hops and layers
                                  (``attention/interventions.py:averaged_over``)
    ============================= ===================================================================================

    The name of the last one begins with the name of the loss (``OutputLayer.loss_name``).

    The first three describe the last layer. They are averaged over heads, then over rows, then over sentences. A model
    whose attention has no choice (``attention=none``) has no statistics.

    Args:
        examples: Number of records; 0 turns the statistics off.
    """

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.start()

    def start(self) -> None:
        """Clear the sums of the last validation."""
        self.sums = MetricAccumulator()

    def step(self, model: Seq2Seq, batch: Batch) -> None:
        """Add the records of ``batch`` that are among the first ones; this needs two passes over them.

        Args:
            model: The model to validate.
            batch: A batch of the validation split. Rows with a negative index are padding.
        """
        # Select the records.
        rows = ((batch.index >= 0) & (batch.index < self.examples)).nonzero().squeeze(1)
        if not len(rows) or not any(mechanism.has_choice for mechanism in source_attentions(model)):
            return
        batch = batch.select(rows)
        # Compare the loss with that of averaged attention rows.
        with recorded(model) as weights:
            decoded = model(batch, need_weights=True)
        before = likelihood(decoded, batch)
        with intervened(model, frozen, weights.means(batch.target_mask)):
            after = likelihood(model(batch), batch)
        # Add the statistics to the sums.
        assert decoded.memory is not None
        kept = widest(batch.index.device)
        entropy, by_source, by_target = behaviour(decoded.weights, batch.target_mask, decoded.memory.mask)
        increase = {f"{model.decoder.output.loss_name}{INCREASE}": after.nll.to(kept) - before.nll.to(kept)}
        self.sums.add(
            tokens=before.tokens,
            sentences=len(batch),
            **increase,
            attention_normalized_entropy=torch.tensor(entropy),
            attention_logit_spread_source=torch.tensor(by_source),
            attention_logit_spread_target=torch.tensor(by_target),
        )

    def finish(self) -> dict[str, float]:
        """Return the statistics by name; every process must call this and gets the same ones."""
        sums = self.sums.take() if self.examples else {}
        tokens, sentences = sums.pop("tokens", 0), sums.pop("sentences", 0)
        if not tokens:
            return {}
        return {name: sums[name] / (tokens if name.endswith(INCREASE) else sentences) for name in sorted(sums)}


def behaviour(weights: Mapping[str, Tensor], target: Tensor, source: Tensor) -> tuple[float, float, float]:
    """Return statistics of the last cross layer, each summed over sentences.

    Args:
        weights: Attention weights by slot, {"cross.0": (B, H, T, S), ...}.
        target: Mask (B, T), True at real target tokens.
        source: Mask (B, S), True at real source tokens.

    Returns:
        Normalized entropy of rows, spread of log-weights over source positions, and over target positions.
    """
    # Find the last cross layer.
    layer = max(int(name.removeprefix("cross.")) for name in weights if name.startswith("cross."))
    sizes = zip(target.sum(1).tolist(), source.sum(1).tolist(), strict=True)
    sums = [0.0, 0.0, 0.0]
    # Measure each sentence without its padding.
    for sentence, (length, width) in zip(weights[f"cross.{layer}"].float().cpu().numpy(), sizes, strict=True):
        real = sentence[:, :length, :width]
        figures = statistics(real)["normalized_entropy"], *logit_spread(real)
        sums = [total + figure for total, figure in zip(sums, figures, strict=True)]
    return sums[0], sums[1], sums[2]
