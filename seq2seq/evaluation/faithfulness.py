"""Faithfulness of attention: ablation, erasure and agreement with gradients.

References are forced on the model (teacher forcing). Three groups of metrics measure how the prediction of y_t at each
step t depends on attention:

interventions  Increase of the loss of references, in nats per token, with uniform attention, with permuted weights,
               with the weights of the first step, or with the mean of all steps (``attention/interventions.py``; Jain &
               Wallace 2019, arXiv:1902.10186; Wiegreffe & Pinter 2019, arXiv:1908.04626).
erasure        Decrease of log p(y_t), in nats, and share of steps whose most likely word changes, if the source word
               that step t attends most is replaced by <unk> (a cell or a frame of an image by grey). The same is
               measured for another source word, drawn at random. Of several equally attended words, one is drawn.
               Steps that attend no source word are left out. Of a record of more than about 500 pieces, only the first
               steps are measured (``MAX_WORK``). (Serrano & Smith 2019, arXiv:1906.03731, who erase weights; DeYoung
               2020, arXiv:1911.03429, section 4.)
gradients      Kendall's tau-b between the weights of a step and |x . d log p(y_t) / dx| over source words. x is the
               embedding of a word, or the output of the encoder for a cell (Jain & Wallace 2019, section 4.1).

A sparse output layer may give a word p = 0, so that minus its loss takes the place of log p(y_t), and the names of the
metrics say so: ``loss_entmax15_increase_uniform``, ``loss_entmax15_erased_attended``.

Letters: T target pieces, S source pieces, I source words (or cells), R rows of a batch, each for one step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf, isqrt, log
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

ERASED_PIXEL = 128  # grey
MIN_LOG_PROB = log(1e-8)  # least log p: a word that can only be copied has probability 0 without its source word
TIE_TOLERANCE = 1e-6  # weights with a smaller relative difference count as equal
MAX_LOG_PROBS = 2**25  # log-probabilities in memory at once
MAX_WORK = 2**18
"""Maximum of the number of steps times the longer side of a record (source or steps).

