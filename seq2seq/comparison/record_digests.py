"""Digests of test sets, which show whether and where the texts of two runs differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class RecordDigests:
    """Digests of one text of each record."""

    whole: str  # digest of all texts
    each: bytes  # first byte of each text's digest

    @staticmethod
    def of(texts: Iterable[str]) -> RecordDigests:
        """Compute the digests of texts.

        Args:
            texts: One text for each record.
        """
        own = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        return RecordDigests(hashlib.sha256(b"".join(own)).hexdigest(), bytes(digest[0] for digest in own))
