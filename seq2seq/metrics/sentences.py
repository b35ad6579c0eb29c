"""Does attention look at the sentence that a word comes from, and is a word that must be copied copied?

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
    """(J,) the sentence that each target word attends most, argmax_k mean_{t in j} sum_{s in k} a_ts; -1 for none.

    ``weights`` (T, S) are those between pieces, ``sentences`` (S,) the sentence of each source piece, -1 for one
    that shall not count (specials), ``target`` whose word each target piece is (``words.merge``) and ``rows`` what a
    row is about (``words.about_predicted``). Of equal masses the first wins.
    """
    masses = merge(about_predicted(weights, rows), sentences, target)  # (J, K)
    return [int(row.argmax()) if row.size and row.max() > 0 else -1 for row in masses]


def recalled(attended: Sequence[int], origins: Sequence[int]) -> tuple[int, int]:
    """Of a document's target words with an origin how many have it as their most attended sentence, and how many there
    are. ``origins`` gives each word the sentence that it comes from, -1 for none.
    """
    if len(attended) != len(origins):
        raise ValueError(f"attention of {len(attended)} target words, origins of {len(origins)}")
    pairs = [(a, o) for a, o in zip(attended, origins, strict=True) if o >= 0]
    return sum(a == o for a, o in pairs), len(pairs)


def uniform_recall(documents: Sequence[str], origins: Sequence[Sequence[int]]) -> float | None:
    """The recall that knows nothing: each target word picks one word of its document, drawn uniformly.

    In expectation, which is exact: a word is found with probability |words of its origin| / |words|.
    """
    recall_counts, words = 0.0, 0
    for document, gold in zip(documents, origins, strict=True):
        sizes = [len(line.split()) for line in document.split("\n")]
        with_origin = [o for o in gold if o >= 0]
        recall_counts += sum(sizes[o] for o in with_origin) / max(1, sum(sizes))
        words += len(with_origin)
    return recall_counts / words if words else None


def copied_words(
    sources: Sequence[str],
    targets: Sequence[str],
    hypotheses: Sequence[str],
    known: Callable[[str], bool],
    *,
    words: Callable[[str], list[str]] = str.split,
) -> list[tuple[int, int]]:
    """(said, all) of each document's words that only copying can say.

    Those are the words of the target that stand in the source but aren't ``known``, that is in the model's target
    vocabulary. As multisets, wherever they stand: Σ_w min(count in hypothesis, count in target), Σ_w count in target.
    ``words`` splits a text.
    """
    recall_counts = []
    for source, target, hypothesis in zip(sources, targets, hypotheses, strict=True):
        shown = set(words(source))
        gold = Counter(word for word in words(target) if word in shown and not known(word))
        recall_counts.append(((gold & Counter(words(hypothesis))).total(), gold.total()))
    return recall_counts


METRICS = (
    Metric(
        "copy_accuracy",
        "outputs",
        "share of out-of-vocabulary source words of the reference that the output has",
        needs="documents",
    ),
    Metric("sentence_recall", "gold", "share of words whose most attended sentence is the gold one", needs="origins"),
    Metric(
        "sentence_recall_uniform",
        "gold",
        "baseline: sentence recall of a random source word",
        needs="origins",
        from_sums=None,
    ),
)
