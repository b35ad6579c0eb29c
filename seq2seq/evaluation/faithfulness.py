"""Faithfulness of attention: ablation, erasure and agreement with gradients.

References are forced on the model. For each step t, the word y_t that it predicts is measured:

interventions  increase of the loss of references, in nats per token, with uniform attention, with permuted weights,
               with the weights of the first step or with the mean of all steps (``attention/interventions.py``; Jain &
               Wallace 2019, arXiv:1902.10186; Wiegreffe & Pinter 2019, arXiv:1908.04626)
erasing        what log p(y_t) loses, in nats, and how often the likeliest word changes, if the source word that step t
               attends most is replaced by <unk> (a cell or a frame of an image by grey), beside any other word, drawn;
               of several attended alike one is drawn, and steps that attend no source word are left out (Serrano &
               Smith 2019, arXiv:1906.03731, who erase weights; DeYoung 2020, arXiv:1911.03429, section 4); of a record
               over some 500 pieces the first steps (``MAX_WORK``)
gradients      Kendall's tau-b between a step's weights and |x . d log p(y_t) / dx| over source words, x the embedding
               of a word or what the encoder made of a cell (Jain & Wallace 2019, section 4.1)

Letters: T target pieces, S source pieces, I source words (or cells), R rows of a batch, each for one step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isqrt, log
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seq2seq.attention.interventions import INTERVENTIONS
from seq2seq.batch import PAD, UNK, Batch, Copies, ImageBatch
from seq2seq.data.collate import collate
from seq2seq.data.records import Record
from seq2seq.decoders.base import Decoded
from seq2seq.evaluation.evaluate import forced, predicted, spelling
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.generator import TrainedModel
from seq2seq.metrics import MetricResult
from seq2seq.metrics.faithfulness import kendall
from seq2seq.metrics.words import summed
from seq2seq.search.base import differentiable, evaluating

ERASED_PIXEL = 128
MIN_LOG_PROB = log(1e-8)  # of log p: a word that could only be copied has none left once its source is gone
TIE_TOLERANCE = 1e-6  # weights that differ by less, relatively, are alike
MAX_LOG_PROBS = 2**25  # log-probabilities at a time
MAX_WORK = 2**18
"""Steps of a record times its longer side, source or steps: of a longer record the first steps alone are looked at.

Each step is a pass over the whole record, so that their cost grows with the third power of its length.
"""


@dataclass
class DecodingSteps:
    """Sums over the decoding steps of a record."""

    count: int = 0  # steps that attend a source word
    lost: float = 0.0
    lost_random: float = 0.0
    flipped: int = 0
    flipped_random: int = 0
    tau: float = 0.0
    compared: int = 0  # steps that have a tau


def faithfulness(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> dict[str, MetricResult]:
    """Return the figures of these records; {} where there are none that can be read."""
    if not records:
        return {}
    how = f"references forced|{len(records)} records|{spelling(trained)}"
    nll, tokens = predicted(trained, records, max_tokens).T[:2]
    shares = {}
    for name, intervention in INTERVENTIONS.items():
        with intervention(trained.model):
            dearer = predicted(trained, records, max_tokens).T[0] - nll
        rows = list(zip(dearer.tolist(), tokens.tolist(), strict=True))
        shares[f"nll_increase_{name}"] = MetricResult.share(rows, f"nats a token more|attention {name}|{how}")
    steps = [DecodingSteps() for _ in records]
    maps = forced(trained, records, max_tokens)
    for place, (record, seen) in enumerate(zip(records, maps, strict=True)):
        if seen is not None:
            _look(trained, record, seen, Random(place), max_tokens, steps[place])
    erased = f"one source word for each step that attends any|p at least 1e-8|{how}"
    for name, rows, what in (
        ("erased_attended", [(one.lost, one.count) for one in steps], "nats of log p(y_t) lost|the most attended"),
        ("erased_random", [(one.lost_random, one.count) for one in steps], "nats of log p(y_t) lost|any other"),
        ("flips_attended", [(one.flipped, one.count) for one in steps], "share of steps|the most attended"),
        ("flips_random", [(one.flipped_random, one.count) for one in steps], "share of steps|any other"),
    ):
        shares[name] = MetricResult.share(rows, f"{what}|{erased}")
    rows = [(one.tau, one.compared) for one in steps]
    shares["gradient_tau"] = MetricResult.share(rows, f"Kendall tau-b|weights, gradient x input|{how}")
    return {name: score for name, score in shares.items() if score is not None}


def _look(
    trained: TrainedModel, record: Record, seen: AttentionMap, draw: Random, max_tokens: int, steps: DecodingSteps
) -> None:
    """Add the figures of one record to ``steps``: its batch has a row for each step."""
    words = np.arange(len(seen.source)) if seen.cells is not None else np.asarray(seen.source_words)
    count = int(words.max(initial=-1)) + 1
    if count < 2:
        return
    weights = summed(seen.alignment.T, words, count).T  # (T, I)
    attending = torch.from_numpy(weights.sum(1) > 0)
    top = np.array([_one_of(np.flatnonzero(row >= row.max() * (1 - TIE_TOLERANCE)), draw) for row in weights])
    other = np.array([draw.choice([word for word in range(count) if word != chosen]) for chosen in top])
    base = _first_words_of_source(collate([trained.codec(record)], [0]), len(words)).to(trained.device)
    length = base.target_out.shape[1]
    wide = max(length, len(words))
    rows = max(1, min(max_tokens // wide, MAX_LOG_PROBS // (length * trained.codec.sizes[1])))
    for first in range(0, length, rows):
        place = torch.arange(first, min(first + rows, length), device=trained.device)
        batch = base.select(torch.zeros_like(place))
        with evaluating(trained.model):
            said, likeliest, gradient = _gradients(trained, batch, place)
            chosen = place.tolist()
            results = []
            for erased in (top[chosen], other[chosen]):
                hidden = torch.from_numpy(words[None] == erased[:, None]).to(trained.device)
                with torch.no_grad():
                    results.append(_at(trained, trained.model(_without(trained, batch, seen, hidden)), batch, place))
        counted = attending[chosen].to(trained.device)
        (lost, changed), (lost_random, changed_random) = (
            (
                float((said.clamp(min=MIN_LOG_PROB) - log_p.clamp(min=MIN_LOG_PROB))[counted].sum()),
                int((best != likeliest)[counted].sum()),
            )
            for log_p, best in results
        )
        steps.count += int(counted.sum())
        steps.lost, steps.lost_random = steps.lost + lost, steps.lost_random + lost_random
        steps.flipped, steps.flipped_random = steps.flipped + changed, steps.flipped_random + changed_random
        importance = summed(gradient.T, words, count).T
        for t, row in zip(chosen, importance, strict=True):
            if (tau := kendall(weights[t], np.abs(row))) is not None:
                steps.tau, steps.compared = steps.tau + tau, steps.compared + 1


def _first_words_of_source(batch: Batch, source: int) -> Batch:
    """Return a record with as much of its target as ``MAX_WORK`` allows beside ``source`` pieces or cells."""
    assert batch.target is not None
    steps = max(1, min(isqrt(MAX_WORK), MAX_WORK // source))
    if batch.target.shape[1] - 1 <= steps:
        return batch
    return replace(batch, target=batch.target[:, : steps + 1], target_tokens=steps)


def _one_of(places: NDArray[np.intp], draw: Random) -> int:
    return int(places[0] if len(places) == 1 else draw.choice(places.tolist()))


def _at(trained: TrainedModel, decoded: Decoded, batch: Batch, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(y_t) (R,) and the likeliest word of row r's own step t."""
    row = torch.arange(len(place), device=place.device)
    log_probs = trained.model.decoder.log_probs(decoded)[row, place]  # (R, V)
    return log_probs.gather(1, batch.target_out[row, place].unsqueeze(1)).squeeze(1), log_probs.argmax(1)


