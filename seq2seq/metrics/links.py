"""Word links: choice from attention weights, and reading and writing in the Pharaoh format ``i-j``.

A link is a pair (source word, target word) of indices from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.errors import UserError

Link = tuple[int, int]
METHODS = ("target_to_source", "source_to_target", "intersection", "union")


def links(weights: ArrayLike, method: str = "target_to_source", *, threshold: float = 0.0) -> frozenset[Link]:
    """Return links chosen from the attention between words.

    Of equal weights, the first is chosen.

    Args:
        weights: Attention between words (J, I).
        method: ``target_to_source`` links each target word j to argmax_i W_ji, as a model of p(target | source) aligns.
            ``source_to_target`` links each source word i to argmax_j W_ji. ``intersection`` and ``union`` combine the
            two.
        threshold: Weight that a link must exceed. Words without such a weight stay unaligned.

    Raises:
        UserError: The method is unknown.
    """
    if method not in METHODS:
        raise UserError(f"method={method!r} is not a way to choose links; choose from {', '.join(METHODS)}")
    w = np.asarray(weights, dtype=np.float64)
    if not w.size:
        return frozenset()
    # Link in both directions; then combine the links as the method says.
    forward = {(int(i), j) for j, i in enumerate(w.argmax(1)) if w[j, i] > threshold}
    backward = {(i, int(j)) for i, j in enumerate(w.argmax(0)) if w[j, i] > threshold}
    chosen = {
        "target_to_source": forward,
        "source_to_target": backward,
        "intersection": forward & backward,
        "union": forward | backward,
    }
    return frozenset(chosen[method])


def to_pharaoh(chosen: Iterable[Link]) -> str:
    """Return the links as one line of ``i-j``, in ascending order; empty without links.

    Args:
        chosen: Links (source word, target word).
    """
    return " ".join(f"{i}-{j}" for i, j in sorted(chosen))


def from_pharaoh(line: str) -> frozenset[Link]:
    """Return the links of one line of ``i-j``.

    Args:
        line: Line in Pharaoh's format, such as ``0-0 1-2``.

    Raises:
        UserError: A field of the line is not a link.
    """
    # Check all fields first, so that the message shows the first wrong one.
    fields = line.split()
    if wrong := [field for field in fields if not re.fullmatch(r"[0-9]+-[0-9]+", field)]:
        raise UserError(f"{wrong[0]!r} is not a link; write pairs i-j of word indices from 0, such as 0-0 1-2")
    return frozenset((int(i), int(j)) for i, j in (field.split("-") for field in fields))
