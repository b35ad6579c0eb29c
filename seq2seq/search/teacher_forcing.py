"""Teacher-forced pass over given outputs: their probabilities, and the weights for plots and alignments.

Shapes: B sentences, T tokens of an output with its ``</s>``, S source tokens, H heads, P axes of position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.decoders.base import POSTERIOR, Decoded
from seq2seq.layers.chain import log_weights, smoothed
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, evaluating


@dataclass(frozen=True)
class Forced:
    """Probabilities and weights of one output, without padding."""

    log_probs: Tensor  # (T,) log-probability of each token given those before it
    # {"cross.L": (H, T, S), "decoder_self.L": (H, T, T), "encoder_self.L": (H, S, S)}; a latent alignment adds
    # {"posterior.cross.L": (1, T, S)}.
    weights: dict[str, Tensor]
    positions: Tensor  # (S, P) position of each source token
    extent: Tensor  # (P,) size of the source along each axis
    copied: Tensor | None = None  # (T,) probability that each token is a copy, given the token


def force(model: Seq2Seq, batch: Batch, hypotheses: Sequence[Hypothesis], *, need_weights: bool = True) -> list[Forced]:
    """Return the probabilities and weights of one output for each sentence, from one pass.

    Args:
        model: Model to evaluate.
        batch: Batch of B sentences.
        hypotheses: One output for each sentence.
        need_weights: Whether to return the weights of all attention slots.
    """
    # Compute the log-probability of each token.
    chosen = saying(batch, hypotheses)
    lengths = chosen.target_mask.sum(1).tolist()
    with torch.no_grad(), evaluating(model):
        decoded = model(chosen, need_weights=need_weights)
        log_probs = model.decoder.log_probs(decoded)
        picked = log_probs.gather(2, chosen.target_out.unsqueeze(2)).squeeze(2)
        # Compute which share of the probability is copied.
        copied = None
        if decoded.copying is not None:
            copied = (decoded.copying.of(chosen.target_out) / picked.exp()).nan_to_num().clamp(max=1.0)
        # Add the posterior of a latent alignment.
        weights = dict(decoded.weights)
        if need_weights and decoded.mixture is not None:
            layers = sum(name.startswith("cross.") for name in weights)
            weights[f"{POSTERIOR}cross.{layers - 1}"] = posterior(model, decoded, chosen).unsqueeze(1)
    # Cut off padding.
    memory = decoded.memory
    assert memory is not None
    sizes = memory.mask.sum(1).tolist()
    return [
        Forced(
            picked[b, :t],
            {name: _trim(name, w[b], t, s) for name, w in weights.items()},
            memory.positions[b, :s],
            memory.extent[b],
            None if copied is None else copied[b, :t],
        )
        for b, (t, s) in enumerate(zip(lengths, sizes, strict=True))
    ]


def posterior(model: Seq2Seq, decoded: Decoded, batch: Batch) -> Tensor:
    """Return the posterior p(a_t = j | y, x) of a latent alignment, given the whole output (B, T, S).

    Args:
        model: The model.
        decoded: Teacher-forced pass over ``batch`` with alternatives, one for each source position.
        batch: The batch with its targets.
    """
    assert decoded.mixture is not None and decoded.output is not None
    mixture, targets = decoded.mixture, batch.target_out
    evidence = decoded.output.log_likelihoods(mixture.features, model.decoder.readable(targets))
    joint = mixture.log_weights + evidence
    # A word is generated from a position, or copied from it.
    if (copying := decoded.copying) is not None:
        generated = joint.exp() * (copying.generated * (targets < len(decoded.output.weight))).unsqueeze(2)
        joint = log_weights(generated + copying.of_each(targets))
    return smoothed(joint, evidence, mixture.transitions, batch.target_mask)


def saying(batch: Batch, hypotheses: Sequence[Hypothesis]) -> Batch:
    """Return the batch with the given outputs as its targets.

    Args:
        batch: Batch of B sentences.
        hypotheses: One output for each sentence.
    """
    target = [[BOS, *h.tokens, EOS] for h in hypotheses]
    # Pad the outputs on the right.
    longest = max(map(len, target))
    padded = torch.tensor([tokens + [PAD] * (longest - len(tokens)) for tokens in target], device=batch.index.device)
    return replace(batch, target=padded, target_tokens=sum(map(len, target)) - len(target))


def rescore(model: Seq2Seq, batch: Batch, hypotheses: Sequence[Sequence[Hypothesis]]) -> list[list[float]]:
    """Return log p(y, </s> | x) of every hypothesis of every sentence, teacher-forced.

    Args:
        model: Model to evaluate.
        batch: Batch of B sentences.
        hypotheses: Hypotheses of each sentence, at least one; their numbers may differ.
    """
    # Evaluate one hypothesis of each sentence at a time; a sentence with fewer repeats its last one.
    ranks = range(max(len(own) for own in hypotheses))
    columns = [
        force(model, batch, [own[min(r, len(own) - 1)] for own in hypotheses], need_weights=False) for r in ranks
    ]
    return [[float(column[b].log_probs.sum()) for column in columns[: len(own)]] for b, own in enumerate(hypotheses)]


def _trim(name: str, weights: Tensor, target: int, source: int) -> Tensor:
    """Return weights (H, T', S') of a padded batch without the padding of queries and keys."""
    queries = source if name.startswith("encoder_self") else target
    keys = target if name.startswith("decoder_self") else source
    return weights[:, :queries, :keys]
