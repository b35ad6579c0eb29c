"""Exact match and character error rate of strings: inflected forms, pronunciations, transliterations.

White space is no character: symbols that stand apart ("k i t a p") and strings ("kitap") score alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.metrics.metric import Metric, MetricResult
from seq2seq.metrics.translation import check

VERSION = 1
"""Of what the two figures count; figures of different versions are not comparable."""


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """100 times the share of outputs that equal one of their references, character for character."""
    references = check("exact_match", hypotheses, references)
    values = [
        100.0 * (characters(text) in map(characters, reference_texts))
        for text, reference_texts in zip(hypotheses, references, strict=True)
    ]
    return MetricResult.mean(values, f"exact_match|{_signature(references)}")


def cer(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """100 times the character edits over the characters of the references; lower is better, and it can exceed 100.

    Of several references the one with the fewest edits a character counts, of equal ones the first.
    """
    references = check("cer", hypotheses, references)
    rows = []
    for text, reference_texts in zip(hypotheses, references, strict=True):
        wanted = [characters(reference) for reference in reference_texts]
        counts = [(edits(characters(text), reference), len(reference)) for reference in wanted]
        fewest, length = min(counts, key=lambda count: count[0] / max(count[1], 1))
        rows.append((100.0 * fewest, float(length)))
    total, length = (sum(column) for column in zip(*rows, strict=True))
    return MetricResult(total / max(length, 1), f"cer|edits:levenshtein|{_signature(references)}", rows)


def edits(output: str, reference: str) -> int:
    """The fewest insertions, deletions and substitutions that make ``reference`` of ``output`` (Levenshtein 1966)."""
    above = list(range(len(reference) + 1))  # of the output's characters so far, to each beginning of the reference
    for row, character in enumerate(output, 1):
        left = [row]
        for column, wanted in enumerate(reference, 1):
            left.append(min(above[column] + 1, left[-1] + 1, above[column - 1] + (character != wanted)))
        above = left
    return above[-1]


def characters(text: str) -> str:
    """The text without white space."""
    return "".join(text.split())


def _signature(references: Sequence[Sequence[str]]) -> str:
    counts = {len(reference_texts) for reference_texts in references}
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|refs:best|case:mixed|space:no|version:{VERSION}"


METRICS = (
    Metric(
        "exact_match",
        "outputs",
        "share of outputs that equal a reference, white space apart",
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
