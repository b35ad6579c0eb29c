"""ROUGE of summaries (Lin 2004, W04-1013), as Google's ``rouge-score`` computes it.

Hypotheses are N strings. References are N lists of one or more strings. A score is the mean over documents of
F1 = 2PR / (P + R), times 100. Words are lower-cased and Porter-stemmed. Of several references, the one with the best F1
counts, for each kind of ROUGE by itself (``score_multi`` of the library).

The library only knows words of a-z and 0-9 and drops all other characters: "Cristóbal" becomes "crist" and "bal", and a
text in Devanagari or Chinese becomes empty. ``tokenize="unicode"`` takes the words of any script, without stemming, and
single characters in scripts without spaces between words.
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
    """Interface of a tokenizer for ``rouge-score``."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text that count.

        Args:
            text: Hypothesis or reference.
        """


def rouge1(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return ROUGE-1: common words, each counted as often as both texts have it (section 2, n = 1).

    Args:
        hypotheses: N hypotheses.
        references: References of each hypothesis.
    """
    return rouge(["rouge1"], hypotheses, references)["rouge1"]


def rouge2(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return ROUGE-2: common pairs of adjacent words (section 2, n = 2).

    Args:
        hypotheses: N hypotheses.
        references: References of each hypothesis.
    """
    return rouge(["rouge2"], hypotheses, references)["rouge2"]


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return ROUGE-L: the longest common subsequence, with each text as one sentence (section 3.1).

    Args:
        hypotheses: N hypotheses.
        references: References of each hypothesis.
    """
    return rouge(["rougeL"], hypotheses, references)["rougeL"]


def rouge_lsum(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return ROUGE-Lsum: the longest common subsequences of sentences (section 3.2).

    For each sentence of the reference, it takes the union of its longest common subsequences with all sentences of the
    summary.

    Args:
        hypotheses: N hypotheses.
        references: References of each hypothesis.
    """
    return rouge(["rougeLsum"], hypotheses, references)["rougeLsum"]


def rouge(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "rouge",
    language: str = "en",
) -> dict[str, MetricResult]:
    """Return several kinds of ROUGE, computed in one pass.

    Args:
        names: Kinds of ROUGE (``ROUGE``).
        hypotheses: N hypotheses.
        references: References of each hypothesis.
        tokenize: Tokenizer, ``rouge`` or ``unicode`` (``tokenizer``).
        language: Language whose rules split texts into sentences (``rouge_values``).

    Returns:
        Results by kind of ROUGE.

    Raises:
        UserError: A kind of ROUGE or the tokenizer is unknown, or a hypothesis has no reference.
    """
    if not names:
        return {}
    # Write the signatures.
    counts = {len(present(reference_texts)) for reference_texts in references}
    words = "case:lc|tok:rouge-score|stem:porter" if tokenize == "rouge" else f"case:lc|tok:{tokenize}|stem:no"
    about = f"f1|mean:documents|nrefs:{counts.pop() if len(counts) == 1 else 'var'}|refs:best|{words}"
    about += f"|version:{version('rouge-score')}"
    signatures = {name: f"{name}|{about}" for name in names}
    if "rougeLsum" in signatures:
        signatures["rougeLsum"] += f"|sents:lines or sentencex.{language}.{version('sentencex')}"

    # Average the scores of documents.
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
    """Return the F1 of each document, times 100, for several kinds of ROUGE.

    ``rougeLsum`` needs sentences. They are the lines of a text if it has several, else the sentences that ``sentencex``
    finds.

    Args:
        names: Kinds of ROUGE (``ROUGE``).
        hypotheses: N hypotheses.
        references: References of each hypothesis.
        tokenize: Tokenizer, ``rouge`` or ``unicode`` (``tokenizer``).
        language: Language whose rules ``sentencex`` uses.

    Returns:
        N scores by kind of ROUGE.

    Raises:
        UserError: A kind of ROUGE or the tokenizer is unknown, or a hypothesis has no reference.
    """
    if unknown := [name for name in names if name not in ROUGE]:
        raise UserError(f"{unknown[0]!r} is not a kind of ROUGE; choose from {', '.join(ROUGE)}")
    references = check("ROUGE", hypotheses, references)
    words = tokenizer(tokenize)
    if tokenize == "rouge":
        _warn_of_other_scripts(references)

    # Score whole texts.
    whole_text_names = [name for name in names if name != "rougeLsum"]
    rouge_scores = _values(whole_text_names, hypotheses, references, words) if whole_text_names else {}

    # Score texts that are split into sentences.
    if "rougeLsum" in names:
        split_hypotheses = [as_lines(text, language) for text in hypotheses]
        split_references = [[as_lines(text, language) for text in reference_texts] for reference_texts in references]
        rouge_scores |= _values(["rougeLsum"], split_hypotheses, split_references, words)
    return rouge_scores


def as_lines(text: str, language: str = "en") -> str:
    """Return a text with one sentence on each line. A text that has several lines is returned as it is.

    Args:
        text: Text of one or several sentences.
        language: Language whose rules ``sentencex`` uses.
    """
    return text if "\n" in text else "\n".join(part.strip() for part in sentencex.segment(language, text))


def tokenizer(name: str = "rouge") -> RougeTokenizer:
    """Return a tokenizer for ROUGE.

    Args:
        name: ``rouge`` for the library's own tokenizer with Porter's stemmer; ``unicode`` for words of any script.

    Raises:
        UserError: The tokenizer is unknown.
    """
    if name not in TOKENIZERS:
        raise UserError(f"ROUGE: tokenizer {name!r} is unknown; choose one of {', '.join(TOKENIZERS)}")
    if name == "unicode":
        return _Unicode()
    # Import rouge-score only where it is used, because it loads all of NLTK.
    from rouge_score.tokenizers import DefaultTokenizer

    tokenizer: RougeTokenizer = DefaultTokenizer(use_stemmer=True)
    return tokenizer


class _Unicode:
    """Tokenizer for words of any script (``words.spoken``)."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text in lower case."""
        return spoken(text)


def _values(
    names: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: RougeTokenizer
) -> dict[str, list[float]]:
    """Return the best F1 over the references of each hypothesis, times 100, by kind of ROUGE."""
    from rouge_score.rouge_scorer import RougeScorer

    # Score against all references of a text at once; the library keeps the best F1.
    scorer = RougeScorer(list(names), tokenizer=words)
    rows = [
        scorer.score_multi(reference_texts, text) for text, reference_texts in zip(hypotheses, references, strict=True)
    ]
    return {name: [100 * float(row[name].fmeasure) for row in rows] for name in names}


def _warn_of_other_scripts(references: Sequence[Sequence[str]]) -> None:
    """Warn if references have words, but none that the tokenizer of rouge-score reads."""
    # Count the references in which the tokenizer finds nothing.
    texts = [text.lower() for reference_texts in references for text in reference_texts]
    if lost := sum(not regex.search("[a-z0-9]", text) and bool(regex.search(WORD, text)) for text in texts):
        log.warning(
            "ROUGE: %d of %d references have words but no letter of a-z and no digit. They score 0, because "
            "rouge-score reads only these characters; "
            "use seq2seq.metrics.summarisation.rouge(..., tokenize='unicode') for other scripts",
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
