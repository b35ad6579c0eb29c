"""Cross-entropy of the target tokens, for training and for evaluation.

Shapes: B batch, T target tokens, N = B T (or the real ones among them), J alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.model import Seq2Seq


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of the targets, without smoothing."""

    nll: Tensor  # summed over the batch's target tokens
    tokens: int
    per_token: Tensor  # (B, T), 0 where there is no target, without a gradient
    correct: Tensor  # (B, T) bool, tokens whose argmax is right


@dataclass(frozen=True)
class CrossEntropy:
    """Sums over the batch's target tokens."""

    smoothed: Tensor  # label-smoothed; of sampled alternatives with what completes their gradient
    nll: Tensor
    per_token: Tensor  # (B, T) of what ``smoothed`` sums, 0 where there is no target, without a gradient
    correct: Tensor  # (B, T) bool, tokens whose argmax is right


def teacher_forced_nll(model: Seq2Seq, batch: Batch) -> Likelihood:
    """Return how well ``model`` predicts the targets of ``batch``, each token from those before it."""
    return likelihood(model(batch), batch)


def likelihood(decoded: Decoded, batch: Batch) -> Likelihood:
    """Return the likelihood of the targets of ``batch``, of which ``decoded`` is the teacher-forced pass."""
    if decoded.copying is not None:
        return _of_distributions(decoded, batch)
    loss = cross_entropy(decoded, batch)
    return Likelihood(loss.nll, batch.target_tokens, loss.per_token, loss.correct)


def cross_entropy(decoded: Decoded, batch: Batch, smoothing: float = 0.0) -> CrossEntropy:
    """Return the cross-entropy of the targets of ``batch`` (Szegedy 2016, section 7).

    Padding is left out before the vocabulary projection. Sampled alternatives add
    sum_t (C_tj - C_t) log q(z_tj), the baseline C_t being the cost under the expected context (Deng 2018, section 3).
    """
    assert decoded.output is not None
    output, mask = decoded.output, batch.target_mask
    features, targets = decoded.features.flatten(0, 1), batch.target_out.flatten()
    rows: Tensor | slice = slice(None)
    if mask.device.type == "cpu" or decoded.mixture is not None:
        rows = mask.flatten().nonzero().squeeze(1)  # a GPU has to wait for the count: there padding is masked
    copied: tuple[Tensor, ...] = ()
    if decoded.copying is not None:
        copied = decoded.copying.generated.flatten()[rows], decoded.copying.of(batch.target_out).flatten()[rows]
    surrogate = features.new_zeros(())
    if decoded.mixture is None:
        loss = output.loss(features[rows], targets[rows], smoothing, *copied)
        real_tokens = loss.per_token
    else:
        mixture = decoded.mixture.flatten().rows(rows)
        loss = output.mixed_loss(mixture, targets[rows], smoothing, *copied)
        real_tokens = loss.per_token
        if mixture.kind == "sampled":
            with torch.no_grad():
                expected = output.loss(features[rows], targets[rows], smoothing).per_token.unsqueeze(1)
            surrogate = ((loss.per_token - expected) * mixture.log_weights).mean(1).sum()
            real_tokens = loss.per_token.mean(1)
    per_token, correct = real_tokens.new_zeros(len(targets)), loss.correct.new_zeros(len(targets))
    per_token[rows], correct[rows] = real_tokens, loss.correct
    return CrossEntropy(loss.smoothed + surrogate, loss.nll, per_token.view_as(mask), correct.view_as(mask))


def _of_distributions(decoded: Decoded, batch: Batch) -> Likelihood:
    """Read the likelihood off whole distributions, a sentence at a time: vocabulary and copied words together decide
    which word is the most probable.
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
