"""Agreement of attention with gold links, gold sentences and gold regions, with the references forced on the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.records import Record, regions_of
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
    """Return whether the record has gold annotations of attention."""
    return any(record.get(key) for key in GOLD_METRICS)


def gold_metrics(
    maps: Mapping[int, AttentionMap], records: Sequence[Record]
) -> Iterator[tuple[list[int], dict[str, MetricResult]]]:
    """Measure attention against each kind of gold annotation.

    Args:
        maps: Attention of records whose targets were forced on the model, by the records' index.
        records: All records.

    Yields:
        The indices of the records that have the annotation, and their figures.
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
    """Return ``alignment_error`` by the records' own links."""
    return alignment_error(maps, [gold_of(record) for record in records])[0]


def alignment_error(
    maps: Sequence[AttentionMap], gold: Sequence[GoldLinks]
) -> tuple[dict[str, MetricResult], list[frozenset[Link]]]:
    """Return AER of the attention while targets are forced on the model, beside baselines, and the links of ``aer``.

    ``aer`` takes the weights of step t as those of the word it predicts, ``aer_input`` as those of the word it reads:
    mechanisms differ in that (Luong et al. 2015, footnote 14). Both are of the last layer; of a decoder with several
    there are also ``aer_layer1``, ... and ``aer_layers``, of their mean.
    """
    sides = [(overlap(m.source, g.source), overlap(m.target, g.target)) for m, g in zip(maps, gold, strict=True)]
    scores: dict[str, MetricResult] = {}

    def add(
        name: str, alignments: Iterable[NDArray[Any]], layer: str, rows: str = "predicted"
    ) -> list[frozenset[Link]]:
        links = [align(one, *side, rows=rows) for one, side in zip(alignments, sides, strict=True)]
        how = f"rows:{rows}|links:target_to_source|layer:{layer}|heads:mean"
        sums = [
            (in_sure + in_possible, predicted + sure) for predicted, sure, in_sure, in_possible in counts(links, gold)
        ]
        scores[name] = _agreed(agreement(links, gold), how, sums)
        return links

    chosen = add("aer", [m.alignment for m in maps], "last")
    add("aer_input", [m.alignment for m in maps], "last", "input")
    layers = len(maps[0].layers) if maps else 1
    if layers > 1:
        for layer in range(layers):
            add(f"aer_layer{layer + 1}", [m.layers[layer] for m in maps], str(layer + 1))
        add("aer_layers", [np.mean(m.layers, axis=0) for m in maps], "mean")
    scores["aer_diagonal"] = _agreed(diagonal(gold), "baseline: same relative place")
    scores["aer_uniform"] = _agreed(uniform(gold), "baseline: any source word, expected")
    return scores, chosen


def sentence_metrics(maps: Sequence[AttentionMap], records: Sequence[Record]) -> dict[str, MetricResult]:
    """Return the recall of the sentences that the words of the references come from, beside that of uniform attention.

    It is the share of the words that come from a sentence whose most attended sentence that is.
    """
    rows = []
    for one, record in zip(maps, records, strict=True):
        real = [n if word >= 0 else -1 for n, word in zip(one.sentences, one.source_words, strict=True)]
        attended = attended_sentences(one.alignment, real, overlap(one.target, record["target"].split()))
        rows.append(recalled(attended, record["origins"]))
    gold_figures = MetricResult.share(rows, "share of target words|most attended sentence|last cross layer, heads:mean")
    expected = uniform_recall([record["source"] for record in records], [record["origins"] for record in records])
    if gold_figures is None or expected is None:
        return {}
    baseline = MetricResult(expected, "baseline: any source word, expected")
    return {"sentence_recall": gold_figures, "sentence_recall_uniform": baseline}


def region_metrics(maps: Sequence[AttentionMap], records: Sequence[Record]) -> dict[str, MetricResult]:
    """Return pointing accuracy while references are forced on the model, beside baselines without attention."""
    gold_figures = []
    for one, record in zip(maps, records, strict=True):
        regions = regions_of(record, record["target"])
        if one.cells is None or regions is None:
            gold_figures.append(Pointing(0, 0, 0.0, 0))
            continue
        target = overlap(one.target, record["target"].split())
        gold_figures.append(pointing(one.alignment, one.cells, one.extent, target, regions))
    words, _, uniformly, in_centre = (sum(column) for column in zip(*gold_figures, strict=True))
    how = f"words that name a region: {words}"
    hits = [(one.hits, one.words) for one in gold_figures]
    score = MetricResult.share(hits, f"most attended cell overlaps|last cross layer, heads:mean|{how}")
    if score is None:
        return {}
    return {
        "pointing": score,
        "pointing_uniform": MetricResult(uniformly / words, f"baseline: any cell, expected|{how}"),
        "pointing_centre": MetricResult(in_centre / words, f"baseline: the cell in the middle|{how}"),
    }


GOLD_METRICS = {"alignment": link_metrics, "origins": sentence_metrics, "regions": region_metrics}
"""Gold annotations that a record may have, and the function that measures attention against each."""


def record_of(gold: GoldLinks) -> Record:
    """Return a pair of a gold file as a record."""
    return Record(source=" ".join(gold.source), target=" ".join(gold.target))


def _agreed(figures: LinkCounts, how: str, rows: RecordRows | None = None) -> MetricResult:
    return MetricResult(figures.aer, f"AER|{how}|precision:{figures.precision:.4f}|recall:{figures.recall:.4f}", rows)
