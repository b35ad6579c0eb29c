"""What a trained model makes of a list of records: its outputs, and how good they and their alignments are.

Letters: T target pieces, S source pieces, I source words, J target words.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from seq2seq.attention_store import AttentionRecord
from seq2seq.batch import EOS, UNK, Batch
from seq2seq.config.instantiate import build_node
from seq2seq.data.batching import sorted_batches
from seq2seq.data.codec import ImageCodec
from seq2seq.data.collate import collate
from seq2seq.data.example import lengths
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.evaluation.gold_metrics import is_known, judge
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.generator import Generation, TrainedModel
from seq2seq.loss import Criterion
from seq2seq.metrics import MetricResult, score
from seq2seq.metrics import attention as behaviour
from seq2seq.metrics.captions import diversity
from seq2seq.metrics.extraction import extraction
from seq2seq.metrics.extractive import baselines
from seq2seq.metrics.likelihood import perplexity, token_accuracy
from seq2seq.metrics.links import Link
from seq2seq.metrics.pointing import attributes, exact
from seq2seq.metrics.resampling import by_record
from seq2seq.metrics.sentences import copied_words
from seq2seq.search import Hypothesis, Search
from seq2seq.search.base import evaluating

log = logging.getLogger(__name__)


@dataclass
class EvaluationResult:
    """Of N records, in their order."""

    generations: list[Generation]  # attention is kept for the first ``plots`` alone
    statistics: list[dict[str, float]]  # of attention, a sentence each
    links: list[frozenset[Link]]  # between the words of source and output
    sums: list[dict[str, Sequence[float]]]  # what each record adds to each figure (``metrics.sums``)
    metrics: dict[str, MetricResult] = field(default_factory=dict)
    exhibits: list[AttentionRecord] = field(default_factory=list)  # of the first ``examples``
    seconds: float = 0.0  # that search took, attention included

    def add(self, metrics: Mapping[str, MetricResult], places: Sequence[int] | None = None) -> None:
        """Figures of all records, or of those at ``places``."""
        self.metrics |= metrics
        places = range(len(self.sums)) if places is None else places
        for place, mine in zip(places, by_record(metrics, len(places)), strict=True):
            self.sums[place] |= mine


def score_records(
    trained: TrainedModel,
    records: Sequence[Record],
    search: Search,
    task: Mapping[str, Any],
    *,
    max_tokens: int,
    plots: int,
    examples: int = 0,
) -> EvaluationResult:
    """Outputs of ``records`` and how good they are; the likelihood of the references, and how attention agrees with
    gold links and gold sentences where there are any, both with the references forced on the model. ``task`` names the
    ``metrics`` of the outputs. Of documents also what outputs copied, and baselines that copy whole sentences.
    The attention of the first ``examples`` is kept as exhibits.
    """
    sources = [record["source"] for record in records]
    found, maps = translate(trained, sources, search, max_tokens=max_tokens, plots=plots, examples=examples)
    references = [list(record.get("references") or [record["target"]]) for record in records]
    outputs = [one.text for one in found.generations]
    found.add(score(task["metrics"], outputs, references))
    found.add(likelihood(trained, records, max_tokens))
    places = [n for n, record in enumerate(records) if n in maps or is_known(record)]
    seen = dict(zip(places, forced(trained, [records[n] for n in places], max_tokens), strict=True))
    references_seen = {n: one for n, one in seen.items() if one is not None}
    for those, figures in judge(references_seen, records):
        found.add(figures, those)
    for place, one in sorted(maps.items()):
        reference = references_seen.get(place)
        words = None if reference is None else reference.between_words(sources[place], records[place]["target"])
        found.exhibits.append(one.exhibit(place, words))
    if isinstance(trained.codec, ImageCodec):
        found.add(diversity(outputs))
        found.add(objects_named([records[n] for n in references_seen], outputs, references))
    if trained.codec.documents:
        found.add(extraction(sources, outputs, references))
        found.add(own_words_said(trained, records, outputs))
        found.add(copied_sentences(sources, references, task))
    for name, value in behaviour.average(row for row in found.statistics if row).items():
        found.metrics[f"attention_{name}"] = MetricResult(value, behaviour.HOW)
    return found


def translate(
    trained: TrainedModel, sources: Sequence[str], search: Search, *, max_tokens: int, plots: int, examples: int = 0
) -> tuple[EvaluationResult, dict[int, AttentionMap]]:
    """Outputs, attention statistics and word links of each source; the attention of the first ``examples``."""
    found = EvaluationResult(
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
        found.statistics[place], found.links[place] = one.attention.statistics(), one.attention.links()
        found.generations[place] = one if place < plots else replace(one, attention=None)
        if place < examples:
            maps[place] = one.attention.crossing()
    found.seconds = time.monotonic() - began
    return found, maps


def likelihood(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> dict[str, MetricResult]:
    """How well the references are predicted, teacher-forced and without smoothing."""
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
    """What figures a token hang on: the vocabulary, by its size and content, and whether words beyond it are copied."""
    target = trained.codec.target
    copying = "|copying" if trained.model.decoder.pointer is not None else ""
    return f"vocabulary {len(target)} {hashlib.sha256(target.model).hexdigest()[:8]}{copying}"


def predicted(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> NDArray[np.float64]:
    """(N, 3) of the references: -log p, in nats, tokens, and how many of them the model ranks first; 0 of what can't be
    read.
    """
    criterion: Criterion = build_node(trained.config.loss).eval()  # it knows what its mechanisms report
    found = np.zeros((len(records), 3))
    with torch.inference_mode(), evaluating(trained.model):
        for batch in batches(trained, records, max_tokens):
            losses = criterion(trained.model, batch)
            columns = (losses.each, batch.target_mask, losses.hits)
            sums = torch.stack([column.double().sum(1) for column in columns], 1)
            found[batch.index.cpu()] = sums.cpu()
    return found


def objects_named(
    known: Sequence[Record], outputs: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, MetricResult]:
    """Of drawn scenes, of which all that is true to say is a reference: what was said rightly."""
    naming = {
        word
        for record in known
        for text, regions in zip(record.get("references", []), record.get("regions", []), strict=False)
        for word, boxes in zip(text.split(), regions, strict=False)
        if boxes
    }
    rows = attributes(outputs, references, naming)
    named = MetricResult.share(rows, "share of words that name objects, by the nearest reference, place by place")
    if named is None:
        return {}
    whole = MetricResult.mean(exact(outputs, references), "share of outputs that are a reference, word for word")
    return {"exact": whole, "attributes": named}


def own_words_said(trained: TrainedModel, records: Sequence[Record], outputs: Sequence[str]) -> dict[str, MetricResult]:
    """Of the words that only copying can say, how many were said."""
    target = trained.codec.target

    def known(word: str) -> bool:
        return UNK not in target.encode(word)

    sources, targets = ([record["source"] for record in records], [record["target"] for record in records])
    rows = copied_words(sources, targets, outputs, known)
    said = MetricResult.share(rows, "source words that the target vocabulary lacks")
    return {} if said is None else {"copy_accuracy": said}


def copied_sentences(
    sources: Sequence[str], references: Sequence[Sequence[str]], task: Mapping[str, Any]
) -> dict[str, MetricResult]:
    """ROUGE of summaries that copy whole sentences, by the code that scores the model's."""
    metrics = [name for name in task["metrics"] if name.startswith("rouge")]
    if not metrics:
        return {}
    copied = baselines(sources, references, sentences=task.get("lead_sentences"), words=task.get("lead_words"))
    return {
        f"{metric}_{name}": MetricResult(value.score, f"baseline|{value.signature}")
        for name, texts in copied.items()
        for metric, value in score(metrics, texts, references).items()
    }


