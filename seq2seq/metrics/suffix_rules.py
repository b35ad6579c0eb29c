"""Baseline of inflection without a network: the longest known change at the end of the lemma.

The idea is that of the baseline of the SIGMORPHON shared tasks (Cotterell et al. 2017, K17-2001, section 5.1). Lemma
and form of a training pair share their beginning. What follows it, with any part of the shared beginning in front, is a
rule of the pair's features: ``go -> went`` and, of ``walk -> walked``, ``-> ed``, ``k -> ked``, ``lk -> lked``. A new
lemma is changed by the rule with the longest end that it has, and by the commonest of such rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

Symbols = tuple[str, ...]


class SuffixRules:
    """Rules that were learnt from pairs of lemma and form.

    Args:
        examples: Lemma, features and form of each training record, as sequences of symbols.
    """

    def __init__(self, examples: Iterable[tuple[Sequence[str], Sequence[str], Sequence[str]]]) -> None:
        # Count the ends of the form by features and end of the lemma.
        self.rules: defaultdict[tuple[Symbols, Symbols], Counter[Symbols]] = defaultdict(Counter)
        for lemma, features, form in examples:
            pairs = enumerate(zip(lemma, form, strict=False))
            shared = next((place for place, (a, b) in pairs if a != b), min(len(lemma), len(form)))
            for start in range(shared + 1):
                self.rules[tuple(features), tuple(lemma[start:])][tuple(form[start:])] += 1

    def __call__(self, lemma: Sequence[str], features: Sequence[str]) -> list[str]:
        """Return the form of a lemma; the lemma itself if no rule fits.

        Args:
            lemma: Symbols of the lemma.
            features: Features of the form.
        """
        for start in range(len(lemma) + 1):
            if ends := self.rules.get((tuple(features), tuple(lemma[start:]))):
                return [*lemma[:start], *ends.most_common(1)[0][0]]
        return list(lemma)
