"""What a trained model makes of a list of records: its outputs, and how good they and their alignments are.

Letters: T target pieces, S source pieces, I source words, J target words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from tqdm import tqdm

from seq2seq.batch import EOS, UNK, Batch
from seq2seq.config import build_node
from seq2seq.data.batching import sorted_batches
from seq2seq.data.captions import ImageCodec
from seq2seq.data.collate import collate
from seq2seq.data.loading import lengths
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.inference import Generation, Trained
from seq2seq.loss import Criterion
from seq2seq.maps import AttentionMap
from seq2seq.metrics import Score, score
from seq2seq.metrics import attention as behaviour
from seq2seq.metrics.alignment import Agreement, agreement, align, diagonal, uniform
from seq2seq.metrics.captions import diversity
from seq2seq.metrics.extraction import extraction
from seq2seq.metrics.extractive import baselines
from seq2seq.metrics.gold import Gold
from seq2seq.metrics.likelihood import perplexity, token_accuracy
from seq2seq.metrics.links import Link
from seq2seq.metrics.pointing import Pointing, attributes, exact
from seq2seq.metrics.sentences import attended_sentences, copy_accuracy, sentence_recall, uniform_recall
from seq2seq.metrics.words import overlap
from seq2seq.search import Hypothesis, Search
from seq2seq.search.base import evaluating

log = logging.getLogger(__name__)


@dataclass
class Scored:
    """Of N records, in their order."""

    generations: list[Generation]  # attention is kept for the first ``plots`` alone
    statistics: list[dict[str, float]]  # of attention, a sentence each
    links: list[frozenset[Link]]  # between the words of source and output
    metrics: dict[str, Score] = field(default_factory=dict)


def score_records(
    trained: Trained, records: Sequence[Record], search: Search, task: Mapping[str, Any], *, max_tokens: int, plots: int
) -> Scored:
    """Outputs of ``records`` and how good they are; the likelihood of the references, and how attention agrees with
    gold links and gold sentences where there are any, both with the references forced on the model. ``task`` names the
    ``metrics`` of the outputs. Of documents also what outputs copied, and baselines that copy whole sentences.
    """
    sources = [record["source"] for record in records]
    found = translate(trained, sources, search, max_tokens=max_tokens, plots=plots)
    references = [list(record.get("references") or [record["target"]]) for record in records]
    outputs = [one.text for one in found.generations]
    found.metrics |= score(task["metrics"], outputs, references)
    found.metrics |= likelihood(trained, records, max_tokens)
    known = [r for r in records if r.get("alignment") or r.get("origins") or r.get("regions")]
    found_maps = forced(trained, known, max_tokens)
    known = [record for record, seen in zip(known, found_maps, strict=True) if seen is not None]
    maps = [seen for seen in found_maps if seen is not None]
    if linked := [(seen, gold_of(record)) for seen, record in zip(maps, known, strict=True) if record.get("alignment")]:
        found.metrics |= alignment_error(*zip(*linked, strict=True))
    if isinstance(trained.codec, ImageCodec):
        found.metrics |= diversity(outputs)
        found.metrics |= regions_found(maps, known)
        found.metrics |= objects_named(known, outputs, references)
    if trained.codec.documents:
        found.metrics |= extraction(sources, outputs, references)
        found.metrics |= sentences_found(maps, known)
        found.metrics |= own_words_said(trained, records, outputs)
        found.metrics |= copied_sentences(sources, references, task)
    signature = "last cross layer, mean over outputs"
    for name, value in behaviour.average(row for row in found.statistics if row).items():
        found.metrics[f"attention_{name}"] = Score(value, signature)
    return found


def translate(trained: Trained, sources: Sequence[str], search: Search, *, max_tokens: int, plots: int) -> Scored:
    """Outputs, attention statistics and word links of each source."""
    found = Scored(
        [Generation(source, []) for source in sources], [{} for _ in sources], [frozenset() for _ in sources]
    )
    stream = trained.stream(sources, search, return_attention=True, max_tokens=max_tokens)
    for place, one in tqdm(stream, total=len(sources), desc="translating", unit=" sentences", disable=None):
        assert one.attention is not None
        found.statistics[place], found.links[place] = one.attention.statistics(), one.attention.links()
        found.generations[place] = one if place < plots else replace(one, attention=None)
    return found


def likelihood(trained: Trained, records: Sequence[Record], max_tokens: int) -> dict[str, Score]:
    """How well the references are predicted, teacher-forced and without smoothing."""
    criterion: Criterion = build_node(trained.config.loss).eval()  # it knows what its mechanisms report
    nll, tokens, correct = 0.0, 0, 0
    with torch.inference_mode(), evaluating(trained.model):
        for batch in batches(trained, records, max_tokens):
            losses = criterion(trained.model, batch)
            nll, tokens, correct = nll + float(losses.nll), tokens + losses.tokens, correct + int(losses.correct)
    if not tokens:
        raise UserError("there is nothing to score: no record has a target that can be read with its source")
    signature = f"teacher-forced|{tokens} tokens with </s>|vocabulary {len(trained.codec.target)}"
    return {
        "perplexity": Score(perplexity(nll, tokens), signature),
        "accuracy": Score(token_accuracy(correct, tokens), signature),
    }


def alignment_error(maps: Sequence[AttentionMap], gold: Sequence[Gold]) -> dict[str, Score]:
    """AER of the attention while targets are forced on the model, beside what no attention reaches.

    ``aer`` takes the weights of step t as those of the word it predicts, ``aer_input`` as those of the word it reads:
    mechanisms differ in that (Luong et al. 2015, footnote 14).
    """
    sides = [(overlap(m.source, g.source), overlap(m.target, g.target)) for m, g in zip(maps, gold, strict=True)]
    result: dict[str, Score] = {}
    for name, rows in (("aer", "predicted"), ("aer_input", "input")):
        links = [align(m.alignment, *side, rows=rows) for m, side in zip(maps, sides, strict=True)]
        result[name] = _agreed(agreement(links, gold), f"rows:{rows}|links:target_to_source|layer:last|heads:mean")
    result["aer_diagonal"] = _agreed(diagonal(gold), "baseline: same relative place")
    result["aer_uniform"] = _agreed(uniform(gold), "baseline: any source word, expected")
    return result


def sentences_found(maps: Sequence[AttentionMap], records: Sequence[Record]) -> dict[str, Score]:
    """Recall of the sentences that the words of the references come from, beside that of uniform attention; ``maps`` as
    for ``alignment_error``, and records without origins count for nothing.
    """
    attended, origins = [], [record.get("origins", []) for record in records]
    for one, record in zip(maps, records, strict=True):
        if not record.get("origins"):
            attended.append(list[int]())
            continue
        real = [n if word >= 0 else -1 for n, word in zip(one.sentences, one.source_words, strict=True)]
        attended.append(attended_sentences(one.alignment, real, overlap(one.target, record["target"].split())))
    how = "share of target words|most attended sentence|last cross layer, heads:mean"
    recalls = {
        "sentence_recall": (sentence_recall(attended, origins), how),
        "sentence_recall_uniform": (
            uniform_recall([record["source"] for record in records], origins),
            "baseline: any source word, expected",
        ),
    }
    return {name: Score(value, signature) for name, (value, signature) in recalls.items() if value is not None}


def regions_found(maps: Sequence[AttentionMap], records: Sequence[Record]) -> dict[str, Score]:
    """Pointing accuracy of the attention while references are forced on the model, beside what no attention reaches."""
    found = Pointing()
    for one, record in zip(maps, records, strict=True):
        if record.get("regions") and one.cells is not None:
            target = overlap(one.target, record["target"].split())
            found.add(one.alignment, one.cells, one.extent, target, record["regions"])
    if not found.words:
        return {}
    how = f"words that name a region: {found.words}"
    return {
        "pointing": Score(found.hits / found.words, f"most attended cell overlaps|last cross layer, heads:mean|{how}"),
        "pointing_uniform": Score(found.uniform / found.words, f"baseline: any cell, expected|{how}"),
        "pointing_centre": Score(found.centre / found.words, f"baseline: the cell in the middle|{how}"),
    }


def objects_named(
    known: Sequence[Record], outputs: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, Score]:
    """Of drawn scenes, of which all that is true to say is a reference: what was said rightly."""
    naming = {
        word
        for record in known
        for word, boxes in zip(record["target"].split(), record.get("regions", []), strict=False)
        if boxes
    }
    share = attributes(outputs, references, naming)
    if share is None:
        return {}
    return {
        "exact": Score(exact(outputs, references), "share of outputs that are a reference, word for word"),
        "attributes": Score(share, "share of words that name objects, by the nearest reference, place by place"),
    }


def own_words_said(trained: Trained, records: Sequence[Record], outputs: Sequence[str]) -> dict[str, Score]:
    """Of the words that only copying can say, how many were said."""
    target = trained.codec.target

    def known(word: str) -> bool:
        return UNK not in target.encode(word)

    sources, targets = ([record["source"] for record in records], [record["target"] for record in records])
    share = copy_accuracy(sources, targets, outputs, known)
    return {} if share is None else {"copy_accuracy": Score(share, "source words that the target vocabulary lacks")}


def copied_sentences(
    sources: Sequence[str], references: Sequence[Sequence[str]], task: Mapping[str, Any]
) -> dict[str, Score]:
    """ROUGE of summaries that copy whole sentences, by the code that scores the model's."""
    metrics = [name for name in task["metrics"] if name.startswith("rouge")]
    if not metrics:
        return {}
    copied = baselines(sources, references, sentences=task.get("lead_sentences"), words=task.get("lead_words"))
    return {
        f"{metric}_{name}": replace(value, signature=f"baseline|{value.signature}")
        for name, texts in copied.items()
        for metric, value in score(metrics, texts, references).items()
    }


def _agreed(figures: Agreement, how: str) -> Score:
    return Score(figures.aer, f"AER|{how}|precision:{figures.precision:.4f}|recall:{figures.recall:.4f}")


def forced(
    trained: Trained, records: Sequence[Record], max_tokens: int, *, plots: int = 0
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


def record_of(gold: Gold) -> Record:
    """A pair of a gold file as a record."""
    return Record(source=" ".join(gold.source), target=" ".join(gold.target))


def batches(trained: Trained, records: Sequence[Record], max_tokens: int) -> Iterator[Batch]:
    """The records as tensors on the model's device, longest first."""
    examples = [trained.codec(record) for record in records]
    for places in sorted_batches(*lengths(examples), max_tokens):
        batch = collate([examples[place] for place in places], places.tolist())
        if batch.index[0] >= 0:
            yield batch.to(trained.device)


def gold_of(record: Record) -> Gold:
    """A record's own links, between its words."""
    source, target = record["source"].split(), record["target"].split()
    return Gold.of(source, target, record.get("alignment", ()), record.get("possible", ()))
