"""Symbols of a string: grapheme clusters, features such as ``<PST>``, and a sign for the space.

A grapheme cluster is what a reader sees as one character: a letter with its combining marks, a syllable of Devanagari.
Unicode Standard Annex 29 defines it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import regex

GAP = "␣"  # U+2423, the symbol of a space between two words
_FEATURE = re.compile(r"<[^<>\s]+>")
_SYMBOL = regex.compile(rf"{_FEATURE.pattern}|\X")


def is_feature(symbol: str) -> bool:
    """Return whether a symbol is a feature, such as ``<PST>``.

    Args:
        symbol: Symbol of a string.
    """
    return _FEATURE.fullmatch(symbol) is not None


def has_feature(text: str) -> bool:
    """Return whether a text holds a feature.

    Args:
        text: Any text.
    """
    return _FEATURE.search(text) is not None


def features_in(text: str) -> list[str]:
    """Return the names of the features in a text, without brackets and in their order.

    Args:
        text: Any text.
    """
    return [feature[1:-1] for feature in _FEATURE.findall(text)]


def symbols(text: str) -> list[str]:
    """Return the symbols of a text: ``ab c <N> <PL>`` has ``a b ␣ c <N> <PL>``.

    White space beside a feature is no symbol.

    Args:
        text: Any text.
    """
    found: list[str] = []
    for word in text.split():
        parts: list[str] = _SYMBOL.findall(word)
        if found and not (is_feature(found[-1]) or is_feature(parts[0])):
            found.append(GAP)
        found += parts
    return found


def written(parts: Iterable[str]) -> str:
    """Return the text of symbols.

    Args:
        parts: Symbols, as ``symbols`` returns them.
    """
    text = "".join(f" {part} " if is_feature(part) else part.replace(GAP, " ") for part in parts)
    return " ".join(text.split())
