"""Transduction: strings to strings, character by character; a heat-map of characters for each attention slot."""

from __future__ import annotations

from seq2seq.tasks.translation import Translation


class Transduction(Translation):
    """A string to a string: a form of a word, its pronunciation, its spelling in another script."""
