"""Recall of the source sentences of words by attention, and accuracy of words that only copying can produce.

Letters: T target pieces, S source pieces, J target words, K sentences of the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from numpy.typing import ArrayLike

from seq2seq.metrics.metric import Metric
from seq2seq.metrics.words import about_predicted, merge


def attended_sentences(
    weights: ArrayLike, sentences: Sequence[int], target: ArrayLike, *, rows: str = "predicted"
) -> list[int]:
    """Return the sentence that each target word attends most, argmax_k mean_{t in j} sum_{s in k} a_ts.

    Of equal sums, the first is chosen.

    Args:
        weights: Attention between pieces (T, S).
        sentences: Sentence of each source piece (S,); -1 for a piece that does not count, such as a special token.
        target: Word of each target piece, or shares in words (``words.merge``).
        rows: Token to which a row belongs, ``predicted`` or ``input`` (``words.about_predicted``).

    Returns:
        Index of a sentence for each target word (J,); -1 for a word that attends no sentence.
    """
    # Treat the sentences of the source as its words.
    masses = merge(about_predicted(weights, rows), sentences, target)  # (J, K)
    return [int(row.argmax()) if row.size and row.max() > 0 else -1 for row in masses]


def recalled(attended: Sequence[int], origins: Sequence[int]) -> tuple[int, int]:
    """Count the target words of a document whose most attended sentence is the one that they come from.

    Args:
        attended: Most attended sentence of each target word (J,).
        origins: Sentence that each target word comes from (J,), -1 for none.

    Returns:
        The number of such words, and the number of words that come from a sentence.

    Raises:
        ValueError: The numbers of words differ.
    """
    if len(attended) != len(origins):
        raise ValueError(f"attention of {len(attended)} target words, but origins of {len(origins)}")
    # Words without an origin do not count.
    pairs = [(a, o) for a, o in zip(attended, origins, strict=True) if o >= 0]
    return sum(a == o for a, o in pairs), len(pairs)


def uniform_recall(documents: Sequence[str], origins: Sequence[Sequence[int]]) -> float | None:
    """Return the expected sentence recall of a baseline that attends one random source word for each target word.

    The source word is drawn uniformly from the document. The expectation is exact: a sentence is found with probability
    |words of the sentence| / |words of the document|.

    Args:
        documents: Source documents, with one sentence on each line.
        origins: Sentence that each target word of each document comes from, -1 for none.

    Returns:
        Recall, 0-1; None if no word comes from a sentence.
    """
    found, words = 0.0, 0
    for document, gold in zip(documents, origins, strict=True):
        # Count the words of each sentence of the document.
        sizes = [len(line.split()) for line in document.split("\n")]
        with_origin = [o for o in gold if o >= 0]
        found += sum(sizes[o] for o in with_origin) / max(1, sum(sizes))
        words += len(with_origin)
    return found / words if words else None


def copied_words(
    sources: Sequence[str],
    targets: Sequence[str],
    hypotheses: Sequence[str],
    known: Callable[[str], bool],
    *,
    words: Callable[[str], list[str]] = str.split,
) -> list[tuple[int, int]]:
    """Count the words of each document that only copying can produce, and those of them that the output contains.

    These are the words of the target that are in the source but not in the target vocabulary of the model. They are
    counted as multisets, at any position: Σ_w min(count in hypothesis, count in target), and Σ_w count in target.

    Args:
        sources: Source documents.
        targets: Reference of each document.
        hypotheses: Output for each document.
        known: Function that tells whether a word is in the target vocabulary.
        words: Function that splits a text into words.

    Returns:
        Pair (copied words in the output, copied words in the target) of each document.
    """
    copied = []
    for source, target, hypothesis in zip(sources, targets, hypotheses, strict=True):
        source_words = set(words(source))
        # Only copying can produce a word that the target vocabulary lacks.
        gold = Counter(word for word in words(target) if word in source_words and not known(word))
        copied.append(((gold & Counter(words(hypothesis))).total(), gold.total()))
    return copied


METRICS = (
    Metric(
        "copy_accuracy",
        "outputs",
        "share of the reference's out-of-vocabulary source words that the output contains",
        needs="documents",
    ),
    Metric(
        "sentence_recall",
        "gold",
        "share of words whose most attended sentence is the gold sentence",
        needs="origins",
    ),
    Metric(
        "sentence_recall_uniform",
        "gold",
        "baseline: expected sentence recall of a random source word",
        needs="origins",
        from_sums=None,
    ),
)
