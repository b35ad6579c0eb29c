"""Metrics of captions: CIDEr-D, BLEU-1 to 4, ROUGE-L of COCO, METEOR, SPICE and diversity.

Hypotheses are N strings; references are N lists of strings. All metrics use the same words, those of COCO's evaluation
(Chen 2015, arXiv:1504.00325): words of the Penn Treebank in lower case, without punctuation (brackets are dropped too,
and abbreviations such as "mr." lose their point). METEOR and SPICE are the Java programs of ``pycocoevalcap``.
"""

from __future__ import annotations

import math
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from statistics import fmean
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from seq2seq.errors import UserError
from seq2seq.metrics.metric import Metric, MetricResult
from seq2seq.metrics.translation import bleu_from_sums, check, counted

ORDERS = (1, 2, 3, 4)
SIGMA = 6.0  # width of the length penalty of CIDEr-D
BETA = 1.2  # of ROUGE-L of COCO: recall counts more than precision
TOKENS = "case:lc|tok:ptb-like"
IN_JAVA = ("meteor", "spice")

NGrams = Counter[tuple[str, ...]]
_CONTRACTION = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))(?!\w)")
_TOGETHER = re.compile(r"\b(can(?=not\b)|(?:gon|wan)(?=na\b)|got(?=ta\b))")
_WORD = re.compile(
    r"n't(?!\w)|'(?:s|re|ve|ll|d|m)(?!\w)"
    r"|(?:[^\W\d_]\.){2,}"  # u.s.
    r"|\w+(?:[-/.&]\w+|(?<=\d)[,:](?=\d)\w+)*|[&$%#*+=]"
)


def words(caption: str) -> list[str]:
    """Return the words of a caption in lower case.

    Args:
        caption: Text, such as ``A man's T-shirt isn't red.``, whose words are a man 's t-shirt is n't red.
    """
    # Split "cannot" and the like, then contractions, then take the words and drop all other characters.
    text = caption.lower().replace("\u2019", "'")
    return _WORD.findall(_CONTRACTION.sub(r" \1 ", _TOGETHER.sub(r"\1 ", text)))


class CiderD:
    """Scorer of CIDEr-D against the references of N images (Vedantam 2015, arXiv:1411.5726, sections 3 and 5).

    For n = 1..4, g(c) is the tf-idf vector of the n-grams of a caption. An n-gram counts once for each image whose
    references contain it (idf).

    CIDEr-D_n(c, R) = 10 / |R| sum_r exp(-(l(c) - l(r))^2 / (2 sigma^2)) min(g(c), g(r)) . g(r) / (|g(c)| |g(r)|)

    CIDEr-D is the mean over n. l is the number of bigrams of a caption, as in the released code.

    Args:
        references: References of each image.
        end: Word to add at the end of every reference; None for no word.
    """

    def __init__(self, references: Sequence[Sequence[str]], end: str | None = None) -> None:
        self.references = [
            [[*words(text), *([end] if end else [])] for text in reference_texts] for reference_texts in references
        ]
        # Count the images whose references contain an n-gram.
        documents: Counter[tuple[str, ...]] = Counter()
        for reference_texts in self.references:
            documents.update({ngram for one in reference_texts for ngram in _ngrams(one)})
        self.images = math.log(max(1.0, float(len(references))))  # log of the number of images
        self.frequency: Mapping[tuple[str, ...], int] = documents  # images by n-gram

    def scores(self, image_indices: Sequence[int], captions: Sequence[Sequence[str]]) -> list[float]:
        """Return the scores of captions.

        Args:
            image_indices: Index of the image of each caption.
            captions: Words of each caption.
        """
        # Compute the vectors of references for these images only: those of all images do not fit in memory.
        reference_vectors: dict[int, list[_Vector]] = {}
        cider_scores = []
        for image_index, caption in zip(image_indices, captions, strict=True):
            if image_index not in reference_vectors:
                reference_vectors[image_index] = [self._vector(_ngrams(one)) for one in self.references[image_index]]
            cider_scores.append(self._score(self._vector(_ngrams(caption)), reference_vectors[image_index]))
        return cider_scores

    def _vector(self, counts: NGrams) -> _Vector:
        """Return the tf-idf vectors of a caption from the counts of its n-grams."""
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in ORDERS]
        for ngram, count in counts.items():
            # An n-gram that no reference contains counts as if one image had it.
            idf = self.images - math.log(max(1.0, self.frequency.get(ngram, 0)))
            weights[len(ngram) - 1][ngram] = count * idf
        norms = [math.sqrt(math.fsum(w * w for w in order.values())) for order in weights]
        return _Vector(weights, norms, sum(count for ngram, count in counts.items() if len(ngram) == 2))

    @staticmethod
    def _score(caption: _Vector, references: Sequence[_Vector]) -> float:
        """Return CIDEr-D of a caption against the references of its image."""
        if not references:
            return 0.0
        total = 0.0
        for reference in references:
            length_factor = math.exp(-((caption.length - reference.length) ** 2) / (2 * SIGMA**2))
            for weights, reference_weights, norm, reference_norm in zip(
                caption.weights, reference.weights, caption.norms, reference.norms, strict=True
            ):
                # An order without n-grams adds 0 to the mean.
                if norm and reference_norm:
                    product = math.fsum(
                        min(weight, reference_weights[ngram]) * reference_weights[ngram]
                        for ngram, weight in weights.items()
                        if ngram in reference_weights
                    )
                    total += length_factor * product / (norm * reference_norm)
        return 10.0 * total / len(ORDERS) / len(references)


