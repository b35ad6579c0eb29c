"""Scores of captions on one tokenisation: CIDEr-D, BLEU-1 to 4, ROUGE-L as COCO counts it, METEOR, SPICE, diversity.

Hypotheses are N strings; references are N lists of strings. Words are those of COCO's evaluation (Chen 2015,
arXiv:1504.00325): Penn Treebank's, in lower case, marks dropped (brackets too; abbreviations such as "mr." lose their
point). METEOR and SPICE are ``pycocoevalcap``'s, in Java.
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
SIGMA = 6.0  # of CIDEr-D's penalty for lengths
BETA = 1.2  # of COCO's ROUGE-L: recall counts more
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
    """``A man's T-shirt isn't red.`` -> a man 's t-shirt is n't red."""
    text = caption.lower().replace("\u2019", "'")
    return _WORD.findall(_CONTRACTION.sub(r" \1 ", _TOGETHER.sub(r"\1 ", text)))


class CiderD:
    """CIDEr-D against the references of N images (Vedantam 2015, arXiv:1411.5726, sections 3 and 5).

    For n = 1..4, g(c) = tf-idf of the n-grams of a caption, idf over images by all references of each;
    CIDEr-D_n(c, R) = 10 / |R| sum_r exp(-(l(c) - l(r))^2 / (2 sigma^2)) min(g(c), g(r)) . g(r) / (|g(c)| |g(r)|),
    and their mean over n. As the released code has it, l counts the bigrams of a caption. ``end`` is one more word of
    every reference.
    """

    def __init__(self, references: Sequence[Sequence[str]], end: str | None = None) -> None:
        self.references = [
            [[*words(text), *([end] if end else [])] for text in reference_texts] for reference_texts in references
        ]
        documents: Counter[tuple[str, ...]] = Counter()
        for reference_texts in self.references:
            documents.update({ngram for one in reference_texts for ngram in _ngrams(one)})
        self.images = math.log(max(1.0, float(len(references))))
        self.frequency: Mapping[tuple[str, ...], int] = documents

    def scores(self, image_indices: Sequence[int], captions: Sequence[Sequence[str]]) -> list[float]:
        """Of a caption, in words, for each of the images ``image_indices``."""
        reference_words: dict[int, list[_Vector]] = {}  # all at once they would not fit in memory
        cider_scores = []
        for image_index, caption in zip(image_indices, captions, strict=True):
            if image_index not in reference_words:
                reference_words[image_index] = [self._vector(_ngrams(one)) for one in self.references[image_index]]
            cider_scores.append(self._score(self._vector(_ngrams(caption)), reference_words[image_index]))
        return cider_scores

    def _vector(self, counts: NGrams) -> _Vector:
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in ORDERS]
        for ngram, count in counts.items():
            idf = self.images - math.log(max(1.0, self.frequency.get(ngram, 0)))
            weights[len(ngram) - 1][ngram] = count * idf
        norms = [math.sqrt(math.fsum(w * w for w in order.values())) for order in weights]
        return _Vector(weights, norms, sum(count for ngram, count in counts.items() if len(ngram) == 2))

    @staticmethod
    def _score(caption: _Vector, references: Sequence[_Vector]) -> float:
        if not references:
            return 0.0
        total = 0.0
        for reference in references:
            close = math.exp(-((caption.length - reference.length) ** 2) / (2 * SIGMA**2))
            for mine, theirs, norm, other in zip(
                caption.weights, reference.weights, caption.norms, reference.norms, strict=True
            ):
                if norm and other:
                    shared = math.fsum(min(w, theirs[n]) * theirs[n] for n, w in mine.items() if n in theirs)
                    total += close * shared / (norm * other)
        return 10.0 * total / len(ORDERS) / len(references)


class _Vector:
    """Tf-idf of the n-grams of each order, their norms, and the length."""

    def __init__(self, weights: list[dict[tuple[str, ...], float]], norms: list[float], length: int) -> None:
        self.weights, self.norms, self.length = weights, norms, length


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """The mean of CIDEr-D over images."""
    references = check("CIDEr-D", hypotheses, references)
    scores = CiderD(references).scores(range(len(hypotheses)), [words(text) for text in hypotheses])
    return MetricResult.mean(scores, f"CIDEr-D|{TOKENS}|sigma:6")


def bleu_n(order: int, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """BLEU of n-grams up to ``order`` of the whole corpus, by the reference of the closest length."""
    name = f"BLEU-{order}"
    references = check(name, hypotheses, references)
    spaced = [[" ".join(words(text)) for text in reference_texts] for reference_texts in references]
    coco_scores, rows = counted(counter(order), [" ".join(words(text)) for text in hypotheses], spaced)
    return MetricResult(coco_scores, f"{name}|{TOKENS}|smooth:none", rows)


def counter(order: int) -> BLEU:
    """What counts the n-grams of words that are split already."""
    return BLEU(max_ngram_order=order, tokenize="none", smooth_method="none", force=True)


def rouge_l_coco(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """F = (1 + beta^2) P R / (R + beta^2 P), P and R the best of the longest common subsequence with any reference."""
    references = check("ROUGE-L of COCO", hypotheses, references)
    scores = []
    for text, reference_texts in zip(hypotheses, references, strict=True):
        caption_words, reference_words = words(text), [words(reference) for reference in reference_texts]
        common = [_subsequence(caption_words, reference) for reference in reference_words]
        precision = max(common) / max(1, len(caption_words))
        recall = max(c / max(1, len(reference)) for c, reference in zip(common, reference_words, strict=True))
        both = precision and recall
        scores.append(100.0 * (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if both else 0.0)
    return MetricResult.mean(scores, f"ROUGE-L|{TOKENS}|beta:1.2|best precision, best recall")


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """METEOR 1.5 (Denkowski & Lavie 2014, W14-3348), by the program that ``pycocoevalcap`` brings."""
    references = check("METEOR", hypotheses, references)
    if missing := missing_for("meteor"):
        raise UserError(f"metric meteor: {missing}")
    from pycocoevalcap.meteor.meteor import Meteor

    return _of_coco("METEOR-1.5", Meteor(), hypotheses, references)


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """F1 of the tuples of scene graphs (Anderson 2016, arXiv:1607.08822), by ``pycocoevalcap``'s program."""
    references = check("SPICE", hypotheses, references)
    if missing := missing_for("spice"):
        raise UserError(f"metric spice: {missing}")
    from pycocoevalcap.spice.spice import Spice

    return _of_coco("SPICE", Spice(), hypotheses, references)


