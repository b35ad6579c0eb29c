"""One teacher-forced pass over chosen outputs: their probabilities, and the weights that plots and alignments show.

Shapes: B sentences, T tokens of an output with its ``</s>``, S source tokens, H heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, evaluating


@dataclass(frozen=True)
class Forced:
    """What the model says of one output, without padding."""

    log_probs: Tensor  # (T,) of each token given those before
    weights: dict[str, Tensor]  # {"cross.L": (H, T, S), "decoder_self.L": (H, T, T), "encoder_self.L": (H, S, S)}
    positions: Tensor  # (S, P) where each place of the source stands,
    extent: Tensor  # (P,) in how large a whole
    copied: Tensor | None = None  # (T,) the probability that each token was copied, given that it was said


def force(model: Seq2Seq, batch: Batch, hypotheses: Sequence[Hypothesis], *, need_weights: bool = True) -> list[Forced]:
    """One output for each sentence of the batch, all in one pass."""
    chosen = saying(batch, hypotheses)
    lengths = chosen.target_mask.sum(1).tolist()
    with torch.no_grad(), evaluating(model):
        decoded = model(chosen, need_weights=need_weights)
        log_probs = model.decoder.log_probs(decoded)
        said = log_probs.gather(2, chosen.target_out.unsqueeze(2)).squeeze(2)
        copied = None
        if decoded.copying is not None:
            copied = (decoded.copying.of(chosen.target_out) / said.exp()).nan_to_num().clamp(max=1.0)
    memory = decoded.memory
    assert memory is not None
    sizes = memory.mask.sum(1).tolist()
    return [
        Forced(
            said[b, :t],
            {name: _trim(name, w[b], t, s) for name, w in decoded.weights.items()},
            memory.positions[b, :s],
            memory.extent[b],
            None if copied is None else copied[b, :t],
        )
        for b, (t, s) in enumerate(zip(lengths, sizes, strict=True))
    ]


def saying(batch: Batch, hypotheses: Sequence[Hypothesis]) -> Batch:
    """The batch with these outputs as its targets."""
    target = [[BOS, *h.tokens, EOS] for h in hypotheses]
    longest = max(map(len, target))
    padded = torch.tensor([tokens + [PAD] * (longest - len(tokens)) for tokens in target], device=batch.index.device)
    return replace(batch, target=padded, target_tokens=sum(map(len, target)) - len(target))


def rescore(model: Seq2Seq, batch: Batch, hypotheses: Sequence[Sequence[Hypothesis]]) -> list[list[float]]:
    """log p(y, </s> | x) of every hypothesis of every sentence (each with as many or fewer), teacher-forced."""
    ranks = range(max(len(found) for found in hypotheses))
    columns = [
        force(model, batch, [found[min(r, len(found) - 1)] for found in hypotheses], need_weights=False) for r in ranks
    ]
    return [
        [float(column[b].log_probs.sum()) for column in columns[: len(found)]] for b, found in enumerate(hypotheses)
    ]


def _trim(name: str, weights: Tensor, target: int, source: int) -> Tensor:
    """(H, T', S') of a padded batch -> the part between real tokens."""
    queries = source if name.startswith("encoder_self") else target
    keys = target if name.startswith("decoder_self") else source
    return weights[:, :queries, :keys]