def forced(
    trained: TrainedModel, records: Sequence[Record], max_tokens: int, *, plots: int = 0
) -> list[AttentionMap | None]:
    """The attention of each record's target, forced on the model; in their order, None where a picture can't be read
    any more. All weights, of which there are many, are kept for the first ``plots`` alone, the alignment for all.
    """
    maps: dict[int, AttentionMap] = {}
    for batch in batches(trained, records, max_tokens):
        assert batch.target is not None
        targets = [ids[1 : ids.index(EOS)] for ids in batch.target.tolist()]
        chosen = [Hypothesis(tokens, score=0.0, log_prob=0.0, finished=True) for tokens in targets]
        for place, seen in zip(batch.index.tolist(), trained.attention(batch, chosen), strict=True):
            maps[place] = seen if place < plots else replace(seen, weights={})
    return [maps.get(place) for place in range(len(records))]


def batches(trained: TrainedModel, records: Sequence[Record], max_tokens: int) -> Iterator[Batch]:
    """The records as tensors on the model's device, longest first."""
    examples = [trained.codec(record) for record in records]
    for places in sorted_batches(*lengths(examples), max_tokens):
        batch = collate([examples[place] for place in places], places.tolist())
        if batch.index[0] >= 0:
            yield batch.to(trained.device)
