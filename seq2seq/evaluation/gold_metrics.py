"""Agreement of attention with gold links, sentences and regions, while references are forced on the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.codec import Codec
from seq2seq.data.records import Record, regions_of
from seq2seq.data.tokenizer import LETTERS
from seq2seq.errors import UserError
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.metrics.alignment import LinkCounts, agreement, align, counts, diagonal, uniform
from seq2seq.metrics.gold import GoldLinks
from seq2seq.metrics.links import Link
from seq2seq.metrics.metric import MetricResult, RecordRows
from seq2seq.metrics.pointing import Pointing, pointing
from seq2seq.metrics.sentences import attended_sentences, recalled, uniform_recall
from seq2seq.metrics.words import overlap
from seq2seq.tasks.annotations import gold_of


def has_gold(record: Record) -> bool:
    """Return whether a record has gold annotations of attention.

    Args:
        record: Record of a split.
    """
    return any(record.get(key) for key in GOLD_METRICS)


def gold_metrics(
    maps: Mapping[int, AttentionMap], records: Sequence[Record]
) -> Iterator[tuple[list[int], dict[str, MetricResult]]]:
    """Measure attention against each kind of gold annotation.

    Args:
        maps: Attention of records whose targets were forced on the model, by index of the record.
        records: All records.

    Yields:
        The indices of the records that have the annotation, and their metrics by name.
    """
    for key, measure in GOLD_METRICS.items():
        record_indices = [record_index for record_index in maps if records[record_index].get(key)]
        if record_indices:
            yield (
                record_indices,
                measure(
                    [maps[record_index] for record_index in record_indices],
                    [records[record_index] for record_index in record_indices],
                ),
            )


def link_metrics(maps: Sequence[AttentionMap], records: Sequence[Record]) -> dict[str, MetricResult]:
    """Return the metrics of ``alignment_error`` with the gold links of the records.

    Args:
        maps: Attention of N references.
        records: N records with gold links.
    """
    return alignment_error(maps, [gold_of(record) for record in records])[0]


def alignment_error(
    maps: Sequence[AttentionMap], gold: Sequence[GoldLinks]
) -> tuple[dict[str, MetricResult], list[frozenset[Link]]]:
    """Return the alignment error rate (AER) of attention and of baselines, and the links of ``aer``.

    For ``aer``, the weights of step t belong to the word that it predicts; for ``aer_input``, to the word that it
    reads. Mechanisms differ in this (Luong et al. 2015, footnote 14). Both use the last layer. A decoder with several
    layers also has ``aer_layer1``, ... for each layer, and ``aer_layers`` for the mean of the layers. A latent
    alignment also has ``aer_posterior``, of its posterior given the whole reference.

    Args:
        maps: Attention of N references.
        gold: Gold links of N references.

    Returns:
        Results by name of the metric, and the links of each record from which ``aer`` is computed.
    """
    # Map pieces to the words of the gold links.
    sides = [(overlap(m.source, g.source), overlap(m.target, g.target)) for m, g in zip(maps, gold, strict=True)]
    scores: dict[str, MetricResult] = {}

    def add(
        name: str, alignments: Iterable[NDArray[Any]], layer: str, rows: str = "predicted"
    ) -> list[frozenset[Link]]:
        """Add the result of one choice of layer and rows, and return its links."""
        links = [align(one, *side, rows=rows) for one, side in zip(alignments, sides, strict=True)]
        how = f"rows:{rows}|links:target_to_source|layer:{layer}|heads:mean"
        sums = [
            (in_sure + in_possible, predicted + sure) for predicted, sure, in_sure, in_possible in counts(links, gold)
        ]
        scores[name] = _agreed(agreement(links, gold), how, sums)
        return links

    # Score the last layer, then each layer and their mean, then baselines.
    chosen = add("aer", [m.alignment for m in maps], "last")
    add("aer_input", [m.alignment for m in maps], "last", "input")
    posteriors = [m.posterior for m in maps if m.posterior is not None]
    if posteriors:
        add("aer_posterior", posteriors, "posterior")
    layers = len(maps[0].layers) if maps else 1
    if layers > 1:
        for layer in range(layers):
            add(f"aer_layer{layer + 1}", [m.layers[layer] for m in maps], str(layer + 1))
        add("aer_layers", [np.mean(m.layers, axis=0) for m in maps], "mean")
    scores["aer_diagonal"] = _agreed(diagonal(gold), "baseline: same relative place")
    scores["aer_uniform"] = _agreed(uniform(gold), "baseline: any source word, expected")
    return scores, chosen


def sentence_metrics(maps: Sequence[AttentionMap], records: Sequence[Record]) -> dict[str, MetricResult]:
    """Return the recall of gold sentences by attention, and that of uniform attention.

    Recall is the share of target words whose most attended sentence is the one that they come from. Words that come
    from no sentence do not count.

    Args:
        maps: Attention of N references.
        records: N records with the sentence of each target word.

    Returns:
        Results by name of the metric; empty if no word comes from a sentence.
    """
    rows = []
    for reference_map, record in zip(maps, records, strict=True):
        # Leave out special tokens, which belong to no word.
        pieces = zip(reference_map.sentences, reference_map.source_words, strict=True)
        sentences = [sentence if word >= 0 else -1 for sentence, word in pieces]
        target = overlap(reference_map.target, record["target"].split())
        rows.append(recalled(attended_sentences(reference_map.alignment, sentences, target), record["origins"]))
    recall = MetricResult.share(rows, "share of target words|most attended sentence|last cross layer, heads:mean")
    expected = uniform_recall([record["source"] for record in records], [record["origins"] for record in records])
    if recall is None or expected is None:
        return {}
    baseline = MetricResult(expected, "baseline: any source word, expected")
    return {"sentence_recall": recall, "sentence_recall_uniform": baseline}


def region_metrics(maps: Sequence[AttentionMap], records: Sequence[Record]) -> dict[str, MetricResult]:
    """Return the accuracy of pointing by attention, and that of baselines without attention.

    Args:
        maps: Attention of N references.
        records: N records with the regions of words.

    Returns:
        Results by name of the metric; empty if no word names a region.
    """
    # Count the hits of each record.
    counts_of_records = []
    for reference_map, record in zip(maps, records, strict=True):
        regions = regions_of(record, record["target"])
        if reference_map.cells is None or regions is None:
            counts_of_records.append(Pointing(0, 0, 0.0, 0))
            continue
        target = overlap(reference_map.target, record["target"].split())
        cells, extent = reference_map.cells, reference_map.extent
        counts_of_records.append(pointing(reference_map.alignment, cells, extent, target, regions))

    # Divide by the number of words that name a region.
    words, _, uniform_hits, centre_hits = (sum(column) for column in zip(*counts_of_records, strict=True))
    how = f"words that name a region: {words}"
    hits = [(record_counts.hits, record_counts.words) for record_counts in counts_of_records]
    score = MetricResult.share(hits, f"most attended cell overlaps|last cross layer, heads:mean|{how}")
    if score is None:
        return {}
    return {
        "pointing": score,
        "pointing_uniform": MetricResult(uniform_hits / words, f"baseline: any cell, expected|{how}"),
        "pointing_centre": MetricResult(centre_hits / words, f"baseline: the cell in the middle|{how}"),
    }


GOLD_METRICS = {"alignment": link_metrics, "origins": sentence_metrics, "regions": region_metrics}
"""Function that compares attention with gold annotations, by the key of the annotations in a record."""


def record_of(gold: GoldLinks, codec: Codec) -> Record:
    """Return the sentence pair of a gold file as a record.

    Args:
        gold: Sentence pair with gold links.
        codec: Codec of a model that reads text.

    Raises:
        UserError: The model reads letters, and a word of the pair is not one of them.
    """
    sides = dict(zip(("source", "target"), (gold.source, gold.target), strict=True))
    texts = {side: codec.tokenizers[side].join(words) for side, words in sides.items()}
    for side, words in sides.items():
        if codec.tokenizers[side].type == LETTERS and tuple(codec.tokenizers[side].split(texts[side])) != words:
            raise UserError(
                f"alignment: {' '.join(words)} has words that are not letters, but the model reads letters of the "
                f"{side}; make each letter and each feature such as <PL> a word of its own"
            )
    return Record(source=texts["source"], target=texts["target"])


def _agreed(figures: LinkCounts, how: str, rows: RecordRows | None = None) -> MetricResult:
    """Return AER as a result, with precision and recall in its signature."""
    return MetricResult(figures.aer, f"AER|{how}|precision:{figures.precision:.4f}|recall:{figures.recall:.4f}", rows)