def missing_for(metric: str) -> str | None:
    """What METEOR or SPICE needs that is not there."""
    try:
        package = distribution("pycocoevalcap")
    except PackageNotFoundError:
        return "pycocoevalcap is not installed: pip install 'seq2seq-attention[meteor]'"
    if not shutil.which("java"):
        return f"there is no java on the path, which {metric.upper()} is written in"
    parser = Path(str(package.locate_file("pycocoevalcap"))) / "spice" / "lib" / "stanford-corenlp-3.6.0.jar"
    if metric == "spice" and not parser.exists():
        return f"{parser} is missing: python -m pycocoevalcap.spice.get_stanford_models downloads it"
    return None


def _of_coco(name: str, scorer: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """A score of ``pycocoevalcap`` on our words."""
    reference_words = {
        image_index: [" ".join(words(text)) for text in reference_texts]
        for image_index, reference_texts in enumerate(references)
    }
    caption_words = {image_index: [" ".join(words(text))] for image_index, text in enumerate(hypotheses)}
    score, _ = scorer.compute_score(reference_words, caption_words)
    return MetricResult(100.0 * float(score), f"{name}|{TOKENS}|pycocoevalcap:{version('pycocoevalcap')}")


def diversity(hypotheses: Sequence[str]) -> dict[str, MetricResult]:
    """How much captions differ: distinct words and pairs as shares of all (Li 2016, N16-1014), and captions; length."""
    caption_words = [words(text) for text in hypotheses]
    figures = {"unique_captions": len({tuple(text) for text in caption_words}) / max(1, len(caption_words))}
    for order in (1, 2):
        all_of = [ngram for text in caption_words for ngram in zip(*(text[k:] for k in range(order)), strict=False)]
        figures[f"distinct_{order}"] = len(set(all_of)) / max(1, len(all_of))
    figures["caption_words"] = fmean(map(len, caption_words)) if caption_words else 0.0
    return {
        name: MetricResult(value, f"{name}|{TOKENS}|{len(caption_words)} captions") for name, value in figures.items()
    }


def _ngrams(tokens: Sequence[str]) -> NGrams:
    return Counter(tuple(tokens[i : i + n]) for n in ORDERS for i in range(len(tokens) - n + 1))


def _subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
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
    Metric("rougeL_coco", "outputs", "ROUGE-L as COCO counts it", digits=1, unit="%", scorer=rouge_l_coco),
    Metric(
        "meteor",
        "outputs",
        "METEOR: words matched with stems and synonyms",
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
    Metric("unique_captions", "outputs", "share of captions that differ", needs="images", from_sums=None),
    *(
        Metric(
            f"distinct_{order}",
            "outputs",
            f"share of distinct {order}-grams in all captions (Li 2016)",
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
