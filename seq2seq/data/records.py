"""What a record is, and what makes one unusable. What happens to those that are is in ``record_policy.py``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from seq2seq.files.text import flaw

EXTRAS = (
    "references",
    "alignment",
    "possible",
    "origins",
    "regions",
)  # what a record may have beside source and target


class Record(TypedDict):
    """A source and what it should become; words are counted from 0, as ``split()`` gives them.

    A document has its sentences on lines of their own, and so has a target of several sentences. Where the source is a
    image, it is the path of its file.
    """

    source: str
    target: str
    references: NotRequired[list[str]]  # all right answers, where there is more than ``target``
    alignment: NotRequired[list[list[int]]]  # sure links: [source word, target word]
    possible: NotRequired[list[list[int]]]  # links that are not wrong
    origins: NotRequired[list[int]]  # the source sentence that each target word comes from; -1 = none
    regions: NotRequired[list[list[list[float]]]]  # of each reference, for each of its words, the boxes of the image
    # that it names: left, top, right, bottom of one after the other, 0-1; [] of a reference of which nothing is known
    image: NotRequired[bytes]  # an image that is in no file yet; the source is its name


def regions_of(record: Record, text: str) -> list[list[float]] | None:
    """The regions of the first reference that says ``text``; None where they are not known."""
    known = zip(record.get("references") or [record["target"]], record.get("regions", []), strict=False)
    return next((boxes for said, boxes in known if boxes and said.split() == text.split()), None)


Problem = Literal["empty", "not UTF-8", "malformed", "without a counterpart", "too long", "unreadable image"]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row, and why where the problem alone does not say it."""

    problem: Problem
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """A record, or what is wrong in its place, with the place: ``FILE:LINE``."""

    place: str
    record: Record | None = None
    problem: Problem | None = None
    reason: str = ""

    @staticmethod
    def bad(place: str, fault: Fault) -> Row:
        """Make a row that holds no record."""
        return Row(place, None, fault.problem, fault.reason)


def fault_of(record: Record) -> Fault | None:
    """Return what keeps a record from being used: its texts, or what is known of their words."""
    source, target = record["source"], record["target"]
    if not (source.strip() and target.strip()):
        return Fault("empty")
    for text in (source, target, *record.get("references", ())):
        if reason := flaw(text):
            return Fault("malformed", reason)
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
    links: Any = record.get(key, [])
    if not isinstance(links, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_integer, pair)) for pair in links
    ):
        return f"{key} is no list of pairs [source word, target word]"
    sizes = len(record["source"].split()), len(record["target"].split())
    for i, j in links:
        if not (0 <= i < sizes[0] and 0 <= j < sizes[1]):
            return f"{key} {i}-{j} points outside {sizes[0]} source and {sizes[1]} target words"
    return ""


def _wrong_origins(record: Record) -> str:
    if "origins" not in record:
        return ""
    origins: Any = record["origins"]
    if not isinstance(origins, list) or not all(map(_is_integer, origins)):
        return "origins is no list of sentence numbers"
    words, sentences = len(record["target"].split()), len(record["source"].split("\n"))
    if len(origins) != words:
        return f"origins of {len(origins)} words, of which the target has {words}"
    if wrong := [n for n in origins if not -1 <= n < sentences]:
        return f"origin {wrong[0]} points outside {sentences} sentences"
    return ""


def _wrong_regions(record: Record) -> str:
    regions: Any = record.get("regions", [])
    if isinstance(regions, list) and all(isinstance(r, list) and all(map(_are_boxes, r)) for r in regions):
        return ""
    return "regions are no lists of boxes (left, top, right, bottom, from 0 to 1) of each word of each caption"


def _are_boxes(value: Any) -> bool:
    return isinstance(value, list) and len(value) % 4 == 0 and all(map(_is_share, value))


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and -TOLERANCE <= value <= 1 + TOLERANCE


TOLERANCE = 1e-3  # of regions, which are rounded
