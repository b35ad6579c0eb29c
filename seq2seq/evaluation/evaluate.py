"""Evaluation of a trained model on a list of records: outputs, metrics, attention and links."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Results of N records, in their order."""

    generations: list[Generation]  # outputs; only the first ``plots`` keep their attention
    attention_statistics: list[dict[str, float]]  # statistics of the attention of each output
    links: list[frozenset[Link]]  # links between the words of source and output
    record_sums: list[dict[str, Sequence[float]]]  # numbers that each record adds to metrics (``metrics.resampling``)
    metrics: dict[str, MetricResult] = field(default_factory=dict)  # results by name of the metric
    attention_records: list[AttentionRecord] = field(default_factory=list)  # attention of the first ``examples``
    search_seconds: float = 0.0  # duration of search, computation of attention included

    def add(self, metrics: Mapping[str, MetricResult], places: Sequence[int] | None = None) -> None:
        """Add metrics of all records, or of some of them.

        Args:
            metrics: Results by name of the metric.
            places: Indices of the records that the metrics are of; None for all records.
        """
        self.metrics |= metrics
        places = range(len(self.record_sums)) if places is None else places
        for place, sums in zip(places, by_record(metrics, len(places)), strict=True):
            self.record_sums[place] |= sums


def score_records(
    trained: TrainedModel,
    records: Sequence[Record],
    search: Search,
    task: Task,
    *,
    max_tokens: int,
    plots: int,
    examples: int = 0,
    training: Callable[[], Sequence[Record]] = tuple,
) -> EvaluationResult:
    """Return the outputs of records and all their metrics.

    The likelihood of the references, and the agreement of attention with gold annotations, are measured with the
    references forced on the model (teacher forcing).

    Args:
        trained: Trained model.
        records: Records to score.
        search: Search that finds the outputs.
        task: Task, which names the metrics of outputs (``Task.metrics``) and adds its own (``Task.scores``).
        max_tokens: Maximum number of tokens of a batch.
        plots: Number of first records whose attention is kept for plots.
        examples: Number of first records whose cross-attention is kept for comparisons.
        training: Function that returns the training records, for baselines of the task; none by default.

    Raises:
        UserError: No record can be scored.
    """
    # Search outputs and score them.
    sources = [record["source"] for record in records]
    result, maps = translate(trained, sources, search, max_tokens=max_tokens, plots=plots, examples=examples)
    references = [list(record.get("references") or [record["target"]]) for record in records]
    outputs = [generation.text for generation in result.generations]
    result.add(score(task.metrics, outputs, references))
    result.add(likelihood(trained, records, max_tokens))
    if search.proves:
        shares = [float(any(output.proven for output in generation.outputs[:1])) for generation in result.generations]
        result.add({"proven": MetricResult.mean(shares, "outputs that are proven to be the most probable ones")})

    # Compare the attention of references with gold annotations.
    places = [n for n, record in enumerate(records) if n in maps or has_gold(record)]
    forced_maps = dict(zip(places, forced(trained, [records[n] for n in places], max_tokens), strict=True))
    reference_maps = {n: reference_map for n, reference_map in forced_maps.items() if reference_map is not None}
    for record_indices, metrics in gold_metrics(reference_maps, records):
        result.add(metrics, record_indices)

    # Keep the attention of the first records.
    for place, output_map in sorted(maps.items()):
        reference = reference_maps.get(place)
        words = None if reference is None else reference.between_words(*trained.codec.split(records[place]))
        result.attention_records.append(output_map.to_record(place, words))

    # Add the metrics of the task and the mean statistics of attention.
    readable = [records[n] for n in reference_maps]
    result.add(task.scores(ScoredRecords(records, outputs, references, readable, trained.codec, training)))
    for name, value in behaviour.average(row for row in result.attention_statistics if row).items():
        result.metrics[f"attention_{name}"] = MetricResult(value, behaviour.HOW)
    return result


def translate(
    trained: TrainedModel, sources: Sequence[str], search: Search, *, max_tokens: int, plots: int, examples: int = 0
) -> tuple[EvaluationResult, dict[int, AttentionMap]]:
    """Return the outputs of sources, with attention statistics and word links.

    Args:
        trained: Trained model.
        sources: Sources of N records.
        search: Search that finds the outputs.
        max_tokens: Maximum number of tokens of a batch.
        plots: Number of first records whose attention is kept for plots.
        examples: Number of first records whose cross-attention is returned.

    Returns:
        The results, without metrics; and the cross-attention of the first records by index.
    """
    result = EvaluationResult(
        [Generation(source, []) for source in sources],
        [{} for _ in sources],
        [frozenset() for _ in sources],
        [{} for _ in sources],
    )
    maps: dict[int, AttentionMap] = {}
    start = time.monotonic()
    stream = trained.stream(sources, search, return_attention=True, max_tokens=max_tokens)
    for place, generation in tqdm(stream, total=len(sources), desc="generating", unit=" outputs", disable=None):
        attention = generation.attention
        assert attention is not None
        result.attention_statistics[place], result.links[place] = attention.statistics(), attention.links()
        # The attention of all records would fill the memory.
        result.generations[place] = generation if place < plots else replace(generation, attention=None)
        if place < examples:
            maps[place] = attention.crossing()
    result.search_seconds = time.monotonic() - start
    return result, maps


