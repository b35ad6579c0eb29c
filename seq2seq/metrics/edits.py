"""Metrics of edits: exact match, error rates of characters, words and phones, and the mean edit distance.

Edits are insertions, deletions and substitutions (Levenshtein 1966). The library RapidFuzz counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from seq2seq.metrics.metric import Metric, MetricResult, Scorer
from seq2seq.metrics.translation import check

VERSION = 1
"""Version of the definition of the error rates. Results of different versions cannot be compared."""
RULES = "_rules"
"""End of the names of metrics of the baseline that applies rules."""


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return 100 times the share of outputs that equal one of their references.

    Case counts; all white space between two words counts as one space.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    references = check("exact_match", hypotheses, references)
    values = [100.0 * found for found in _matches(hypotheses, references)]
    return MetricResult.mean(values, f"exact_match|{_signature(references)}|space:one|version:2")


def ser(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return 100 times the share of outputs that equal none of their references; lower is better.

    A string counts as one unit. Papers on pronunciation call this the word error rate, because a string is a word
    there.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    references = check("ser", hypotheses, references)
    values = [100.0 * (not found) for found in _matches(hypotheses, references)]
    return MetricResult.mean(values, f"ser|{_signature(references)}|space:one|version:{VERSION}")


def cer(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return 100 times the character edits per character of the references. It can exceed 100; lower is better.

    White space does not count.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    return _error_rate("cer", characters, hypotheses, references, "space:no")


def wer(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return 100 times the word edits per word of the references. It can exceed 100; lower is better.

    Words are separated by white space.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    return _error_rate("wer", str.split, hypotheses, references, "units:words")


def per(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return 100 times the phone edits per phone of the references. It can exceed 100; lower is better.

    Phones are separated by white space.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    return _error_rate("per", str.split, hypotheses, references, "units:phones")


def edit_distance(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return the mean number of character edits from an output to its nearest reference; lower is better.

    White space does not count.

    Args:
        hypotheses: N outputs.
        references: References of each output.
    """
    references = check("edit_distance", hypotheses, references)
    values = [
        float(min(edits(characters(text), characters(reference)) for reference in reference_texts))
        for text, reference_texts in zip(hypotheses, references, strict=True)
    ]
    return MetricResult.mean(values, f"edit_distance|{_signature(references)}|space:no|version:{VERSION}")


def edits(output: Sequence[str], reference: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and substitutions between two sequences.

    Args:
        output: Sequence to edit.
        reference: Result of the edits.
    """
    return int(Levenshtein.distance(output, reference))


def characters(text: str) -> str:
    """Return the text without white space.

    Args:
        text: Any text.
    """
    return "".join(text.split())


def _error_rate(
    name: str,
    split: Callable[[str], Sequence[str]],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    units: str,
) -> MetricResult:
    """Return 100 times the edits per unit of the references.

    Of several references, the one with the fewest edits per unit counts, and the first of equal ones.
    """
    references = check(name, hypotheses, references)
    # Choose the best reference of each output.
    rows = []
    for text, reference_texts in zip(hypotheses, references, strict=True):
        wanted = [split(reference) for reference in reference_texts]
        counts = [(edits(split(text), reference), len(reference)) for reference in wanted]
        fewest, length = min(counts, key=lambda count: count[0] / max(count[1], 1))
        rows.append((100.0 * fewest, float(length)))

    # Divide sums over the corpus: long strings count more than short ones.
    total, length = (sum(column) for column in zip(*rows, strict=True))
    signature = f"{name}|edits:levenshtein|{_signature(references)}|{units}|version:{VERSION}"
    return MetricResult(total / max(length, 1), signature, rows)


def _matches(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[bool]:
    """Return for each output whether it has the words of one of its references."""
    pairs = zip(hypotheses, references, strict=True)
    return [text.split() in (reference.split() for reference in reference_texts) for text, reference_texts in pairs]


def _signature(references: Sequence[Sequence[str]]) -> str:
    """Return the part of the signature that all these metrics share."""
    counts = {len(reference_texts) for reference_texts in references}
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|refs:best|case:mixed"


_SCORED: tuple[tuple[str, Scorer, str, int, str], ...] = (
    ("exact_match", exact_match, "share of outputs that equal a reference", 1, "%"),
    ("ser", ser, "share of outputs that equal no reference: for pronunciations, the word error rate", 1, "%"),
    ("cer", cer, "character edits per reference character (Levenshtein 1966)", 1, "%"),
    ("wer", wer, "word edits per reference word (Levenshtein 1966)", 1, "%"),
    ("per", per, "phone edits per reference phone (Levenshtein 1966)", 1, "%"),
    ("edit_distance", edit_distance, "mean number of character edits to the reference (Levenshtein 1966)", 3, ""),
)

METRICS = (
    *(
        Metric(name, "outputs", text, higher_is_better=name == "exact_match", digits=digits, unit=unit, scorer=scorer)
        for name, scorer, text, digits, unit in _SCORED
    ),
    *(
        Metric(
            name + RULES,
            "outputs",
            f"baseline: {name} of rules learnt from the training split",
            higher_is_better=name == "exact_match",
            digits=digits,
            unit=unit,
            needs="the training split",
        )
        for name, _, _, digits, unit in _SCORED
    ),
)
