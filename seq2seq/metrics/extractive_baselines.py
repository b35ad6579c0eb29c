"""Summaries that copy sentences of their document: what a model has to beat, and the most that copying can reach.

A document is a text with a sentence a line, and so are the summaries, their sentences in the document's order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median_low

import numpy as np

from seq2seq.metrics.metric import Metric
from seq2seq.metrics.summarisation import ROUGE, as_lines, tokenizer


def baselines(
    documents: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    sentences: int | None = None,
    words: int | None = None,
    seed: int = 1,
    language: str = "en",
) -> dict[str, list[str]]:
    """{name: a summary of each document}: ``lead_K`` and ``random_K``, ``lead_N_words``, and ``oracle``.

    K ``sentences`` and N ``words`` are as many as a reference typically has if not given; the oracle, which knows
    the references, takes as many sentences as it likes.
    """
    k = typical_sentences(references, language) if sentences is None else sentences
    n = typical_words(references) if words is None else words
    return {
        f"lead_{k}": lead(documents, sentences=k),
        f"lead_{n}_words": lead_words(documents, words=n),
        f"random_{k}": random_sentences(documents, sentences=k, seed=seed),
        "oracle": oracle(documents, references),
    }


def lead(documents: Sequence[str], *, sentences: int = 1) -> list[str]:
    """The first sentences of each document."""
    return ["\n".join(_sentences(document)[:sentences]) for document in documents]


def lead_words(documents: Sequence[str], *, words: int) -> list[str]:
    """The first words of each document, sentences staying apart."""
    summaries = []
    for document in documents:
        lines, left = [], words
        for sentence in _sentences(document):
            lines.append(" ".join(sentence.split()[:left]))
            left -= len(sentence.split())
            if left <= 0:
                break
        summaries.append("\n".join(lines))
    return summaries


def random_sentences(documents: Sequence[str], *, sentences: int = 1, seed: int = 1) -> list[str]:
    """Sentences drawn without replacement; which ones depends on ``seed`` and the document's place alone."""
    summaries = []
    for place, document in enumerate(documents):
        own = _sentences(document)
        drawn = np.random.default_rng([seed, place]).permutation(len(own))[:sentences]
        summaries.append("\n".join(own[index] for index in sorted(drawn)))
    return summaries


def oracle(
    documents: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    sentences: int | None = None,
    tokenize: str = "rouge",
) -> list[str]:
    """The greedy extractive oracle (Nallapati et al. 2017, 1611.04230, section 3.1).

    Adds the sentence that raises the mean of ROUGE-1 and ROUGE-2 F1 most, the first of equals, until none raises
    it or the summary has ``sentences``. Of several references each kind of ROUGE takes its best, as the scores do.
    """
    split = tokenizer(tokenize).tokenize
    summaries = []
    for document, reference_texts in zip(documents, references, strict=True):
        own = _sentences(document)
        limit = len(own) if sentences is None else sentences
        chosen = _greedy([split(sentence) for sentence in own], [split(text) for text in reference_texts], limit)
        summaries.append("\n".join(own[index] for index in chosen))
    return summaries


def typical_sentences(references: Sequence[Sequence[str]], language: str = "en") -> int:
    """The median number of sentences of a reference, at least 1: its lines, or what ``sentencex`` finds."""
    counts = [len(_sentences(as_lines(text, language))) for reference_texts in references for text in reference_texts]
    return max(1, median_low(counts))


def typical_words(references: Sequence[Sequence[str]]) -> int:
    """The median number of words of a reference, at least 1."""
    return max(1, median_low([len(text.split()) for reference_texts in references for text in reference_texts]))


def _sentences(document: str) -> list[str]:
    return [line for line in document.split("\n") if line.strip()]


def _greedy(sentences: list[list[str]], references: list[list[str]], limit: int) -> list[int]:
    """Indices of the sentences that the oracle takes, ascending."""
    wanted = [[Counter(_ngrams(words, n)) for words in references] for n in (1, 2)]
    useful = {word for words in references for word in words}
    left = [index for index, words in enumerate(sentences) if not useful.isdisjoint(words)]
    chosen: list[int] = []
    best = 0.0
    while left and len(chosen) < limit:
        tried = [(_rouge([sentences[i] for i in sorted([*chosen, index])], wanted), -index) for index in left]
        value, index = max(tried)
        if value <= best:
            break
        best = value
        chosen = sorted([*chosen, -index])
        left.remove(-index)
    return chosen


def _rouge(summary: list[list[str]], wanted: list[list[Counter[tuple[str, ...]]]]) -> float:
    """The mean of ROUGE-1 and ROUGE-2 F1 = 2 |common n-grams| / (|of the summary| + |of the reference|)."""
    words = [word for sentence in summary for word in sentence]
    total = 0.0
    for n, references in enumerate(wanted, 1):
        summary_words = Counter(_ngrams(words, n))
        total += max(
            2
            * sum(min(count, summary_words[ngram]) for ngram, count in reference.items() if ngram in summary_words)
            / max(1, summary_words.total() + reference.total())
            for reference in references
        )
    return total / len(wanted)


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))


METRICS = tuple(
    Metric(
        f"{rouge}_{name}",
        "outputs",
        f"baseline: {rouge} of {summary}",
        digits=1,
        unit="%",
        needs="documents",
        from_sums=None,
    )
    for name, summary in (
        ("lead_{n}", "the first n sentences"),
        ("lead_{n}_words", "the first n words"),
        ("random_{n}", "n random sentences"),
        ("oracle", "the best sentences, chosen greedily (Nallapati 2017)"),
    )
    for rouge in ROUGE
)