Of a longer record, only the first steps are measured. Each step is a pass over the whole record, so that the cost grows
with the third power of its length.
"""


@dataclass
class DecodingSteps:
    """Sums over the decoding steps of a record."""

    count: int = 0  # steps that attend a source word
    lost: float = 0.0  # decrease of log p(y_t) without the most attended word, in nats
    lost_random: float = 0.0  # the same without another word
    flipped: int = 0  # steps whose most likely word changes without the most attended word
    flipped_random: int = 0  # the same without another word
    tau: float = 0.0  # Kendall's tau-b
    compared: int = 0  # steps for which tau is defined


def faithfulness(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> dict[str, MetricResult]:
    """Return the metrics of the faithfulness of attention.

    Args:
        trained: Trained model.
        records: Records to measure.
        max_tokens: Maximum number of tokens of a batch.

    Returns:
        Results by name of the metric; empty if no record can be read.
    """
    if not records:
        return {}
    how = f"references forced|{len(records)} records|{spelling(trained)}"

    # Measure the loss under each intervention.
    output = trained.model.decoder.output
    unit = "loss" if output.sparse else "nats"
    nll, tokens = predicted(trained, records, max_tokens).T[:2]
    shares = {}
    for name, intervention in INTERVENTIONS.items():
        with intervention(trained.model):
            increase = predicted(trained, records, max_tokens).T[0] - nll
        rows = list(zip(increase.tolist(), tokens.tolist(), strict=True))
        signature = f"{unit} a token more|attention {name}|{how}"
        shares[f"{output.loss_name}_increase_{name}"] = MetricResult.share(rows, signature)

    # Measure erasure and gradients at each step. The seed of the draws is the index of the record.
    steps = [DecodingSteps() for _ in records]
    maps = forced(trained, records, max_tokens)
    for place, (record, attention_map) in enumerate(zip(records, maps, strict=True)):
        if attention_map is not None:
            _measure_steps(trained, record, attention_map, Random(place), max_tokens, steps[place])

    # Average over the steps of all records. A loss has no least p; flips have the same meaning for all output layers.
    steps_of = "one source word for each step that attends any"
    flips = f"{steps_of}|p at least 1e-8|{how}"
    losses = f"{steps_of}|{how}" if output.sparse else flips
    prefix = f"{output.loss_name}_" if output.sparse else ""
    lost = "increase of the loss" if output.sparse else "nats of log p(y_t) lost"
    for name, rows, signature in (
        (f"{prefix}erased_attended", [(one.lost, one.count) for one in steps], f"{lost}|the most attended|{losses}"),
        (f"{prefix}erased_random", [(one.lost_random, one.count) for one in steps], f"{lost}|any other|{losses}"),
        ("flips_attended", [(one.flipped, one.count) for one in steps], f"share of steps|the most attended|{flips}"),
        ("flips_random", [(one.flipped_random, one.count) for one in steps], f"share of steps|any other|{flips}"),
    ):
        shares[name] = MetricResult.share(rows, signature)
    rows = [(one.tau, one.compared) for one in steps]
    shares["gradient_tau"] = MetricResult.share(rows, f"Kendall tau-b|weights, gradient x input|{how}")
    return {name: score for name, score in shares.items() if score is not None}


def _measure_steps(
    trained: TrainedModel,
    record: Record,
    attention_map: AttentionMap,
    draw: Random,
    max_tokens: int,
    steps: DecodingSteps,
) -> None:
    """Measure erasure and gradients at each step of one record, and add them to ``steps``."""
    # Sum the attention to the pieces of each source word.
    image = attention_map.cells is not None
    words = np.arange(len(attention_map.source)) if image else np.asarray(attention_map.source_words)
    count = int(words.max(initial=-1)) + 1
    if count < 2:
        return
    weights = summed(attention_map.alignment.T, words, count).T  # (T, I)
    attending = torch.from_numpy(weights.sum(1) > 0)

    # Choose the most attended word of each step, and another word at random.
    top = np.array([_one_of(np.flatnonzero(row >= row.max() * (1 - TIE_TOLERANCE)), draw) for row in weights])
    other = np.array([draw.choice([word for word in range(count) if word != chosen]) for chosen in top])

    # Repeat the record in a batch with a row for each step; limit the rows by memory.
    base = _first_steps(collate([trained.codec(record)], [0]), len(words)).to(trained.device)
    length = base.target_out.shape[1]
    longer_side = max(length, len(words))
    rows = max(1, min(max_tokens // longer_side, MAX_LOG_PROBS // (length * trained.codec.sizes[1])))
    for first in range(0, length, rows):
        place = torch.arange(first, min(first + rows, length), device=trained.device)
        batch = base.select(torch.zeros_like(place))

        # Predict with the whole source, then without the chosen words.
        with evaluating(trained.model):
            log_p, likeliest, gradient = _gradients(trained, batch, place)
            row_steps = place.tolist()
            results = []
            for erased in (top[row_steps], other[row_steps]):
                hidden = torch.from_numpy(words[None] == erased[:, None]).to(trained.device)
                with torch.no_grad():
                    decoded = trained.model(_without(trained, batch, attention_map, hidden))
                    results.append(_at(trained, decoded, batch, place))

        # Add the effects of erasure at the steps that attend a source word.
        counted = attending[row_steps].to(trained.device)
        least = -inf if trained.model.decoder.output.sparse else MIN_LOG_PROB
        (lost, changed), (lost_random, changed_random) = (
            (
                float((log_p.clamp(min=least) - erased_log_p.clamp(min=least))[counted].sum()),
                int((erased_likeliest != likeliest)[counted].sum()),
            )
            for erased_log_p, erased_likeliest in results
        )
        steps.count += int(counted.sum())
        steps.lost, steps.lost_random = steps.lost + lost, steps.lost_random + lost_random
        steps.flipped, steps.flipped_random = steps.flipped + changed, steps.flipped_random + changed_random

        # Add the agreement of weights and gradients.
        importance = summed(gradient.T, words, count).T
        for t, row in zip(row_steps, importance, strict=True):
            if (tau := kendall(weights[t], np.abs(row))) is not None:
                steps.tau, steps.compared = steps.tau + tau, steps.compared + 1


def _first_steps(batch: Batch, source: int) -> Batch:
    """Return the record with as many first steps as ``MAX_WORK`` allows for ``source`` pieces or cells."""
    assert batch.target is not None
    steps = max(1, min(isqrt(MAX_WORK), MAX_WORK // source))
    if batch.target.shape[1] - 1 <= steps:
        return batch
    return replace(batch, target=batch.target[:, : steps + 1], target_tokens=steps)


def _one_of(places: NDArray[np.intp], draw: Random) -> int:
    """Return one of the indices; the generator is used only if there are several."""
    return int(places[0] if len(places) == 1 else draw.choice(places.tolist()))


def _at(trained: TrainedModel, decoded: Decoded, batch: Batch, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(y_t) (R,) and the most likely word (R,), of each row at its own step t.

    A sparse output layer has minus its loss in place of log p(y_t), which may be -inf.
    """
    row = torch.arange(len(place), device=place.device)
    output, target = trained.model.decoder.output, batch.target_out[row, place]
    if output.sparse:
        features = decoded.features[row, place]
        return -output.token_losses(features, target), output(features).argmax(1)
    log_probs = trained.model.decoder.log_probs(decoded)[row, place]  # (R, V)
    return log_probs.gather(1, target.unsqueeze(1)).squeeze(1), log_probs.argmax(1)


