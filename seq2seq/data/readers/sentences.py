"""Text to sentences, by rules and lists of abbreviations (the library ``sentencex``, Wikimedia)."""

from __future__ import annotations

import re

import sentencex

from seq2seq.errors import UserError

# The library's languages with rules of their own, and some that it serves by another's (cs by sk; ur and zh by en).
# For all else it silently takes English, so that a mistyped name would go unseen.
CODES = "am ar bg bn ca cs da de el en es fi fr gu hi hy it ja kk kn ml mr my nl pa pl pt ru sk ta te uk ur zh"
LANGUAGES = tuple(CODES.split())


def split(text: str, language: str = "en") -> list[str]:
    """The sentences of ``text``, none empty, the white space inside each a single space; a blank line ends a sentence.

    Raises:
        UserError: a language without rules.
    """
    check(language)
    # One call a text: in some languages each takes the library 60 ms.
    pieces = sentencex.segment(language, re.sub(r"\r?\n\s*\n", "\n\n", text))
    return [sentence for piece in pieces if (sentence := " ".join(piece.split()))]


def check(language: str) -> None:
    """Refuse a language without rules."""
    if language not in LANGUAGES:
        raise UserError(
            f"language={language} has no rules for where sentences end, only: {', '.join(LANGUAGES)}; "
            "take en for others that end them with . ! or ?, or give lists of sentences and language=null"
        )