class _Vector:
    """Tf-idf vectors of a caption for each order, their norms, and the number of bigrams."""

    def __init__(self, weights: list[dict[tuple[str, ...], float]], norms: list[float], length: int) -> None:
        self.weights, self.norms, self.length = weights, norms, length


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return the mean of CIDEr-D over images.

    Args:
        hypotheses: N captions.
        references: References of each caption.
    """
    references = check("CIDEr-D", hypotheses, references)
    scores = CiderD(references).scores(range(len(hypotheses)), [words(text) for text in hypotheses])
    return MetricResult.mean(scores, f"CIDEr-D|{TOKENS}|sigma:6")


def bleu_n(order: int, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return BLEU of the corpus for n-grams up to ``order``, with the reference of the closest length.

    Args:
        order: Longest n-grams, 1 to 4.
        hypotheses: N captions.
        references: References of each caption.
    """
    name = f"BLEU-{order}"
    references = check(name, hypotheses, references)
    spaced = [[" ".join(words(text)) for text in reference_texts] for reference_texts in references]
    corpus_score, rows = counted(counter(order), [" ".join(words(text)) for text in hypotheses], spaced)
    return MetricResult(corpus_score, f"{name}|{TOKENS}|smooth:none", rows)


def counter(order: int) -> BLEU:
    """Return a BLEU scorer for texts whose words are already split.

    Args:
        order: Longest n-grams, 1 to 4.
    """
    return BLEU(max_ngram_order=order, tokenize="none", smooth_method="none", force=True)


