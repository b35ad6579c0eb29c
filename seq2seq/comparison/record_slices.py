"""Numbers of groups and lengths of sources of the records in an output file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.metrics.words import spoken


def numbered(groups: Sequence[str | None]) -> NDArray[np.int64] | None:
    """Return the number of each group, in the order of their first records; None if a record has no group.

    Args:
        groups: Group of each record (N,).
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return None if not groups or None in numbers else np.array([numbers[group] for group in groups], np.int64)


def source_length(record: Mapping[str, Any], by_letter: bool) -> int:
    """Return the number of words of a record's source, in any script, or of its letters.

    Args:
        record: Record of an output file.
        by_letter: Whether letters are counted; a feature such as <PST> counts as one.
    """
    if not by_letter:
        return len(spoken(str(record["source"])))
    return len("".join(str(record["source"]).split())) - sum(len(name) + 1 for name in record.get("features", ()))
