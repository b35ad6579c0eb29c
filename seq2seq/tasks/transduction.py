"""Transduction of strings, character by character. A plot shows a heat map for each attention slot."""

from __future__ import annotations

from seq2seq.plots.saving import Style
from seq2seq.tasks.translation import Translation


class Transduction(Translation):
    """Task that maps a string to a string, such as a word form, a pronunciation or a spelling in another script."""

    style = Style(pieces=True)  # a letter is the unit of interest, not a word
