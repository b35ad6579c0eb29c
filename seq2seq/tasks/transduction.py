"""Transduction of strings, character by character. A plot shows a heat map for each attention slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from seq2seq.plots.saving import Style
from seq2seq.tasks.translation import Translation


class Transduction(Translation):
    """Task that maps a string to a string, such as a word form, a pronunciation or a spelling in another script."""

    highlights: ClassVar[Sequence[str]] = ("exact_match", "cer", "perplexity", "aer", "nll_increase_averaged")
    style = Style(pieces=True)  # a letter is the unit of interest, not a word