def _gradients(trained: TrainedModel, batch: Batch, place: Tensor) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
    """Return ``_at`` of the rows as they are, and x . d log p(y_t) / dx (R, S)."""
    with torch.enable_grad(), differentiable(trained.model):
        encoder = trained.model.encoder
        with _first_output(encoder.embedding.table if encoder.reads == "text" else None) as embedded:
            decoded = trained.model(batch)
        assert decoded.memory is not None
        x = embedded[0] if embedded else decoded.memory.values  # (R, S, E)
        said, likeliest = _at(trained, decoded, batch, place)
        (gradient,) = torch.autograd.grad(said.sum(), x)
    return said.detach(), likeliest, (x * gradient).sum(-1).detach().double().cpu().numpy()


@contextmanager
def _first_output(module: nn.Module | None) -> Iterator[list[Tensor]]:
    """Keep what ``module`` returns when it is called next: the source's, also where tables are shared."""
    found: list[Tensor] = []
    if module is None:
        yield found
        return

    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        if not found:
            found.append(output)

    hook = module.register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()


def _without(trained: TrainedModel, batch: Batch, seen: AttentionMap, hidden: Tensor) -> Batch:
    """Return each row without the places ``hidden`` (R, S) of its source."""
    if batch.images is not None:
        return replace(batch, images=_greyed(trained, batch.images, seen, hidden))
    copies = None
    if batch.copies is not None:
        copies = Copies(batch.copies.ids.masked_fill(hidden, PAD), batch.copies.num_oov)
    return replace(batch, source=batch.tokens.masked_fill(hidden, UNK), copies=copies)


def _greyed(trained: TrainedModel, images: ImageBatch, seen: AttentionMap, hidden: Tensor) -> ImageBatch:
    """Return an image a row, with its hidden cells (of a clip, frames) grey.

    It names no ``files``: for a file a backbone may return the features of the unchanged image, which it caches.
    """
    assert seen.cells is not None
    pixels = images.pixels[images.rows].clone()
    encoder = trained.model.encoder
    for row, place in hidden.nonzero().tolist():
        encoder.pixels_at(pixels[row], *seen.cells[place].tolist()).fill_(ERASED_PIXEL)
    return ImageBatch(pixels, images.sizes[images.rows], torch.arange(len(hidden), device=hidden.device))
