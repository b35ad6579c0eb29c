"""What a summary takes from its document, repeats and adds: no reference says how good that is.

Words are those of ``summarisation.WORD``, of any script, in lower case, and every other mark is a word too (as in
the papers, whose tokenizers split marks off). A the words of the document, S those of the summary, |·| their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from math import fsum

import regex

from seq2seq.errors import UserError
from seq2seq.metrics.metric import Metric, MetricResult
from seq2seq.metrics.words import WORD

_TOKEN = regex.compile(rf"{WORD}|\S")


def extraction(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, MetricResult]:
    """Means over the summaries for which a figure is defined; one that is defined for none is left out.

    ==================== ==================================================================================
    novelty_1, _2, _3    share, 0-1, of the summary's n-grams that the document lacks (See et al. 2017, figure 6)
    extractive_coverage  Σ_f |f| / |S|, 0-1: share of words inside fragments f ∈ F(A, S) (Grusky et al. 2018, 4)
    extractive_density   Σ_f |f|² / |S|: mean length of the fragment that a word stands in (likewise)
    compression          |A| / |S| (likewise)
    repetition           share, 0-1, of the summary's trigrams that stood in it before
    length_ratio         Σ |S| / Σ |R|, summed over documents, |R| the mean length of a document's references
    ==================== ==================================================================================
    """
    if not len(sources) == len(hypotheses) == len(references):
        raise UserError(
            f"extraction: {len(sources)} documents, {len(hypotheses)} summaries, references for {len(references)}"
        )
    summaries = [words(text) for text in hypotheses]
    values: dict[str, list[float]] = defaultdict(list)
    for source, summary in zip(sources, summaries, strict=True):
        for name, value in figures(words(source), summary).items():
            values[name].append(value)
    signature = "case:lc|tok:unicode+marks"
    found = {
        name: MetricResult(fsum(several) / len(several), f"{name}|mean:{len(several)} summaries|{signature}")
        for name, several in values.items()
    }
    said = sum(len(summary) for summary in summaries)
    wanted = fsum(len(words(text)) / len(several) for several in references for text in several)
    if wanted:
        found["length_ratio"] = MetricResult(said / wanted, f"length_ratio|refs:mean|{signature}")
    return found


def words(text: str) -> list[str]:
    """Words and marks, lower-cased."""
    return _TOKEN.findall(text.lower())


def figures(document: Sequence[str], summary: Sequence[str]) -> dict[str, float]:
    """The figures of one summary, those that are defined: an empty one has none, one word no share of bigrams."""
    found = {}
    for n in (1, 2, 3):
        if said := _ngrams(summary, n):
            known = set(_ngrams(document, n))
            found[f"novelty_{n}"] = sum(ngram not in known for ngram in said) / len(said)
    if summary:
        lengths = [length for _, length in fragments(document, summary)]
        found["extractive_coverage"] = sum(lengths) / len(summary)
        found["extractive_density"] = sum(length**2 for length in lengths) / len(summary)
        found["compression"] = len(document) / len(summary)
    if said := _ngrams(summary, 3):
        found["repetition"] = 1 - len(set(said)) / len(said)
    return found


def fragments(document: Sequence[str], summary: Sequence[str]) -> list[tuple[int, int]]:
    """F(A, S) as (place in the summary, length): greedily from the left, the longest run of words that A has too.

    Grusky et al. 2018, 1804.11283, section 4: the longest prefix of what is left of S that stands anywhere in A.
    (Their program steps over what it has matched in A and misses a longer run that starts in there.)
    """
    places = defaultdict(list)
    for place, word in enumerate(document):
        places[word].append(place)
    found, start = [], 0
    while start < len(summary):
        length = max((_common(document, place, summary, start) for place in places.get(summary[start], ())), default=0)
        if length:
            found.append((start, length))
        start += max(length, 1)
    return found


def _common(document: Sequence[str], place: int, summary: Sequence[str], start: int) -> int:
    length = 0
    while (
        place + length < len(document)
        and start + length < len(summary)
        and document[place + length] == summary[start + length]
    ):
        length += 1
    return length


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    shifted: Iterable[Sequence[str]] = (words[k:] for k in range(n))
    return list(zip(*shifted, strict=False))


_of_documents = partial(Metric, group="outputs", needs="documents", from_sums=None)
METRICS = (
    *(
        _of_documents(
            f"novelty_{n}",
            description=f"share of the summary's {n}-grams that the document lacks (See 2017)",
            higher_is_better=None,
        )
        for n in (1, 2, 3)
    ),
    _of_documents(
        "extractive_coverage",
        description="share of words inside fragments copied from the document (Grusky 2018)",
        higher_is_better=None,
    ),
    _of_documents(
        "extractive_density",
        description="mean length of the copied fragment that a word stands in (Grusky 2018)",
        higher_is_better=None,
        unit="words",
    ),
    _of_documents(
        "compression", description="words of the document per word of the summary", higher_is_better=None, digits=1
    ),
    _of_documents(
        "repetition", description="share of the summary's trigrams that stood in it before", higher_is_better=False
    ),
    _of_documents("length_ratio", description="words of summaries per word of references", higher_is_better=None),
)
