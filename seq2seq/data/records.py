"""Records, and the rules by which a record cannot be used.

``record_policy.py`` decides what happens to a record that cannot be used.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from seq2seq.files.text import flaw

# Keys that a record may have besides source and target.
EXTRAS = ("references", "alignment", "possible", "origins", "regions", "group")


class Record(TypedDict):
    """Source with its target; words are numbered from 0, in the order of ``split()``.

    A document has each sentence on a line of its own, and so does a target of several sentences. If the source is an
    image, ``source`` is the path of its file.
    """

    source: str
    target: str
    references: NotRequired[list[str]]  # all correct targets, if there are several
    alignment: NotRequired[list[list[int]]]  # sure links: [source word, target word]
    possible: NotRequired[list[list[int]]]  # possible links: [source word, target word]
    origins: NotRequired[list[int]]  # number of the source sentence of each target word; -1 = none
    # Boxes of the image that each word of each reference names: left, top, right, bottom of the first box, then of the
    # next one, as shares of the image (0-1). [] stands for a reference without known boxes.
    regions: NotRequired[list[list[list[float]]]]
    image: NotRequired[bytes]  # content of an image without a file; the source is its name
    group: NotRequired[str]  # digest (``group_id``) that records which belong together share


def regions_of(record: Record, text: str) -> list[list[float]] | None:
    """Return the regions of the first reference with a given text, or None if they are not known.

    Args:
        record: Record of an image.
        text: Text to look for; white space does not matter.
    """
    known = zip(record.get("references") or [record["target"]], record.get("regions", []), strict=False)
    return next((boxes for reference, boxes in known if boxes and reference.split() == text.split()), None)


def group_id(value: str) -> str:
    """Return the digest of a group, from which its name cannot be read.

    Args:
        value: Name of the group, such as a lemma.
    """
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]


Problem = Literal["empty", "not UTF-8", "malformed", "without a counterpart", "too long", "unreadable image"]


@dataclass(frozen=True)
class Fault:
    """Problem of a row, with a reason if the problem alone does not explain it."""

    problem: Problem
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """A record and its place (``FILE:LINE``), or the problem that was found at the place."""

    place: str
    record: Record | None = None
    problem: Problem | None = None
    reason: str = ""
    note: str = ""  # what the reader repaired in the record

    @staticmethod
    def bad(place: str, fault: Fault) -> Row:
        """Make a row without a record.

        Args:
            place: Place of the row, ``FILE:LINE``.
            fault: Problem of the row.
        """
        return Row(place, None, fault.problem, fault.reason)


def fault_of(record: Record) -> Fault | None:
    """Return the fault that makes a record unusable, or None.

    Args:
        record: Record to check: its texts, and the links, origins and regions of its words.
    """
    # Check the texts.
    source, target = record["source"], record["target"]
    if not (source.strip() and target.strip()):
        return Fault("empty")
    for text in (source, target, *record.get("references", ())):
        if reason := flaw(text):
            return Fault("malformed", reason)
    # Check the data about words, which few records have.
    if not record.keys() & KNOWN:
        return None
    reason = (
        _wrong_links(record, "alignment")
        or _wrong_links(record, "possible")
        or _wrong_origins(record)
        or _wrong_regions(record)
    )
    return Fault("malformed", reason) if reason else None


KNOWN = {"alignment", "possible", "origins", "regions"}


def _wrong_links(record: Record, key: Literal["alignment", "possible"]) -> str:
    """Return the error in the links of a record, or an empty text."""
    links: Any = record.get(key, [])
    if not isinstance(links, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_integer, pair)) for pair in links
    ):
        return f"{key} is not a list of pairs [source word, target word]"
    sizes = len(record["source"].split()), len(record["target"].split())
    for i, j in links:
        if not (0 <= i < sizes[0] and 0 <= j < sizes[1]):
            return f"{key} {i}-{j} points outside {sizes[0]} source and {sizes[1]} target words"
    return ""


def _wrong_origins(record: Record) -> str:
    """Return the error in the origins of a record, or an empty text."""
    if "origins" not in record:
        return ""
    origins: Any = record["origins"]
    if not isinstance(origins, list) or not all(map(_is_integer, origins)):
        return "origins is not a list of sentence numbers"
    words, sentences = len(record["target"].split()), len(record["source"].split("\n"))
    if len(origins) != words:
        return f"origins has {len(origins)} entries, but the target has {words} words"
    if wrong := [n for n in origins if not -1 <= n < sentences]:
        return f"origin {wrong[0]} points outside {sentences} sentences"
    return ""


def _wrong_regions(record: Record) -> str:
    """Return the error in the regions of a record, or an empty text."""
    regions: Any = record.get("regions", [])
    if isinstance(regions, list) and all(isinstance(r, list) and all(map(_are_boxes, r)) for r in regions):
        return ""
    return "regions is not a list of boxes (left, top, right, bottom, from 0 to 1) for each word of each caption"


def _are_boxes(value: Any) -> bool:
    return isinstance(value, list) and len(value) % 4 == 0 and all(map(_is_share, value))


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and -TOLERANCE <= value <= 1 + TOLERANCE


TOLERANCE = 1e-3  # of the edges of regions, which are rounded
