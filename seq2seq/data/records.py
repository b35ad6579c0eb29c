"""What a record is, which records are refused, and the report of them.

A reader yields a ``Row`` for each record of a file; ``accepted`` passes the good ones on and counts the others.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from seq2seq.errors import UserError
from seq2seq.files.text import flaw

log = logging.getLogger(__name__)
EXTRAS = (
    "references",
    "alignment",
    "possible",
    "origins",
    "regions",
)  # what a record may have beside source and target
SAID = 200  # characters of a reason, which may quote the data
LISTED = 1000  # places kept for each reason; the counts are complete


class Record(TypedDict):
    """A source and what it should become; words are counted from 0, as ``split()`` gives them.

    A document has its sentences on lines of their own, and so has a target of several sentences. Where the source is a
    picture, it is the path of its file.
    """

    source: str
    target: str
    references: NotRequired[list[str]]  # all right answers, where there is more than ``target``
    alignment: NotRequired[list[list[int]]]  # sure links: [source word, target word]
    possible: NotRequired[list[list[int]]]  # links that are not wrong
    origins: NotRequired[list[int]]  # the source sentence that each target word comes from; -1 = none
    regions: NotRequired[list[list[list[float]]]]  # of each reference, for each of its words, the boxes of the picture
    # that it names: left, top, right, bottom of one after the other, 0-1; [] of a reference of which nothing is known
    image: NotRequired[bytes]  # a picture that is in no file yet; the source is its name


def regions_of(record: Record, text: str) -> list[list[float]] | None:
    """The regions of the first reference that says ``text``; None where they are not known."""
    known = zip(record.get("references") or [record["target"]], record.get("regions", []), strict=False)
    return next((boxes for said, boxes in known if boxes and said.split() == text.split()), None)


Problem = Literal["empty", "not UTF-8", "malformed", "without a counterpart", "too long", "unreadable picture"]


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


@dataclass(frozen=True)
class Policy:
    """What happens to records that cannot be used as they are.

    The last three cut without dropping anything: sources in every split, targets in training (``truncation.py``).
    """

    on_bad: str = "drop"  # empty, not UTF-8, malformed: drop | error
    on_mismatch: str = "error"  # one file has more lines than the other: drop (the rest of it) | error
    on_long: str = "drop"  # over ``max_length`` tokens in training: drop | truncate | error
    max_length: int = 256  # tokens of source or target, with </s>
    max_source_tokens: int | None = None  # with </s>; None = all
    max_source_sentences: int | None = None
    max_target_tokens: int | None = None  # with </s>

    def __post_init__(self) -> None:
        """Checks the choices."""
        for option, least in {"max_source_tokens": 2, "max_source_sentences": 1, "max_target_tokens": 2}.items():
            if (most := getattr(self, option)) is not None and most < least:
                reason = "null (no limit) or at least " + ("2, a token and </s>" if least == 2 else "1")
                raise UserError(f"{option}={most} must be {reason}")
        for option, choices in {
            "on_bad": "drop error",
            "on_mismatch": "drop error",
            "on_long": "drop truncate error",
        }.items():
            if getattr(self, option) not in choices.split():
                raise UserError(f"{option}={getattr(self, option)} is none of: {choices.replace(' ', ', ')}")

    def action(self, problem: Problem) -> tuple[str, str]:
        """What to do about a problem, and the option that says so."""
        option = {"without a counterpart": "on_mismatch", "too long": "on_long"}.get(problem, "on_bad")
        return getattr(self, option), f"data.{option}"


@dataclass
class Report:
    """The records of one split: how many were kept, and where the others are."""

    split: str
    kept: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # problem, or what was cut -> records
    places: dict[str, list[str]] = field(default_factory=dict)  # the first places of each
    actions: dict[str, str] = field(default_factory=dict)  # what was done about each
    last_cut: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)  # place of each kind
    unread: dict[str, list[int] | None] = field(default_factory=dict)  # {picture that can't be read: its size, time}

    def add(self, problem: Problem, place: str, policy: Policy) -> None:
        """Notes a problem; raises where the policy says ``error``."""
        action, option = policy.action(problem)
        if action == "error":
            remedy = "truncate or drop" if problem == "too long" else "drop"
            raise UserError(f"{place}: {problem} ({self.split}); mend the data or set {option}={remedy}")
        if action == "drop":  # what is dropped counts once
            for what in [what for what, cut in self.last_cut.items() if cut == place]:
                self._take_back(what)
        self._note(problem, {"drop": "dropped", "truncate": "truncated"}[action], place)

    def cut(self, what: str, place: str) -> None:
        """Notes that a record, which stays, was shortened: one of ``what``, such as "sources over 400 tokens"."""
        self._note(what, "cut", place)
        self.last_cut[what] = place

    def _take_back(self, what: str) -> None:
        """Forget the last cut of a kind."""
        place = self.last_cut.pop(what)
        self.counts[what] -= 1
        if self.places[what][-1] == place:
            self.places[what].pop()
        if not self.counts[what]:
            del self.counts[what], self.places[what], self.actions[what]

    def _note(self, what: str, action: str, place: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        self.actions[what] = action
        if len(places := self.places.setdefault(what, [])) < LISTED:
            places.append(place)

    def lines(self, shown: int = 5) -> list[str]:
        """A line for each kind of problem, with the first places."""
        lines = []
        for problem, count in self.counts.items():
            places = ", ".join(self.places[problem][:shown]) + (", ..." if count > shown else "")
            lines.append(f"{self.split}: {count} {problem}, {self.actions[problem]}: {places}")
        return lines

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {name: value for name, value in asdict(self).items() if name != "last_cut"}


def accepted(rows: Iterable[Row], policy: Policy, report: Report) -> Iterator[tuple[str, Record]]:
    """Yield (place, record) of the rows that can be used; the others go to ``report``."""
    for row in rows:
        if row.record is None or row.problem is not None:
            fault: Fault | None = Fault(row.problem or "malformed", row.reason)
        else:
            fault = fault_of(row.record)
        if fault is None:
            assert row.record is not None
            yield row.place, row.record
        else:
            reason = f" ({' '.join(fault.reason.split())[:SAID]})" if fault.reason else ""
            report.add(fault.problem, row.place + reason, policy)


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
