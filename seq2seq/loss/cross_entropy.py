"""Cross-entropy of the target tokens, for training and for evaluation; the loss of its own of a sparse output layer.

Shapes: B batch, T target tokens, N = B T (or the number of real ones), J alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.model import Seq2Seq


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of the targets, without smoothing; of a sparse output layer, its loss."""

    nll: Tensor  # sum over the target tokens of the batch
    tokens: int  # number of target tokens
    per_token: Tensor  # (B, T), 0 at padding, without gradient
    correct: Tensor  # (B, T) bool, True where the most probable token is the target
    figures: Mapping[str, Tensor] = field(default_factory=dict)  # ``TokenLoss.figures`` (B, T), 0 at padding


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of one batch, as sums over its target tokens."""

    smoothed: Tensor  # with label smoothing; with sampled alternatives also their surrogate loss
    nll: Tensor  # without smoothing
    per_token: Tensor  # (B, T) summands of ``smoothed`` without the surrogate, 0 at padding, without gradient
    correct: Tensor  # (B, T) bool, True where the most probable token is the target
    figures: Mapping[str, Tensor] = field(default_factory=dict)  # ``TokenLoss.figures`` (B, T), 0 at padding


def teacher_forced_nll(model: Seq2Seq, batch: Batch) -> Likelihood:
    """Return the likelihood of the targets of ``batch`` under teacher forcing.

    Args:
        model: The model.
        batch: The batch with its targets.

    Returns:
        The negative log-likelihood: each token is predicted from the target tokens before it.
    """
    return likelihood(model(batch), batch)


def likelihood(decoded: Decoded, batch: Batch) -> Likelihood:
    """Return the likelihood of the targets of ``batch``.

    Args:
        decoded: Teacher-forced pass over ``batch``.
        batch: The batch with its targets.

    Returns:
        The negative log-likelihood without smoothing.
    """
    if decoded.copying is not None:
        # Generated and copied probabilities of one word have to be added before the words are compared.
        return _of_distributions(decoded, batch)
    loss = cross_entropy(decoded, batch)
    return Likelihood(loss.nll, batch.target_tokens, loss.per_token, loss.correct, loss.figures)


def cross_entropy(decoded: Decoded, batch: Batch, smoothing: float = 0.0) -> CrossEntropy:
    """Return the cross-entropy of the targets of ``batch`` (Szegedy 2016, section 7).

    Padding is removed before the projection to the vocabulary. Sampled alternatives add the surrogate
    sum_t (C_tj - C_t) log q(z_tj). Its baseline C_t is the cost under the expected context (Deng 2018, section 3).

    Args:
        decoded: Teacher-forced pass over ``batch``.
        batch: The batch with its targets.
        smoothing: Share of the probability that is spread over the vocabulary, in [0, 1).

    Returns:
        The cross-entropy with and without smoothing.
    """
    assert decoded.output is not None
    output, mask = decoded.output, batch.target_mask
    features, targets = decoded.features.flatten(0, 1), batch.target_out.flatten()
    # Remove padding. A GPU would have to wait for the number of real tokens, so it masks padding, except for mixtures.
    rows: Tensor | slice = slice(None)
    if mask.device.type == "cpu" or decoded.mixture is not None:
        rows = mask.flatten().nonzero().squeeze(1)
    copied: tuple[Tensor, ...] = ()
    if decoded.copying is not None:
        copied = decoded.copying.generated.flatten()[rows], decoded.copying.of(batch.target_out).flatten()[rows]
    # Compute the loss of the real tokens.
    surrogate = features.new_zeros(())
    if decoded.mixture is None:
        loss = output.loss(features[rows], targets[rows], smoothing, *copied)
        real_tokens = loss.per_token
    else:
        mixture = decoded.mixture.flatten().rows(rows)
        loss = output.mixed_loss(mixture, targets[rows], smoothing, *copied)
        real_tokens = loss.per_token
        # Add the surrogate, which gives the sampling distribution q its gradient.
        if mixture.kind == "sampled":
            with torch.no_grad():
                expected = output.loss(features[rows], targets[rows], smoothing).per_token.unsqueeze(1)
            surrogate = ((loss.per_token - expected) * mixture.log_weights).mean(1).sum()
            real_tokens = loss.per_token.mean(1)
    # Put the real tokens back into their places (B, T).

    def placed(values: Tensor) -> Tensor:
        every = values.new_zeros(len(targets))
        every[rows] = values
        return every.view_as(mask)

    figures = {name: placed(values) for name, values in loss.figures.items()}
    return CrossEntropy(loss.smoothed + surrogate, loss.nll, placed(real_tokens), placed(loss.correct), figures)


def _of_distributions(decoded: Decoded, batch: Batch) -> Likelihood:
    """Compute the likelihood from whole distributions, one sentence at a time.

    The most probable word is known only after the probabilities of vocabulary and copied words are added.
    """
    assert decoded.output is not None
    per_token = torch.zeros_like(batch.target_out, dtype=torch.float32)
    correct = torch.zeros_like(batch.target_mask)
    for row in range(len(batch)):
        log_p = decoded.row(row).log_probs(decoded.output)[0]  # (T, W)
        of_targets = log_p.gather(1, batch.target_out[row, :, None]).squeeze(1).clamp(min=decoded.output.min_log_prob)
        per_token[row] = -of_targets * batch.target_mask[row]
        correct[row] = (of_targets >= log_p.amax(1)) & batch.target_mask[row]
    return Likelihood(per_token.sum(), batch.target_tokens, per_token, correct)
