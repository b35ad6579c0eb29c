"""Tests of the policies for bad and long records, and of their reports."""

from __future__ import annotations

from random import Random

import pytest

from seq2seq.data.example import cut_sizes
from seq2seq.data.record_policy import MAX_PLACES, Policy, Report, accepted
from seq2seq.data.records import Record, Row
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


def test_line_without_a_counterpart_is_an_error_by_default():
    with pytest.raises(UserError, match=r"f:5: without a counterpart \(train\).*data\.on_mismatch=drop"):
        list(accepted(ROWS, Policy(), Report("train")))


def test_on_bad_error_stops_at_the_first_bad_record():
    with pytest.raises(UserError, match=r"f:2: empty \(valid\).*data\.on_bad=drop"):
        list(accepted(ROWS, Policy(on_bad="error"), Report("valid")))


def test_report_limits_its_places_but_not_its_counts():
    report = Report("train")
    list(accepted([Row(f"f:{i}", problem="malformed") for i in range(MAX_PLACES + 5)], Policy(), report))
    assert report.counts["malformed"] == MAX_PLACES + 5
    assert len(report.places["malformed"]) == MAX_PLACES
    assert report.lines() == [f"train: {MAX_PLACES + 5} malformed, dropped: f:0, f:1, f:2, f:3, f:4, ..."]


@pytest.mark.parametrize("option", ["on_bad", "on_mismatch", "on_long"])
def test_an_unknown_policy_is_refused(option):
    with pytest.raises(UserError, match=f"^{option}=ignore is none of: .*drop"):
        Policy(**{option: "ignore"})


def test_sentences_are_cut_before_tokens():
    sizes = [3, 4, 5]  # x x x | x x x x | x x x x </s>
    assert Policy().source_limit(12, sizes) == 12
    assert Policy(max_source_sentences=3, max_source_tokens=12).source_limit(12, sizes) == 12
    assert Policy(max_source_sentences=2).source_limit(12, sizes) == 8  # seven tokens and </s>
    assert Policy(max_source_sentences=2, max_source_tokens=6).source_limit(12, sizes) == 6
    assert Policy(max_source_sentences=1).source_limit(12, None) == 12
    assert Policy(max_target_tokens=4).target_limit(9) == 4
    assert Policy(max_target_tokens=4).target_limit(4) == 4


def test_sizes_of_cut_sources_add_up_to_their_length():
    random = Random(1)
    for _ in range(500):
        sizes = [random.randint(1, 6) for _ in range(random.randint(1, 8))]
        sizes[-1] += 1
        policy = Policy(
            max_source_tokens=random.choice([None, random.randint(2, 30)]),
            max_source_sentences=random.choice([None, random.randint(1, 9)]),
        )
        length = policy.source_limit(sum(sizes), sizes)
        left = cut_sizes(sizes, length)
        assert sum(left) == length <= sum(sizes)
        assert all(0 < a <= b for a, b in zip(left[:-1], sizes, strict=False))
        assert len(left) <= (policy.max_source_sentences or len(sizes))
        assert length <= (policy.max_source_tokens or length)


def test_cut_records_are_counted_with_their_places():
    policy, report = Policy(max_source_tokens=6, max_source_sentences=2, max_target_tokens=4), Report("train")
    for place, (length, sizes) in enumerate([(12, [3, 4, 5]), (6, [1, 2, 3]), (8, [8]), (3, [3])]):
        policy.source_limit(length, sizes, f"f:{place}", report)
        policy.target_limit(length, f"f:{place}", report)
    assert report.lines() == [
        "train: 2 sources over 2 sentences, cut: f:0, f:1",
        "train: 2 sources over 6 tokens, cut: f:0, f:2",
        "train: 3 targets over 4 tokens, cut: f:0, f:1, f:2",
    ]


@pytest.mark.parametrize(
    ("option", "value"), [("max_source_tokens", 1), ("max_source_sentences", 0), ("max_target_tokens", -3)]
)
def test_too_small_limits_are_refused(option, value):
    with pytest.raises(UserError, match=rf"^{option}={value} must be null .* or at least [12]"):
        Policy(**{option: value})
