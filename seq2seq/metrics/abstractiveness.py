"""Novelty, extraction, compression and repetition of summaries. These metrics need no references.

Words are those of ``words.WORD``, of any script, in lower case. Every other mark is also a word, as in the papers,
whose tokenizers separate marks. A are the words of the document, S the words of the summary, |·| is their number.
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
    """Return the metrics of extraction, as means over the summaries for which they are defined.

    A metric that is defined for no summary is left out.

    ==================== ==================================================================================
    novelty_1, _2, _3    share, 0-1, of the summary's n-grams that the document lacks (See et al. 2017, figure 6)
    extractive_coverage  Σ_f |f| / |S|, 0-1: share of words in fragments f ∈ F(A, S) (Grusky et al. 2018, section 4)
    extractive_density   Σ_f |f|² / |S|: mean length of the fragment that contains a word (same section)
    compression          |A| / |S| (same section)
    repetition           share, 0-1, of the summary's trigrams that repeat an earlier one
    length_ratio         Σ |S| / Σ |R|, summed over documents, |R| the mean length of a document's references
    ==================== ==================================================================================

    Args:
        sources: N documents.
        hypotheses: Summary of each document.
        references: References of each document.

    Returns:
        Results by name of the metric.

    Raises:
        UserError: The numbers of documents, summaries and references differ.
    """
    if not len(sources) == len(hypotheses) == len(references):
        raise UserError(
            f"extraction: {len(sources)} documents, {len(hypotheses)} summaries, references for {len(references)}; "
            "the three numbers must be equal"
        )
    summaries = [words(text) for text in hypotheses]

    # Average the metrics of single summaries.
    values: dict[str, list[float]] = defaultdict(list)
    for source, summary in zip(sources, summaries, strict=True):
        for name, value in figures(words(source), summary).items():
            values[name].append(value)
    signature = "case:lc|tok:unicode+marks"
    found = {
        name: MetricResult(fsum(defined) / len(defined), f"{name}|mean:{len(defined)} summaries|{signature}")
        for name, defined in values.items()
    }

    # Add the ratio of lengths, which is one value for all summaries.
    output_length = sum(len(summary) for summary in summaries)
    reference_length = fsum(
        len(words(text)) / len(reference_texts) for reference_texts in references for text in reference_texts
    )
    if reference_length:
        ratio = output_length / reference_length
        found["length_ratio"] = MetricResult(ratio, f"length_ratio|refs:mean|{signature}")
    return found


def words(text: str) -> list[str]:
    """Return the words and marks of a text in lower case.

    Args:
        text: Any text.
    """
    tokens: list[str] = _TOKEN.findall(text.lower())
    return tokens


def figures(document: Sequence[str], summary: Sequence[str]) -> dict[str, float]:
    """Return the metrics of one summary that are defined for it.

    An empty summary has no metrics, and a summary of one word has no share of bigrams.

    Args:
        document: Words of the document.
        summary: Words of the summary.

    Returns:
        Values by name of the metric.
    """
    found = {}
    # A summary that is too short for n-grams has no share of them.
    for n in (1, 2, 3):
        if ngrams := _ngrams(summary, n):
            known = set(_ngrams(document, n))
            found[f"novelty_{n}"] = sum(ngram not in known for ngram in ngrams) / len(ngrams)
    if summary:
        lengths = [length for _, length in fragments(document, summary)]
        found["extractive_coverage"] = sum(lengths) / len(summary)
        found["extractive_density"] = sum(length**2 for length in lengths) / len(summary)
        found["compression"] = len(document) / len(summary)
    if trigrams := _ngrams(summary, 3):
        found["repetition"] = 1 - len(set(trigrams)) / len(trigrams)
    return found


def fragments(document: Sequence[str], summary: Sequence[str]) -> list[tuple[int, int]]:
    """Return the fragments F(A, S) that the summary copies from the document.

    From left to right, each fragment is the longest prefix of the rest of S that stands anywhere in A (Grusky et al.
    2018, 1804.11283, section 4). The authors' program differs: it skips what it has matched in A, and misses a longer
    fragment that starts there.

    Args:
        document: Words of the document, A.
        summary: Words of the summary, S.

    Returns:
        Pair (position in the summary, length) of each fragment.
    """
    # Index the positions of each word of the document.
    places = defaultdict(list)
    for place, word in enumerate(document):
        places[word].append(place)

    # Find the longest fragment at each position of the summary, and continue after it.
    found, start = [], 0
    while start < len(summary):
        length = max((_common(document, place, summary, start) for place in places.get(summary[start], ())), default=0)
        if length:
            found.append((start, length))
        start += max(length, 1)
    return found


def _common(document: Sequence[str], place: int, summary: Sequence[str], start: int) -> int:
    """Return the length of the common run of words from ``place`` in the document and ``start`` in the summary."""
    length = 0
    while (
        place + length < len(document)
        and start + length < len(summary)
        and document[place + length] == summary[start + length]
    ):
        length += 1
    return length


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return the n-grams of a sequence of words, in order."""
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
        description="share of words in fragments copied from the document (Grusky 2018)",
        higher_is_better=None,
    ),
    _of_documents(
        "extractive_density",
        description="mean length of the copied fragment that contains a word (Grusky 2018)",
        higher_is_better=None,
        unit="words",
    ),
    _of_documents(
        "compression", description="words of the document per word of the summary", higher_is_better=None, digits=1
    ),
    _of_documents(
        "repetition", description="share of the summary's trigrams that repeat an earlier one", higher_is_better=False
    ),
    _of_documents("length_ratio", description="words of summaries per word of references", higher_is_better=None),
)