def _gradients(trained: TrainedModel, batch: Batch, place: Tensor) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
    """Return log p(y_t) (R,) and the most likely word (R,) with the whole source, and x . d log p(y_t) / dx (R, S)."""
    with torch.enable_grad(), differentiable(trained.model):
        encoder = trained.model.encoder
        with _first_output(encoder.embedding.table if encoder.reads == "text" else None) as embedded:
            decoded = trained.model(batch)
        assert decoded.memory is not None
        x = embedded[0] if embedded else decoded.memory.values  # (R, S, E)
        log_p, likeliest = _at(trained, decoded, batch, place)
        # Each row only depends on its own x, so that the gradient of the sum has all rows.
        (gradient,) = torch.autograd.grad(log_p.sum(), x)
    return log_p.detach(), likeliest, (x * gradient).sum(-1).detach().double().cpu().numpy()


@contextmanager
def _first_output(module: nn.Module | None) -> Iterator[list[Tensor]]:
    """Yield a list that receives the output of the next call of ``module``.

    The first call of an embedding is that of the source, also if source and target share the table.
    """
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


def _without(trained: TrainedModel, batch: Batch, attention_map: AttentionMap, hidden: Tensor) -> Batch:
    """Return the batch without the positions ``hidden`` (R, S) of the sources."""
    if batch.images is not None:
        return replace(batch, images=_greyed(trained, batch.images, attention_map, hidden))
    # An erased word must not be copied either.
    copies = None
    if batch.copies is not None:
        copies = Copies(batch.copies.ids.masked_fill(hidden, PAD), batch.copies.num_oov)
    return replace(batch, source=batch.tokens.masked_fill(hidden, UNK), copies=copies)


def _greyed(trained: TrainedModel, images: ImageBatch, attention_map: AttentionMap, hidden: Tensor) -> ImageBatch:
    """Return one image for each row, whose hidden cells (or frames of a clip) are grey."""
    assert attention_map.cells is not None
    pixels = images.pixels[images.rows].clone()
    encoder = trained.model.encoder
    for row, place in hidden.nonzero().tolist():
        encoder.pixels_at(pixels[row], *attention_map.cells[place].tolist()).fill_(ERASED_PIXEL)
    # Leave ``files`` out: for a file, a backbone may return cached features of the unchanged image.
    return ImageBatch(pixels, images.sizes[images.rows], torch.arange(len(hidden), device=hidden.device))
