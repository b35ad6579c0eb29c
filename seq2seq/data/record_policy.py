"""Policy for records that are empty, bad or long, and the report of what happened to them.

- Rows without a usable record are dropped or stop the run (``on_bad``, ``on_mismatch``). ``records.fault_of`` decides
  which records are unusable.
- Sources are cut in every split and in generation: to ``max_source_sentences``, then to ``max_source_tokens`` (See
  2017, section 5: 400 and 100).
- Targets are cut only in training, to ``max_target_tokens``: evaluation uses the whole reference.
- Training examples that are still over ``max_length`` are dropped, cut, or stop the run (``on_long``).

If an image becomes unreadable after its split was encoded, it is left out of its batch (``collate.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from seq2seq.data.example import Example, Ids
from seq2seq.data.records import Fault, Problem, Record, Row, fault_of
from seq2seq.errors import UserError

MAX_REASON = 200  # characters that are kept of a reason, which may quote the data
MAX_PLACES = 1000  # places that are kept for each problem; the counts are complete


@dataclass(frozen=True)
class Policy:
    """Actions for records that cannot be used as they are.

    The last three options cut records without dropping any.
    """

    on_bad: str = "drop"  # for empty, not UTF-8, malformed records: drop | error
    on_mismatch: str = "error"  # for a file with more lines than the other: drop (the rest of it) | error
    on_long: str = "drop"  # for training records over ``max_length``: drop | truncate | error
    max_length: int = 256  # bound on the tokens of a training source or target, with </s>
    max_source_tokens: int | None = None  # largest number of tokens kept, with </s>; None = all
    max_source_sentences: int | None = None  # largest number of sentences kept of a document; None = all
    max_target_tokens: int | None = None  # largest number of tokens kept in training, with </s>; None = all

    def __post_init__(self) -> None:
        """Check the limits and the actions."""
        # Check the limits; a cut text keeps at least one token and </s>, or one sentence.
        for option, least in {"max_source_tokens": 2, "max_source_sentences": 1, "max_target_tokens": 2}.items():
            if (most := getattr(self, option)) is not None and most < least:
                reason = "null (no limit) or at least " + ("2, a token and </s>" if least == 2 else "1")
                raise UserError(f"{option}={most} must be {reason}")
        # Check the actions.
        for option, choices in {
            "on_bad": "drop error",
            "on_mismatch": "drop error",
            "on_long": "drop truncate error",
        }.items():
            if getattr(self, option) not in choices.split():
                raise UserError(f"{option}={getattr(self, option)} is none of: {choices.replace(' ', ', ')}")

    def action(self, problem: Problem) -> tuple[str, str]:
        """Return the action for a problem, and the option that sets it.

        Args:
            problem: Problem of a record.
        """
        option = {"without a counterpart": "on_mismatch", "too long": "on_long"}.get(problem, "on_bad")
        return getattr(self, option), f"data.{option}"

    def cut_source(self, example: Example, place: str = "", report: Report | None = None) -> Example:
        """Return an example with its source cut to the limits.

        Args:
            example: Example of any split.
            place: Origin of the example for ``report``.
            report: Report that counts the example if it is cut.
        """
        return example.cut(self.source_limit(len(example.source), example.sizes, place, report))

    def source_limit(self, length: int, sizes: Ids | None, place: str = "", report: Report | None = None) -> int:
        """Return the number of source tokens to keep, in any split.

        Args:
            length: Number of tokens of the source, with ``</s>``.
            sizes: Tokens of each sentence of a document; None for a text without sentence boundaries.
            place: Origin of the source for ``report``.
            report: Report that counts the source if it is cut.
        """
        # Keep the first sentences, and </s>.
        if sizes is not None and (sentences := self.max_source_sentences) is not None and len(sizes) > sentences:
            length = int(sum(sizes[:sentences])) + 1
            _count_cut("sources", sentences, "sentence", place, report)
        if (tokens := self.max_source_tokens) is not None and length > tokens:
            length = tokens
            _count_cut("sources", tokens, "token", place, report)
        return length

    def target_limit(self, length: int, place: str = "", report: Report | None = None) -> int:
        """Return the number of tokens to keep of a training target.

        Args:
            length: Number of tokens of the target, with ``</s>`` but without ``<s>``.
            place: Origin of the target for ``report``.
            report: Report that counts the target if it is cut.
        """
        if (tokens := self.max_target_tokens) is not None and length > tokens:
            length = tokens
            _count_cut("targets", tokens, "token", place, report)
        return length

    def fit(self, example: Example, place: str, report: Report) -> Example | None:
        """Return an example as training uses it, or None if it is dropped because of its length.

        Args:
            example: Example with a target.
            place: Origin of the example for ``report``.
            report: Report that counts the example if it is too long.
        """
        assert example.target is not None
        # The limit on targets cuts first, so that a cut target may fit.
        example = example.cut(target=self.target_limit(len(example.target) - 1, place, report))
        if self.fits(example):
            return example
        report.add("too long", place, self)
        return self.truncated(example) if self.on_long == "truncate" else None

    def fits(self, example: Example) -> bool:
        """Return whether both sides are at most as long as a training example may be.

        Args:
            example: Example to check.
        """
        return example.length <= self.max_length

    def truncated(self, example: Example) -> Example:
        """Return an example with both sides cut to the length that a training example may have.

        Args:
            example: Example to cut.
        """
        return example.cut(self.max_length, self.max_length)


@dataclass
class Report:
    """Numbers and places of the records of one split that were kept, cut and dropped."""

    split: str
    kept: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # problem or kind of cut -> number of records
    places: dict[str, list[str]] = field(default_factory=dict)  # problem or kind of cut -> its first places
    actions: dict[str, str] = field(default_factory=dict)  # problem or kind of cut -> what was done
    last_cut: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)  # kind -> place
    unread: dict[str, list[int] | None] = field(default_factory=dict)  # unreadable image -> its size and time

    def add(self, problem: Problem, place: str, policy: Policy) -> None:
        """Count a record with a problem.

        Args:
            problem: Problem of the record.
            place: Place of the record.
            policy: Policy that chooses the action.

        Raises:
            UserError: The policy for this problem is ``error``.
        """
        action, option = policy.action(problem)
        if action == "error":
            remedy = "truncate or drop" if problem == "too long" else "drop"
            raise UserError(f"{place}: {problem} ({self.split}); repair the data or set {option}={remedy}")
        # A dropped record counts only once: forget its cuts.
        if action == "drop":
            for what in [what for what, cut in self.last_cut.items() if cut == place]:
                self._take_back(what)
        self._note(problem, {"drop": "dropped", "truncate": "truncated"}[action], place)

    def cut(self, what: str, place: str) -> None:
        """Count a record that was shortened and kept.

        Args:
            what: Kind of the cut, such as "sources over 400 tokens".
            place: Place of the record.
        """
        self._note(what, "cut", place)
        self.last_cut[what] = place

    def repaired(self, what: str, place: str) -> None:
        """Count a record that was repaired and kept.

        Args:
            what: What was wrong.
            place: Place of the record.
        """
        self._note(what, "repaired", place)

    def _take_back(self, what: str) -> None:
        """Forget the last cut of a kind."""
        place = self.last_cut.pop(what)
        self.counts[what] -= 1
        # The place is absent if the list was full.
        if self.places[what][-1] == place:
            self.places[what].pop()
        if not self.counts[what]:
            del self.counts[what], self.places[what], self.actions[what]

    def _note(self, what: str, action: str, place: str) -> None:
        """Count a record, and keep its place if it is among the first."""
        self.counts[what] = self.counts.get(what, 0) + 1
        self.actions[what] = action
        if len(places := self.places.setdefault(what, [])) < MAX_PLACES:
            places.append(place)

    def lines(self, shown: int = 5) -> list[str]:
        """Return one line for each kind of problem, with its first places.

        Args:
            shown: Number of places to show.
        """
        lines = []
        for problem, count in self.counts.items():
            places = ", ".join(self.places[problem][:shown]) + (", ..." if count > shown else "")
            lines.append(f"{self.split}: {count} {problem}, {self.actions[problem]}: {places}")
        return lines

    def as_dict(self) -> dict[str, object]:
        """Return the fields for JSON."""
        # The last cuts matter only while records are read.
        return {name: value for name, value in asdict(self).items() if name != "last_cut"}


def accepted(rows: Iterable[Row], policy: Policy, report: Report) -> Iterator[tuple[str, Record]]:
    """Yield (place, record) of the rows that can be used.

    Args:
        rows: Rows as they are read.
        policy: Policy for rows that cannot be used.
        report: Report that counts rows that cannot be used.
    """
    for row in rows:
        if row.record is None or row.problem is not None:
            fault: Fault | None = Fault(row.problem or "malformed", row.reason)
        else:
            fault = fault_of(row.record)
        if fault is None:
            assert row.record is not None
            if row.note:
                report.repaired(row.note, row.place)
            yield row.place, row.record
        else:
            # A reason may quote a long text of the data.
            reason = f" ({' '.join(fault.reason.split())[:MAX_REASON]})" if fault.reason else ""
            report.add(fault.problem, row.place + reason, policy)


def _count_cut(side: str, most: int, unit: str, place: str, report: Report | None) -> None:
    """Count a cut in the report, if there is one."""
    if report is not None:
        report.cut(f"{side} over {most} {unit}{'' if most == 1 else 's'}", place)