def rouge_l_coco(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return ROUGE-L of COCO: F = (1 + beta^2) P R / (R + beta^2 P).

    P and R are precision and recall of the longest common subsequence. Each is the best over the references.

    Args:
        hypotheses: N captions.
        references: References of each caption.
    """
    references = check("ROUGE-L of COCO", hypotheses, references)
    scores = []
    for text, reference_texts in zip(hypotheses, references, strict=True):
        # Precision and recall may come from different references.
        caption_words, reference_words = words(text), [words(reference) for reference in reference_texts]
        common = [_subsequence(caption_words, reference) for reference in reference_words]
        precision = max(common) / max(1, len(caption_words))
        recall = max(c / max(1, len(reference)) for c, reference in zip(common, reference_words, strict=True))
        both = precision and recall
        scores.append(100.0 * (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if both else 0.0)
    return MetricResult.mean(scores, f"ROUGE-L|{TOKENS}|beta:1.2|best precision, best recall")


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return METEOR 1.5 (Denkowski & Lavie 2014, W14-3348), computed by the program in ``pycocoevalcap``.

    Args:
        hypotheses: N captions.
        references: References of each caption.

    Raises:
        UserError: Java or ``pycocoevalcap`` is not installed.
    """
    references = check("METEOR", hypotheses, references)
    if missing := missing_for("meteor"):
        raise UserError(f"metric meteor: {missing}")
    from pycocoevalcap.meteor.meteor import Meteor

    return _of_coco("METEOR-1.5", Meteor(), hypotheses, references)


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return SPICE: F1 of scene graph tuples (Anderson 2016, arXiv:1607.08822), computed by ``pycocoevalcap``.

    Args:
        hypotheses: N captions.
        references: References of each caption.

    Raises:
        UserError: Java, ``pycocoevalcap`` or the models of SPICE are not installed.
    """
    references = check("SPICE", hypotheses, references)
    if missing := missing_for("spice"):
        raise UserError(f"metric spice: {missing}")
    from pycocoevalcap.spice.spice import Spice

    return _of_coco("SPICE", Spice(), hypotheses, references)


def missing_for(metric: str) -> str | None:
    """Return a message about a program that METEOR or SPICE needs and that is missing; None if nothing is missing.

    Args:
        metric: ``meteor`` or ``spice``.
    """
    try:
        package = distribution("pycocoevalcap")
    except PackageNotFoundError:
        return "pycocoevalcap is not installed; run: pip install 'seq2seq-attention[meteor]'"
    if not shutil.which("java"):
        return f"java is not on the PATH, and {metric.upper()} needs it; install Java"
    # SPICE needs models that are downloaded separately.
    parser = Path(str(package.locate_file("pycocoevalcap"))) / "spice" / "lib" / "stanford-corenlp-3.6.0.jar"
    if metric == "spice" and not parser.exists():
        return f"{parser} is missing; run: python -m pycocoevalcap.spice.get_stanford_models"
    return None


def _of_coco(name: str, scorer: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return the result of a scorer of ``pycocoevalcap`` on the words of this module."""
    # The programs read dictionaries of lists of texts, whose words are separated by spaces.
    reference_words = {
        image_index: [" ".join(words(text)) for text in reference_texts]
        for image_index, reference_texts in enumerate(references)
    }
    caption_words = {image_index: [" ".join(words(text))] for image_index, text in enumerate(hypotheses)}
    score, _ = scorer.compute_score(reference_words, caption_words)
    return MetricResult(100.0 * float(score), f"{name}|{TOKENS}|pycocoevalcap:{version('pycocoevalcap')}")


def diversity(hypotheses: Sequence[str]) -> dict[str, MetricResult]:
    """Return the diversity of captions, and their mean length.

    ``unique_captions`` is the share of distinct captions. ``distinct_1`` and ``distinct_2`` are the distinct words and
    word pairs as shares of all (Li 2016, N16-1014).

    Args:
        hypotheses: N captions.

    Returns:
        Results by name of the metric.
    """
    caption_words = [words(text) for text in hypotheses]
    figures = {"unique_captions": len({tuple(text) for text in caption_words}) / max(1, len(caption_words))}
    # Count distinct n-grams over all captions together.
    for order in (1, 2):
        ngrams = [ngram for text in caption_words for ngram in zip(*(text[k:] for k in range(order)), strict=False)]
        figures[f"distinct_{order}"] = len(set(ngrams)) / max(1, len(ngrams))
    figures["caption_words"] = fmean(map(len, caption_words)) if caption_words else 0.0
    return {
        name: MetricResult(value, f"{name}|{TOKENS}|{len(caption_words)} captions") for name, value in figures.items()
    }


def _ngrams(tokens: Sequence[str]) -> NGrams:
    """Return the counts of the n-grams of all orders."""
    return Counter(tuple(tokens[i : i + n]) for n in ORDERS for i in range(len(tokens) - n + 1))


def _subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    # row[k] is the length for the tokens of ``one`` so far and the first k tokens of ``other``.
    row = [0] * (len(other) + 1)
    for token in one:
        before = 0
        for column, rival in enumerate(other, 1):
            before, row[column] = (
                row[column],
                before + 1 if token == rival else max(row[column], row[column - 1]),
            )
    return row[-1]


METRICS = (
    Metric("cider", "outputs", "CIDEr-D: tf-idf n-gram similarity (Vedantam 2015), 0-10", scorer=cider),
    *(
        Metric(
            f"bleu{order}",
            "outputs",
            f"BLEU of n-grams up to {order} on COCO's tokenisation",
            digits=1,
            unit="%",
            from_sums=partial(bleu_from_sums, counter(order)),
            scorer=partial(bleu_n, order),
        )
        for order in ORDERS
    ),
    Metric("rougeL_coco", "outputs", "ROUGE-L as in COCO's evaluation", digits=1, unit="%", scorer=rouge_l_coco),
    Metric(
        "meteor",
        "outputs",
        "METEOR: matches of words, stems and synonyms",
        digits=1,
        unit="%",
        needs="Java",
        from_sums=None,
        scorer=meteor,
    ),
    Metric(
        "spice",
        "outputs",
        "SPICE: F1 of scene graph tuples (Anderson 2016)",
        digits=1,
        unit="%",
        needs="Java",
        from_sums=None,
        scorer=spice,
    ),
    Metric("unique_captions", "outputs", "distinct captions as a share of all", needs="images", from_sums=None),
    *(
        Metric(
            f"distinct_{order}",
            "outputs",
            f"distinct {order}-grams as a share of all {order}-grams of the captions (Li 2016)",
            needs="images",
            from_sums=None,
        )
        for order in (1, 2)
    ),
    Metric(
        "caption_words",
        "outputs",
        "mean length of a caption",
        higher_is_better=None,
        digits=1,
        unit="words",
        needs="images",
        from_sums=None,
    ),
)
