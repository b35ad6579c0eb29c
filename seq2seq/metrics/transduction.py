"""Exact match and character error rate of strings, such as inflected forms, pronunciations and transliterations.

White space does not count: separate symbols ("k i t a p") and strings ("kitap") have the same score.
"""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.metrics.metric import Metric, MetricResult
from seq2seq.metrics.translation import check

VERSION = 1
"""Version of the definition of both metrics. Results of different versions cannot be compared."""


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return 100 times the share of outputs that equal one of their references, character by character.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    references = check("exact_match", hypotheses, references)
    values = [
        100.0 * (characters(text) in map(characters, reference_texts))
        for text, reference_texts in zip(hypotheses, references, strict=True)
    ]
    return MetricResult.mean(values, f"exact_match|{_signature(references)}")


def cer(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return 100 times the character edits per character of the references. It can exceed 100; lower is better.

    Of several references, the one with the fewest edits per character counts, and the first of equal ones.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    references = check("cer", hypotheses, references)
    # Choose the best reference of each output.
    rows = []
    for text, reference_texts in zip(hypotheses, references, strict=True):
        wanted = [characters(reference) for reference in reference_texts]
        counts = [(edits(characters(text), reference), len(reference)) for reference in wanted]
        fewest, length = min(counts, key=lambda count: count[0] / max(count[1], 1))
        rows.append((100.0 * fewest, float(length)))

    # Divide sums over the corpus: long strings count more than short ones.
    total, length = (sum(column) for column in zip(*rows, strict=True))
    return MetricResult(total / max(length, 1), f"cer|edits:levenshtein|{_signature(references)}", rows)


def edits(output: str, reference: str) -> int:
    """Return the fewest insertions, deletions and substitutions between two strings (Levenshtein 1966).

    Args:
        output: String to edit.
        reference: Result of the edits.
    """
    # Each entry is the distance between the characters of the output so far and a prefix of the reference.
    above = list(range(len(reference) + 1))
    for row, character in enumerate(output, 1):
        left = [row]
        for column, wanted in enumerate(reference, 1):
            # Delete a character, insert a character, or keep or replace one.
            left.append(min(above[column] + 1, left[-1] + 1, above[column - 1] + (character != wanted)))
        above = left
    return above[-1]


def characters(text: str) -> str:
    """Return the text without white space.

    Args:
        text: Any text.
    """
    return "".join(text.split())


def _signature(references: Sequence[Sequence[str]]) -> str:
    """Return the part of the signature that both metrics share."""
    counts = {len(reference_texts) for reference_texts in references}
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|refs:best|case:mixed|space:no|version:{VERSION}"


METRICS = (
    Metric(
        "exact_match",
        "outputs",
        "share of outputs that equal a reference; white space does not count",
        digits=1,
        unit="%",
        scorer=exact_match,
    ),
    Metric(
        "cer",
        "outputs",
        "character edits per reference character (Levenshtein 1966)",
        higher_is_better=False,
        digits=1,
        unit="%",
        scorer=cer,
    ),
)
