"""How attention agrees with what is known of records: gold links, gold sentences, gold regions; references forced.

Each figure is one of sums over records, and what a record adds to them is kept: ``{name: (part, whole)}``, the figure
being part / whole, or 1 - part / whole where it is an error. So ``seq2seq.comparison`` can draw records anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.records import Record
from seq2seq.maps import AttentionMap
from seq2seq.metrics import Score
from seq2seq.metrics.alignment import Agreement, agreement, align, counts, diagonal, uniform
from seq2seq.metrics.gold import Gold
from seq2seq.metrics.links import Link
from seq2seq.metrics.pointing import Pointing
from seq2seq.metrics.sentences import attended_sentences, sentence_recall, uniform_recall
from seq2seq.metrics.words import overlap

Shares = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Judged:
    """Of N records."""

    metrics: dict[str, Score]
    shares: list[Shares]
    links: list[frozenset[Link]] = field(default_factory=list)  # those that ``aer`` is of


def is_known(record: Record) -> bool:
    """Whether there is anything to hold attention against."""
    return bool(record.get("alignment") or record.get("origins") or record.get("regions"))


def judge(maps: Sequence[AttentionMap], records: Sequence[Record]) -> Judged:
    """All that is known of ``records``, whose targets were forced on the model that ``maps`` are of."""
    found = Judged({}, [{} for _ in maps])
    linked = [n for n, record in enumerate(records) if record.get("alignment")]
    if linked:
        aligned = alignment_error([maps[n] for n in linked], [gold_of(records[n]) for n in linked])
        found.metrics.update(aligned.metrics)
        for place, shares in zip(linked, aligned.shares, strict=True):
            found.shares[place].update(shares)
    for part in (sentences_found(maps, records), regions_found(maps, records)):
        found.metrics.update(part.metrics)
        for mine, shares in zip(found.shares, part.shares, strict=True):
            mine.update(shares)
    return found


def alignment_error(maps: Sequence[AttentionMap], gold: Sequence[Gold]) -> Judged:
    """AER of the attention while targets are forced on the model, beside what no attention reaches.

    ``aer`` takes the weights of step t as those of the word it predicts, ``aer_input`` as those of the word it reads:
    mechanisms differ in that (Luong et al. 2015, footnote 14). Both are of the last layer; of a decoder with several
    there are also ``aer_layer1``, ... and ``aer_layers``, of their mean.
    """
    sides = [(overlap(m.source, g.source), overlap(m.target, g.target)) for m, g in zip(maps, gold, strict=True)]
    found = Judged({}, [{} for _ in maps])

    def add(name: str, alignments: Iterable[NDArray[Any]], layer: str, rows: str = "predicted") -> None:
        links = [align(one, *side, rows=rows) for one, side in zip(alignments, sides, strict=True)]
        if name == "aer":
            found.links.extend(links)
        how = f"rows:{rows}|links:target_to_source|layer:{layer}|heads:mean"
        found.metrics[name] = _agreed(agreement(links, gold), how)
        for mine, (predicted, sure, in_sure, in_possible) in zip(found.shares, counts(links, gold), strict=True):
            mine[name] = (in_sure + in_possible, predicted + sure)

    add("aer", [m.alignment for m in maps], "last")
    add("aer_input", [m.alignment for m in maps], "last", "input")
    layers = len(maps[0].layers) if maps else 1
    if layers > 1:
        for layer in range(layers):
            add(f"aer_layer{layer + 1}", [m.layers[layer] for m in maps], str(layer + 1))
        add("aer_layers", [np.mean(m.layers, axis=0) for m in maps], "mean")
    found.metrics["aer_diagonal"] = _agreed(diagonal(gold), "baseline: same relative place")
    found.metrics["aer_uniform"] = _agreed(uniform(gold), "baseline: any source word, expected")
    return found


def sentences_found(maps: Sequence[AttentionMap], records: Sequence[Record]) -> Judged:
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
    shares: list[Shares] = []
    for chosen, gold in zip(attended, origins, strict=True):
        pairs = [(a, o) for a, o in zip(chosen, gold, strict=True) if o >= 0]
        shares.append({"sentence_recall": (sum(a == o for a, o in pairs), len(pairs))} if pairs else {})
    return Judged({name: Score(value, how) for name, (value, how) in recalls.items() if value is not None}, shares)


def regions_found(maps: Sequence[AttentionMap], records: Sequence[Record]) -> Judged:
    """Pointing accuracy of the attention while references are forced on the model, beside what no attention reaches."""
    found, shares = Pointing(), list[Shares]()
    for one, record in zip(maps, records, strict=True):
        words, hits = found.words, found.hits
        if record.get("regions") and one.cells is not None:
            target = overlap(one.target, record["target"].split())
            found.add(one.alignment, one.cells, one.extent, target, record["regions"])
        shares.append({"pointing": (found.hits - hits, found.words - words)} if found.words > words else {})
    if not found.words:
        return Judged({}, shares)
    how = f"words that name a region: {found.words}"
    scores = {
        "pointing": Score(found.hits / found.words, f"most attended cell overlaps|last cross layer, heads:mean|{how}"),
        "pointing_uniform": Score(found.uniform / found.words, f"baseline: any cell, expected|{how}"),
        "pointing_centre": Score(found.centre / found.words, f"baseline: the cell in the middle|{how}"),
    }
    return Judged(scores, shares)


def gold_of(record: Record) -> Gold:
    """A record's own links, between its words."""
    source, target = record["source"].split(), record["target"].split()
    return Gold.of(source, target, record.get("alignment", ()), record.get("possible", ()))


def record_of(gold: Gold) -> Record:
    """A pair of a gold file as a record."""
    return Record(source=" ".join(gold.source), target=" ".join(gold.target))


def _agreed(figures: Agreement, how: str) -> Score:
    return Score(figures.aer, f"AER|{how}|precision:{figures.precision:.4f}|recall:{figures.recall:.4f}")