def likelihood(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> dict[str, MetricResult]:
    """Return perplexity and accuracy of the references, with teacher forcing and without label smoothing.

    A sparse output layer has no perplexity: it has its loss, the size of the support and the share of missed targets.

    Args:
        trained: Trained model.
        records: Records to score.
        max_tokens: Maximum number of tokens of a batch.

    Returns:
        Results by name of the metric.

    Raises:
        UserError: No record can be scored.
    """
    rows = predicted(trained, records, max_tokens)
    nll, tokens, correct, *others = rows.sum(0).tolist()
    if not tokens:
        raise UserError("records: nothing to score, because no record has a source and a target that can be read")
    signature = f"teacher-forced|{tokens:.0f} tokens with </s>|{spelling(trained)}"
    output = trained.model.decoder.output
    main = (
        {output.loss_name: MetricResult(nll / tokens, signature, rows[:, :2].tolist())}
        if output.sparse
        else {"perplexity": MetricResult(perplexity(nll, tokens), signature, rows[:, :2].tolist())}
    )
    accuracy = MetricResult(token_accuracy(correct, tokens), signature, rows[:, [2, 1]].tolist())
    means = {
        name: MetricResult(total / tokens, signature, rows[:, [column, 1]].tolist())
        for column, (name, total) in enumerate(zip(output.figures, others, strict=True), 3)
    }
    return {**main, "accuracy": accuracy, **means}


def spelling(trained: TrainedModel) -> str:
    """Return the part of a signature for metrics per token: size and digest of the vocabulary, and copying.

    Args:
        trained: Trained model.
    """
    target = trained.codec.target
    copying = "|copying" if trained.model.decoder.pointer is not None else ""
    return f"vocabulary {len(target)} {hashlib.sha256(target.model).hexdigest()[:8]}{copying}"


def predicted(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> NDArray[np.float64]:
    """Return the likelihood of each reference, with teacher forcing.

    Args:
        trained: Trained model.
        records: N records.
        max_tokens: Maximum number of tokens of a batch.

    Returns:
        Array (N, 3 + F): -log p in nats (the loss of a sparse output layer), number of tokens, number of tokens that
        the model ranks first, and the sums of the F ``figures`` of the output layer. A record that cannot be read has
        zeros.
    """
    names = trained.model.decoder.output.figures
    result = np.zeros((len(records), 3 + len(names)))
    with torch.inference_mode(), evaluating(trained.model):
        for batch in batches(trained, records, max_tokens):
            predictions = teacher_forced_nll(trained.model, batch)
            columns = [predictions.per_token, batch.target_mask, predictions.correct]
            columns += [predictions.figures[name] for name in names]
            sums = torch.stack([column.double().sum(1) for column in columns], 1)
            # Batches are sorted by length; ``index`` holds the place of each row among the records.
            result[batch.index.cpu()] = sums.cpu()
    return result


def forced(
    trained: TrainedModel, records: Sequence[Record], max_tokens: int, *, plots: int = 0
) -> list[AttentionMap | None]:
    """Return the attention of each record while its target is forced on the model (teacher forcing).

    Args:
        trained: Trained model.
        records: N records.
        max_tokens: Maximum number of tokens of a batch.
        plots: Number of first records that keep the weights of all heads and layers, which take much memory. All other
            records keep the alignment only.

    Returns:
        N attention maps; None for a record whose image cannot be read any more.
    """
    maps: dict[int, AttentionMap] = {}
    for batch in batches(trained, records, max_tokens):
        assert batch.target is not None
        # Treat targets, without <s> and </s>, as hypotheses of a search.
        targets = [ids[1 : ids.index(EOS)] for ids in batch.target.tolist()]
        chosen = [Hypothesis(tokens, score=0.0, log_prob=0.0, finished=True) for tokens in targets]
        for place, reference_map in zip(batch.index.tolist(), trained.attention(batch, chosen), strict=True):
            maps[place] = reference_map if place < plots else replace(reference_map, weights={})
    return [maps.get(place) for place in range(len(records))]


def batches(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> Iterator[Batch]:
    """Yield batches of records on the device of the model, longest records first.

    Args:
        trained: Trained model.
        records: Records to batch.
        max_tokens: Maximum number of tokens of a batch.
    """
    examples = [trained.codec(record) for record in records]
    for places in sorted_batches(*lengths(examples), max_tokens):
        batch = collate([examples[place] for place in places], places.tolist())
        # A batch without readable records has a negative index.
        if batch.index[0] >= 0:
            yield batch.to(trained.device)
