"""Messages of SentencePiece's trainer, whose errors all have the same type."""

from __future__ import annotations

import re


def needed_vocabulary(message: str) -> int | None:
    """Return the number of pieces that the characters of a text need, if the vocabulary is too small for them.

    Args:
        message: Message of the error.

    Returns:
        Number of pieces, or None for another error.
    """
    found = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    return int(found[1]) if found else None


def is_without_text(message: str) -> bool:
    """Return whether the error is that there was no sentence to train on.

    Args:
        message: Message of the error.
    """
    return "sentences_.empty()" in message
