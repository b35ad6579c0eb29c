"""ROUGE of summaries (Lin 2004, W04-1013), as Google's ``rouge-score`` computes it.

Hypotheses are N strings; references are N lists of strings, one or more a document. A score is the mean over
documents of F1 = 2PR / (P + R), times 100; words are lower-cased and Porter-stemmed. Of several references the
one with the best F1 counts, for each kind of ROUGE by itself (the library's ``score_multi``).

The library knows words of a-z and 0-9 alone and drops all else: "Cristóbal" is "crist" and "bal", and a text in
Devanagari or Chinese is empty. ``tokenize="unicode"`` takes the words of any script, unstemmed, and single
characters in the scripts that don't space their words.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

import regex
import sentencex

from seq2seq.errors import UserError
from seq2seq.metrics.metric import Metric, MetricResult
from seq2seq.metrics.translation import check, present
from seq2seq.metrics.words import WORD, spoken

log = logging.getLogger(__name__)
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
TOKENIZERS = ("rouge", "unicode")


class RougeTokenizer(Protocol):
    """What ``rouge-score`` asks of one."""

    def tokenize(self, text: str) -> list[str]:
        """The words that count."""


def rouge1(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Words in common, each as often as both have it (section 2, n = 1)."""
    return rouge(["rouge1"], hypotheses, references)["rouge1"]


def rouge2(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Pairs of neighbouring words in common (section 2, n = 2)."""
    return rouge(["rouge2"], hypotheses, references)["rouge2"]


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """The longest common subsequence, the texts taken as one sentence each (section 3.1)."""
    return rouge(["rougeL"], hypotheses, references)["rougeL"]


def rouge_lsum(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """For each reference sentence the union of its longest common subsequences with all of the summary's (3.2)."""
    return rouge(["rougeLsum"], hypotheses, references)["rougeLsum"]


def rouge(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "rouge",
    language: str = "en",
) -> dict[str, MetricResult]:
    """{name: Score} of several kinds of ROUGE in one pass; options as for ``rouge_values``."""
    if not names:
        return {}
    counts = {len(present(reference_texts)) for reference_texts in references}
    words = "case:lc|tok:rouge-score|stem:porter" if tokenize == "rouge" else f"case:lc|tok:{tokenize}|stem:no"
    about = f"f1|mean:documents|nrefs:{counts.pop() if len(counts) == 1 else 'var'}|refs:best|{words}"
    about += f"|version:{version('rouge-score')}"
    signatures = {name: f"{name}|{about}" for name in names}
    if "rougeLsum" in signatures:
        signatures["rougeLsum"] += f"|sents:lines or sentencex.{language}.{version('sentencex')}"
    values = rouge_values(names, hypotheses, references, tokenize=tokenize, language=language)
    return {name: MetricResult.mean(values[name], signatures[name]) for name in names}


def rouge_values(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "rouge",
    language: str = "en",
) -> dict[str, list[float]]:
    """{name: the F1 of each document, times 100}.

    ``rougeLsum`` needs sentences: a text's lines, where it has several, else those that ``sentencex`` finds by
    the rules of ``language``.
    """
    if unknown := [name for name in names if name not in ROUGE]:
        raise UserError(f"no ROUGE called {unknown[0]!r}; choose from {', '.join(ROUGE)}")
    references = check("ROUGE", hypotheses, references)
    words = tokenizer(tokenize)
    if tokenize == "rouge":
        _warn_of_other_scripts(references)
    together = [name for name in names if name != "rougeLsum"]
    rouge_scores = _values(together, hypotheses, references, words) if together else {}
    if "rougeLsum" in names:
        texts = [as_lines(text, language) for text in hypotheses]
        reference_texts = [[as_lines(text, language) for text in own] for own in references]
        rouge_scores |= _values(["rougeLsum"], texts, reference_texts, words)
    return rouge_scores


def as_lines(text: str, language: str = "en") -> str:
    """``text`` with a sentence a line; one that has lines already stays as it is."""
    return text if "\n" in text else "\n".join(part.strip() for part in sentencex.segment(language, text))


def tokenizer(name: str = "rouge") -> RougeTokenizer:
    """The library's own with Porter's stemmer (``rouge``), or that of any script (``unicode``)."""
    if name not in TOKENIZERS:
        raise UserError(f"ROUGE knows no tokenizer {name!r}; choose one of {', '.join(TOKENIZERS)}")
    if name == "unicode":
        return _Unicode()
    from rouge_score.tokenizers import DefaultTokenizer  # here and below: it loads all of NLTK

    return DefaultTokenizer(use_stemmer=True)


class _Unicode:
    def tokenize(self, text: str) -> list[str]:
        return spoken(text)


def _values(
    names: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: RougeTokenizer
) -> dict[str, list[float]]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(names), tokenizer=words)
    rows = [
        scorer.score_multi(reference_texts, text) for text, reference_texts in zip(hypotheses, references, strict=True)
    ]
    return {name: [100 * float(row[name].fmeasure) for row in rows] for name in names}


def _warn_of_other_scripts(references: Sequence[Sequence[str]]) -> None:
    texts = [text.lower() for reference_texts in references for text in reference_texts]
    if lost := sum(not regex.search("[a-z0-9]", text) and bool(regex.search(WORD, text)) for text in texts):
        log.warning(
            "ROUGE: %d of %d references have words but no letter of a-z and no digit, which is all that rouge-score "
            "reads: they score 0; seq2seq.metrics.summarisation.rouge(..., tokenize='unicode') reads any script",
            lost,
            len(texts),
        )


METRICS = (
    Metric("rouge1", "outputs", "F1 of words (Lin 2004)", digits=1, unit="%", scorer=rouge1),
    Metric("rouge2", "outputs", "F1 of word pairs (Lin 2004)", digits=1, unit="%", scorer=rouge2),
    Metric("rougeL", "outputs", "F1 of the longest common subsequence (Lin 2004)", digits=1, unit="%", scorer=rouge_l),
    Metric(
        "rougeLsum",
        "outputs",
        "F1 of the longest common subsequences of sentences (Lin 2004)",
        digits=1,
        unit="%",
        scorer=rouge_lsum,
    ),
)
