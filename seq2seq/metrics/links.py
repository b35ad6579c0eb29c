"""Word links, (source word, target word) from 0: chosen from weights, read and written as Pharaoh ``i-j``."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.errors import UserError

Link = tuple[int, int]
METHODS = ("target_to_source", "source_to_target", "intersection", "union")


def links(weights: ArrayLike, method: str = "target_to_source", *, threshold: float = 0.0) -> frozenset[Link]:
    """Hard links from the attention between words, ``weights`` (J, I).

    ``target_to_source``: each target word j to argmax_i W_ji, as a model of p(target | source) aligns;
    ``source_to_target``: each source word i to argmax_j W_ji; ``intersection`` and ``union`` of the two.
    A link needs more weight than ``threshold``, so words that nothing attends stay unaligned;
    of equal weights the first wins.
    """
    if method not in METHODS:
        raise UserError(f"no way to choose links called {method!r}; choose from {', '.join(METHODS)}")
    w = np.asarray(weights, dtype=np.float64)
    if not w.size:
        return frozenset()
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
    """One line of ``i-j`` in ascending order, i in the source, j in the target; empty without links."""
    return " ".join(f"{i}-{j}" for i, j in sorted(chosen))


def from_pharaoh(line: str) -> frozenset[Link]:
    """The links of one line of ``i-j``."""
    fields = line.split()
    if wrong := [field for field in fields if not re.fullmatch(r"[0-9]+-[0-9]+", field)]:
        raise UserError(f"{wrong[0]!r} is no link; a line is pairs i-j of word indices from 0, such as 0-0 1-2")
    return frozenset((int(i), int(j)) for i, j in (field.split("-") for field in fields))
