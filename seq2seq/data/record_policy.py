"""What happens to records that are empty, bad or long, and the report of it.

- Rows that hold no usable record are dropped, or end the run: ``on_bad`` and ``on_mismatch``. ``records.fault_of`` says
  what makes a record unusable.
- Sources are cut in every split and in generation: to ``max_source_sentences``, then to ``max_source_tokens``
  (See 2017, section 5: 400 and 100).
- Targets are cut in training alone, to ``max_target_tokens``: a reference is scored whole.
- Training examples that are still over ``max_length`` are dropped, cut, or end the run: ``on_long``.

An image that becomes unreadable after its split was encoded is left out of its batch (``collate.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from seq2seq.data.example import Example, Ids
from seq2seq.data.records import Fault, Problem, Record, Row, fault_of
from seq2seq.errors import UserError

MAX_REASON = 200  # characters of a reason, which may quote the data
MAX_PLACES = 1000  # places kept for each reason; the counts are complete


@dataclass(frozen=True)
class Policy:
    """What happens to records that cannot be used as they are.

    The last three options cut records without dropping any.
    """

    on_bad: str = "drop"  # empty, not UTF-8, malformed: drop | error
    on_mismatch: str = "error"  # one file has more lines than the other: drop (the rest of it) | error
    on_long: str = "drop"  # over ``max_length`` tokens in training: drop | truncate | error
    max_length: int = 256  # tokens of source or target, with </s>
    max_source_tokens: int | None = None  # with </s>; None = all
    max_source_sentences: int | None = None
    max_target_tokens: int | None = None  # with </s>

    def __post_init__(self) -> None:
        """Check the choices and the limits."""
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
        """Return what to do about a problem, and the option that says so."""
        option = {"without a counterpart": "on_mismatch", "too long": "on_long"}.get(problem, "on_bad")
        return getattr(self, option), f"data.{option}"

    def cut_source(self, example: Example, place: str = "", report: Report | None = None) -> Example:
        """Return ``example`` with as much of its source as may stay; what goes is counted in ``report``."""
        return example.cut(self.source_limit(len(example.source), example.sizes, place, report))

    def source_limit(self, length: int, sizes: Ids | None, place: str = "", report: Report | None = None) -> int:
        """Return how many of the ``length`` tokens of a source stay, in any split.

        A text that is not a document (``sizes`` None) has no sentences to count.
        """
        if sizes is not None and (sentences := self.max_source_sentences) is not None and len(sizes) > sentences:
            length = int(sum(sizes[:sentences])) + 1
            _count_cut("sources", sentences, "sentence", place, report)
        if (tokens := self.max_source_tokens) is not None and length > tokens:
            length = tokens
            _count_cut("sources", tokens, "token", place, report)
        return length

    def target_limit(self, length: int, place: str = "", report: Report | None = None) -> int:
        """Return how many of the ``length`` tokens of a training target stay, ``<s>`` not counted."""
        if (tokens := self.max_target_tokens) is not None and length > tokens:
            length = tokens
            _count_cut("targets", tokens, "token", place, report)
        return length

    def fit(self, example: Example, place: str, report: Report) -> Example | None:
        """Return ``example`` as it is trained on, or None where it is dropped for its length."""
        assert example.target is not None
        example = example.cut(target=self.target_limit(len(example.target) - 1, place, report))
        if self.fits(example):
            return example
        report.add("too long", place, self)
        return self.truncated(example) if self.on_long == "truncate" else None

    def fits(self, example: Example) -> bool:
        """Whether neither side is longer than a training example may be."""
        return example.length <= self.max_length

    def truncated(self, example: Example) -> Example:
        """Cut both sides to the length that a training example may have."""
        return example.cut(self.max_length, self.max_length)


@dataclass
class Report:
    """The records of one split: how many were kept, and where the others are."""

    split: str
    kept: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # problem, or what was cut -> records
    places: dict[str, list[str]] = field(default_factory=dict)  # the first places of each
    actions: dict[str, str] = field(default_factory=dict)  # what was done about each
    last_cut: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)  # place of each kind
    unread: dict[str, list[int] | None] = field(default_factory=dict)  # {unreadable image: its size, time}

    def add(self, problem: Problem, place: str, policy: Policy) -> None:
        """Count a problem.

        Raises:
            UserError: The policy for this problem is ``error``.
        """
        action, option = policy.action(problem)
        if action == "error":
            remedy = "truncate or drop" if problem == "too long" else "drop"
            raise UserError(f"{place}: {problem} ({self.split}); mend the data or set {option}={remedy}")
        if action == "drop":  # a dropped record counts once, so that its cuts are taken back
            for what in [what for what, cut in self.last_cut.items() if cut == place]:
                self._take_back(what)
        self._note(problem, {"drop": "dropped", "truncate": "truncated"}[action], place)

    def cut(self, what: str, place: str) -> None:
        """Count a record that was shortened and stays: one of ``what``, such as "sources over 400 tokens"."""
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
        if len(places := self.places.setdefault(what, [])) < MAX_PLACES:
            places.append(place)

    def lines(self, shown: int = 5) -> list[str]:
        """Return a line for each kind of problem, with the first places."""
        lines = []
        for problem, count in self.counts.items():
            places = ", ".join(self.places[problem][:shown]) + (", ..." if count > shown else "")
            lines.append(f"{self.split}: {count} {problem}, {self.actions[problem]}: {places}")
        return lines

    def as_dict(self) -> dict[str, object]:
        """Return the fields for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "last_cut"}


def accepted(rows: Iterable[Row], policy: Policy, report: Report) -> Iterator[tuple[str, Record]]:
    """Yield (place, record) of the rows that can be used; the others are counted in ``report``."""
    for row in rows:
        if row.record is None or row.problem is not None:
            fault: Fault | None = Fault(row.problem or "malformed", row.reason)
        else:
            fault = fault_of(row.record)
        if fault is None:
            assert row.record is not None
            yield row.place, row.record
        else:
            reason = f" ({' '.join(fault.reason.split())[:MAX_REASON]})" if fault.reason else ""
            report.add(fault.problem, row.place + reason, policy)


def _count_cut(side: str, most: int, unit: str, place: str, report: Report | None) -> None:
    if report is not None:
        report.cut(f"{side} over {most} {unit}{'' if most == 1 else 's'}", place)
