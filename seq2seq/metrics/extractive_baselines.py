"""Baselines of summarisation that copy sentences of the document, and the oracle that copies the best sentences.

Documents and summaries have one sentence on each line. The sentences of a summary keep the order of the document.
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
    """Return the summaries of all baselines: ``lead_K``, ``lead_N_words``, ``random_K`` and ``oracle``.

    Args:
        documents: N documents.
        references: References of each document.
        sentences: K, the sentences of a summary; None for the median of the references. The oracle is not limited.
        words: N, the words of a summary; None for the median of the references.
        seed: Seed of the random sentences.
        language: Language whose rules split references into sentences, where they are not on lines.

    Returns:
        Summaries of the documents, by name of the baseline.
    """
    # Use the length of a typical reference, so that baselines and references are comparable.
    k = typical_sentences(references, language) if sentences is None else sentences
    n = typical_words(references) if words is None else words
    return {
        f"lead_{k}": lead(documents, sentences=k),
        f"lead_{n}_words": lead_words(documents, words=n),
        f"random_{k}": random_sentences(documents, sentences=k, seed=seed),
        "oracle": oracle(documents, references),
    }


def lead(documents: Sequence[str], *, sentences: int = 1) -> list[str]:
    """Return the first sentences of each document.

    Args:
        documents: N documents.
        sentences: Number of sentences of a summary.
    """
    return ["\n".join(_sentences(document)[:sentences]) for document in documents]


def lead_words(documents: Sequence[str], *, words: int) -> list[str]:
    """Return the first words of each document, with one sentence on each line.

    Args:
        documents: N documents.
        words: Number of words of a summary.
    """
    summaries = []
    for document in documents:
        lines, left = [], words
        # Take whole sentences while words are left, and cut the last one.
        for sentence in _sentences(document):
            lines.append(" ".join(sentence.split()[:left]))
            left -= len(sentence.split())
            if left <= 0:
                break
        summaries.append("\n".join(lines))
    return summaries


def random_sentences(documents: Sequence[str], *, sentences: int = 1, seed: int = 1) -> list[str]:
    """Return random sentences of each document, drawn without replacement.

    Args:
        documents: N documents.
        sentences: Number of sentences of a summary.
        seed: Seed. The drawn sentences depend only on it and on the index of the document.
    """
    summaries = []
    for place, document in enumerate(documents):
        document_sentences = _sentences(document)
        # A generator for each document makes its sentences independent of the other documents.
        drawn = np.random.default_rng([seed, place]).permutation(len(document_sentences))[:sentences]
        summaries.append("\n".join(document_sentences[index] for index in sorted(drawn)))
    return summaries


def oracle(
    documents: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    sentences: int | None = None,
    tokenize: str = "rouge",
) -> list[str]:
    """Return the summaries of the greedy extractive oracle (Nallapati et al. 2017, 1611.04230, section 3.1).

    The oracle adds the sentence that raises the mean of ROUGE-1 F1 and ROUGE-2 F1 most, and the first of equal ones. It
    stops when no sentence raises the mean. Of several references, each kind of ROUGE takes the best one, as the scores
    do.

    Args:
        documents: N documents.
        references: References of each document.
        sentences: Maximum number of sentences of a summary; None for no limit.
        tokenize: Tokenizer of ROUGE, ``rouge`` or ``unicode`` (``summarisation.tokenizer``).
    """
    # Split with the tokenizer of the scores, because the oracle maximises them.
    split = tokenizer(tokenize).tokenize
    summaries = []
    for document, reference_texts in zip(documents, references, strict=True):
        document_sentences = _sentences(document)
        limit = len(document_sentences) if sentences is None else sentences
        sentence_words = [split(sentence) for sentence in document_sentences]
        chosen = _greedy(sentence_words, [split(text) for text in reference_texts], limit)
        summaries.append("\n".join(document_sentences[index] for index in chosen))
    return summaries


def typical_sentences(references: Sequence[Sequence[str]], language: str = "en") -> int:
    """Return the median number of sentences of a reference, at least 1.

    Args:
        references: References of each document.
        language: Language whose rules split a reference into sentences, if it is one line.
    """
    # The lower median is a whole number.
    counts = [len(_sentences(as_lines(text, language))) for reference_texts in references for text in reference_texts]
    return max(1, median_low(counts))


def typical_words(references: Sequence[Sequence[str]]) -> int:
    """Return the median number of words of a reference, at least 1.

    Args:
        references: References of each document.
    """
    return max(1, median_low([len(text.split()) for reference_texts in references for text in reference_texts]))


def _sentences(document: str) -> list[str]:
    """Return the lines of a document that are not empty."""
    return [line for line in document.split("\n") if line.strip()]


def _greedy(sentences: list[list[str]], references: list[list[str]], limit: int) -> list[int]:
    """Return the indices of the sentences that the oracle chooses, in ascending order."""
    wanted = [[Counter(_ngrams(words, n)) for words in references] for n in (1, 2)]
    # Sentences without a word of the references cannot raise ROUGE.
    useful = {word for words in references for word in words}
    left = [index for index, words in enumerate(sentences) if not useful.isdisjoint(words)]
    chosen: list[int] = []
    best = 0.0
    while left and len(chosen) < limit:
        # The negative index makes the first of equal sentences the largest pair.
        tried = [(_rouge([sentences[i] for i in sorted([*chosen, index])], wanted), -index) for index in left]
        value, index = max(tried)
        if value <= best:
            break
        best = value
        chosen = sorted([*chosen, -index])
        left.remove(-index)
    return chosen


def _rouge(summary: list[list[str]], wanted: list[list[Counter[tuple[str, ...]]]]) -> float:
    """Return the mean of ROUGE-1 F1 and ROUGE-2 F1, each the best over the references.

    F1 = 2 |common n-grams| / (|n-grams of the summary| + |n-grams of the reference|).
    """
    # The n-grams of a summary may cross the borders of its sentences, as in ROUGE.
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
    """Return the n-grams of a list of words, in order."""
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
