"""What each policy does with each kind of bad record, and how it is reported."""

from __future__ import annotations

import pytest

from seq2seq.data.records import LISTED, Policy, Record, Report, Row, accepted
from seq2seq.errors import UserError

GOOD = Record(source="a", target="b")
ROWS = [
    Row("f:1", GOOD),
    Row("f:2", Record(source=" \t", target="b")),
    Row("f:3", problem="not UTF-8"),
    Row("f:4", Record(source="a", target="")),
    Row("f:5", problem="without a counterpart"),
]


def test_bad_records_are_counted_with_their_places():
    report = Report("train")
    kept = list(accepted(ROWS, Policy(on_mismatch="drop"), report))
    assert kept == [("f:1", GOOD)]
    assert report.counts == {"empty": 2, "not UTF-8": 1, "without a counterpart": 1}
    assert report.lines() == [
        "train: 2 empty, dropped: f:2, f:4",
        "train: 1 not UTF-8, dropped: f:3",
        "train: 1 without a counterpart, dropped: f:5",
    ]


def test_a_line_too_many_is_an_error_unless_the_user_says_otherwise():
    with pytest.raises(UserError, match=r"f:5: without a counterpart \(train\).*data\.on_mismatch=drop"):
        list(accepted(ROWS, Policy(), Report("train")))


def test_error_stops_at_the_first_bad_record():
    with pytest.raises(UserError, match=r"f:2: empty \(valid\).*data\.on_bad=drop"):
        list(accepted(ROWS, Policy(on_bad="error"), Report("valid")))


def test_the_places_listed_are_bounded_and_the_counts_are_not():
    report = Report("train")
    list(accepted([Row(f"f:{i}", problem="malformed") for i in range(LISTED + 5)], Policy(), report))
    assert report.counts["malformed"] == LISTED + 5
    assert len(report.places["malformed"]) == LISTED
    assert report.lines() == [f"train: {LISTED + 5} malformed, dropped: f:0, f:1, f:2, f:3, f:4, ..."]


@pytest.mark.parametrize("option", ["on_bad", "on_mismatch", "on_long"])
def test_an_unknown_policy_is_refused(option):
    with pytest.raises(UserError, match=f"^{option}=ignore is none of: .*drop"):
        Policy(**{option: "ignore"})
