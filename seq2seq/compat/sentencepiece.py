"""What SentencePiece's trainer says of its errors, all of which are of one type."""

from __future__ import annotations

import re


def needed_vocabulary(message: str) -> int | None:
    """Return how many pieces the characters of a text alone take, where the vocabulary is too small for them."""
    found = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    return int(found[1]) if found else None


def is_without_text(message: str) -> bool:
    """Tell whether there was no sentence to train on."""
    return "sentences_.empty()" in message
