"""What a trained model makes of a list of records: its outputs, and how good they and their alignments are.

Letters: T target pieces, S source pieces, I source words, J target words.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from seq2seq.attention_store import AttentionRecord
from seq2seq.batch import EOS, Batch
from seq2seq.data.batching import sorted_batches
from seq2seq.data.collate import collate
from seq2seq.data.example import lengths
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.evaluation.gold_metrics import gold_metrics, has_gold
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.generator import Generation, TrainedModel
from seq2seq.loss import teacher_forced_nll
from seq2seq.metrics import MetricResult, score
from seq2seq.metrics import attention as behaviour
from seq2seq.metrics.likelihood import perplexity, token_accuracy
from seq2seq.metrics.links import Link
from seq2seq.metrics.resampling import by_record
from seq2seq.search import Hypothesis, Search
from seq2seq.search.base import evaluating
from seq2seq.tasks.base import ScoredRecords, Task

log = logging.getLogger(__name__)


@dataclass
class EvaluationResult:
    """Of N records, in their order."""

    generations: list[Generation]  # attention is kept for the first ``plots`` alone
    attention_statistics: list[dict[str, float]]  # of attention, a sentence each
    links: list[frozenset[Link]]  # between the words of source and output
    record_sums: list[dict[str, Sequence[float]]]  # what each record adds to each figure (``metrics.resampling``)
    metrics: dict[str, MetricResult] = field(default_factory=dict)
    attention_records: list[AttentionRecord] = field(default_factory=list)  # of the first ``examples``
    search_seconds: float = 0.0  # that search took, attention included

    def add(self, metrics: Mapping[str, MetricResult], places: Sequence[int] | None = None) -> None:
        """Add figures of all records, or of those at ``places``."""
        self.metrics |= metrics
        places = range(len(self.record_sums)) if places is None else places
        for place, mine in zip(places, by_record(metrics, len(places)), strict=True):
            self.record_sums[place] |= mine


def score_records(
    trained: TrainedModel,
    records: Sequence[Record],
    search: Search,
    task: Task,
    *,
    max_tokens: int,
    plots: int,
    examples: int = 0,
) -> EvaluationResult:
    """Return the outputs of ``records`` and all figures of them.

    The likelihood of the references, and the agreement of attention with gold annotations where there are any, are
    measured with the references forced on the model. ``task`` names the ``metrics`` of the outputs and adds figures of
    its own. The attention of the first ``examples`` is kept.
    """
    sources = [record["source"] for record in records]
    result, maps = translate(trained, sources, search, max_tokens=max_tokens, plots=plots, examples=examples)
    references = [list(record.get("references") or [record["target"]]) for record in records]
    outputs = [one.text for one in result.generations]
    result.add(score(task.metrics, outputs, references))
    result.add(likelihood(trained, records, max_tokens))
    places = [n for n, record in enumerate(records) if n in maps or has_gold(record)]
    maps_of_references = dict(zip(places, forced(trained, [records[n] for n in places], max_tokens), strict=True))
    references_seen = {n: one for n, one in maps_of_references.items() if one is not None}
    for those, figures in gold_metrics(references_seen, records):
        result.add(figures, those)
    for place, one in sorted(maps.items()):
        reference = references_seen.get(place)
        words = None if reference is None else reference.between_words(sources[place], records[place]["target"])
        result.attention_records.append(one.to_record(place, words))
    readable = [records[n] for n in references_seen]
    result.add(task.scores(ScoredRecords(records, outputs, references, readable, trained.codec)))
    for name, value in behaviour.average(row for row in result.attention_statistics if row).items():
        result.metrics[f"attention_{name}"] = MetricResult(value, behaviour.HOW)
    return result


def translate(
    trained: TrainedModel, sources: Sequence[str], search: Search, *, max_tokens: int, plots: int, examples: int = 0
) -> tuple[EvaluationResult, dict[int, AttentionMap]]:
    """Return outputs, attention statistics and word links of each source; the attention of the first ``examples``."""
    result = EvaluationResult(
        [Generation(source, []) for source in sources],
        [{} for _ in sources],
        [frozenset() for _ in sources],
        [{} for _ in sources],
    )
    maps: dict[int, AttentionMap] = {}
    began = time.monotonic()
    stream = trained.stream(sources, search, return_attention=True, max_tokens=max_tokens)
    for place, one in tqdm(stream, total=len(sources), desc="translating", unit=" sentences", disable=None):
        assert one.attention is not None
        result.attention_statistics[place], result.links[place] = one.attention.statistics(), one.attention.links()
        result.generations[place] = one if place < plots else replace(one, attention=None)
        if place < examples:
            maps[place] = one.attention.crossing()
    result.search_seconds = time.monotonic() - began
    return result, maps


def likelihood(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> dict[str, MetricResult]:
    """Return how well the references are predicted, teacher-forced and without smoothing."""
    rows = predicted(trained, records, max_tokens)
    nll, tokens, correct = rows.sum(0).tolist()
    if not tokens:
        raise UserError("there is nothing to score: no record has a target that can be read with its source")
    signature = f"teacher-forced|{tokens:.0f} tokens with </s>|{spelling(trained)}"
    return {
        "perplexity": MetricResult(perplexity(nll, tokens), signature, rows[:, :2].tolist()),
        "accuracy": MetricResult(token_accuracy(correct, tokens), signature, rows[:, [2, 1]].tolist()),
    }


def spelling(trained: TrainedModel) -> str:
    """Return what figures per token depend on: the vocabulary (its size and digest), and whether words are copied."""
    target = trained.codec.target
    copying = "|copying" if trained.model.decoder.pointer is not None else ""
    return f"vocabulary {len(target)} {hashlib.sha256(target.model).hexdigest()[:8]}{copying}"


def predicted(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> NDArray[np.float64]:
    """Return (N, 3) of the references: -log p in nats, tokens, and how many of them the model ranks first.

    A record that can't be read has zeros.
    """
    result = np.zeros((len(records), 3))
    with torch.inference_mode(), evaluating(trained.model):
        for batch in batches(trained, records, max_tokens):
            predictions = teacher_forced_nll(trained.model, batch)
            columns = (predictions.per_token, batch.target_mask, predictions.correct)
            sums = torch.stack([column.double().sum(1) for column in columns], 1)
            result[batch.index.cpu()] = sums.cpu()
    return result


def forced(
    trained: TrainedModel, records: Sequence[Record], max_tokens: int, *, plots: int = 0
) -> list[AttentionMap | None]:
    """Return the attention of each record's target, forced on the model; None where an image can't be read any more.

    All weights, of which there are many, are kept for the first ``plots`` alone, the alignment for all.
    """
    maps: dict[int, AttentionMap] = {}
    for batch in batches(trained, records, max_tokens):
        assert batch.target is not None
        targets = [ids[1 : ids.index(EOS)] for ids in batch.target.tolist()]
        chosen = [Hypothesis(tokens, score=0.0, log_prob=0.0, finished=True) for tokens in targets]
        for place, reference_map in zip(batch.index.tolist(), trained.attention(batch, chosen), strict=True):
            maps[place] = reference_map if place < plots else replace(reference_map, weights={})
    return [maps.get(place) for place in range(len(records))]


def batches(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> Iterator[Batch]:
    """Yield the records as tensors on the model's device, longest first."""
    examples = [trained.codec(record) for record in records]
    for places in sorted_batches(*lengths(examples), max_tokens):
        batch = collate([examples[place] for place in places], places.tolist())
        if batch.index[0] >= 0:
            yield batch.to(trained.device)
