"""Splitting of text into sentences, by rules and lists of abbreviations (the library ``sentencex``, Wikimedia)."""

from __future__ import annotations

import re

import sentencex

from seq2seq.errors import UserError

# Languages with rules in the library, and some for which it uses another language's rules (cs: sk; ur and zh: en).
# The library uses English for every other name without a warning, and so a spelling mistake would not be noticed.
CODES = "am ar bg bn ca cs da de el en es fi fr gu hi hy it ja kk kn ml mr my nl pa pl pt ru sk ta te uk ur zh"
LANGUAGES = tuple(CODES.split())


def split(text: str, language: str = "en") -> list[str]:
    """Return the sentences of a text, none of them empty, with single spaces. A blank line always ends a sentence.

    Args:
        text: Text to split.
        language: Language by whose rules the text is split.

    Raises:
        UserError: The language has no rules.
    """
    check(language)
    # Call the library only once for a text, because in some languages a call takes 60 ms.
    pieces = sentencex.segment(language, re.sub(r"\r?\n\s*\n", "\n\n", text))
    return [sentence for piece in pieces if (sentence := " ".join(piece.split()))]


def check(language: str) -> None:
    """Refuse a language without rules.

    Args:
        language: Code of the language.

    Raises:
        UserError: The language has no rules.
    """
    if language not in LANGUAGES:
        raise UserError(
            f"language={language} has no rules for the ends of sentences; choose one of: {', '.join(LANGUAGES)}. "
            "Use en for other languages whose sentences end with . ! or ?, or use lists of sentences and language=null"
        )
