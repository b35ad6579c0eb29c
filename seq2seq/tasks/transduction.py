"""Transduction of strings, letter by letter, with a baseline of rules. A plot shows a heat map for each slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from omegaconf import DictConfig
from typing_extensions import override

from seq2seq.data.letters import is_feature
from seq2seq.data.readers.letters import nfc, with_features
from seq2seq.metrics import MetricResult, score
from seq2seq.metrics.aligned_rules import AlignedRules
from seq2seq.metrics.edits import RULES
from seq2seq.metrics.suffix_rules import SuffixRules
from seq2seq.metrics.table import find_metric
from seq2seq.plots.saving import Style
from seq2seq.tasks.base import ScoredRecords
from seq2seq.tasks.translation import Translation


class Transduction(Translation):
    """Task that maps a string to a string, such as a word form, a pronunciation or a spelling in another script."""

    highlights: ClassVar[Sequence[str]] = (
        "exact_match",
        "exact_match_rules",
        "ser",
        "ser_rules",
        "cer",
        "per",
        "perplexity",
        "loss_entmax{n}",
        "aer",
        "nll_increase_averaged",
        "loss_entmax{n}_increase_averaged",
    )
    style = Style(pieces=True)  # a letter is the unit of interest, not a word

    @override
    def as_read(self, line: str, data: DictConfig) -> str:
        # A line is a string, or a lemma and its features with a tab between them.
        text, tab, features = nfc(line).partition("\t")
        return with_features(text, features, data.get("features") or "suffix") if tab else text

    @override
    def scores(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return the metrics of rules that are learnt from the training split.

        Sources with features get the rules of inflection (``SuffixRules``), other sources those of pronunciation
        (``AlignedRules``).
        """
        pairs = [scored.codec.split(record) for record in scored.training()]
        names = [name for name in self.metrics if find_metric(f"{name}{RULES}") is not None]
        if not pairs or not names:
            return {}
        sources = [scored.codec.split(record)[0] for record in scored.records]
        # Learn the rules, and apply them.
        if any(is_feature(symbol) for source, _ in pairs for symbol in source):
            kind, inflect = "suffix", SuffixRules((*_parted(source), target) for source, target in pairs)
            outputs = [inflect(*_parted(source)) for source in sources]
        else:
            kind, outputs = "alignment", list(map(AlignedRules(pairs), sources))
        texts = [scored.codec.target.join(output) for output in outputs]
        return {
            f"{name}{RULES}": MetricResult(result.score, f"rules:{kind}|{result.signature}", result.per_record)
            for name, result in score(names, texts, scored.references).items()
        }


def _parted(source: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the letters and the features of a source."""
    letters = [symbol for symbol in source if not is_feature(symbol)]
    return letters, [symbol for symbol in source if is_feature(symbol)]
