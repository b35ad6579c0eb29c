"""Tests of the probes: answers equal those of a second computation; splits are disjoint and have the given lengths."""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import replace

import pytest

from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.records import Record
from seq2seq.data.toy.probes import Copy, Insert, Needle, Probe, Reverse, Sort
from seq2seq.errors import UserError

AT = DataLocation(None, "source", "target")
PROBES = (Copy, Reverse, Sort, Insert, Needle)
Splits = dict[str, list[Record]]


def read(reader: Probe) -> Splits:
    """Return the records of each split."""
    return {split: [row.record for row in reader.rows(split, AT) if row.record] for split in reader.splits(AT)}


@pytest.fixture(scope="module", params=PROBES, ids=lambda probe: probe.__name__)
def probe(request: pytest.FixtureRequest) -> Probe:
    """Return a probe of each kind."""
    return request.param()


@pytest.fixture(scope="module")
def splits(probe: Probe) -> Splits:
    """Return the records of each split of the probe."""
    return read(probe)


@pytest.fixture(scope="module")
def everything(splits: Splits) -> list[Record]:
    """Return all records of the probe."""
    return [record for records in splits.values() for record in records]


def linked(record: Record, links: str = "alignment") -> list[list[str]]:
    """Return, for each target word, the source words that it is linked to."""
    source, size = record["source"].split(), len(record["target"].split())
    return [[source[i] for i, j in record[links] if j == place] for place in range(size)]


def test_splits_have_the_given_sizes_and_lengths(probe: Probe, splits: Splits) -> None:
    for split, (least, most) in {"train": probe.lengths, "valid": probe.lengths, "test": probe.test_lengths}.items():
        lengths = Counter(len(record["source"].split()) for record in splits[split])
        assert sum(lengths.values()) == getattr(probe, split)
        assert min(lengths) >= least and max(lengths) <= most
        assert len(lengths) >= 0.9 * (most - least + 1)
    assert probe.lengths[1] < probe.test_lengths[0]


def test_no_source_is_in_two_splits_or_twice(everything: list[Record]) -> None:
    assert max(Counter(record["source"] for record in everything).values()) == 1


def test_words_of_evaluation_occur_in_training(splits: Splits) -> None:
    for side in ("source", "target"):
        seen = Counter(word for record in splits["train"] for word in record[side].split())
        assert min(seen.values()) >= 50
        asked = {word for split in ("valid", "test") for record in splits[split] for word in record[side].split()}
        assert asked <= set(seen)


def test_links_are_valid_and_cover_the_target(everything: list[Record]) -> None:
    for record in everything:
        source, target = len(record["source"].split()), len(record["target"].split())
        sure, possible = ({tuple(link) for link in record[name]} for name in ("alignment", "possible"))
        assert all(0 <= i < source and 0 <= j < target for i, j in sure | possible)
        assert len(sure) == len(record["alignment"]) and not sure & possible
        assert len({j for _, j in sure}) == len(sure) == len({i for i, _ in sure})  # one to one
        assert {j for _, j in sure | possible} == set(range(target))  # each target word has a link


def test_fingerprint_depends_on_seed_and_options(probe: Probe) -> None:
    small = replace(probe, train=50, valid=5, test=5)
    assert small.fingerprint("train", AT) == replace(small).fingerprint("train", AT)
    assert small.fingerprint("train", AT) != replace(small, seed=2).fingerprint("train", AT)
    assert small.fingerprint("train", AT) != replace(small, symbols=9).fingerprint("train", AT)


def test_copy() -> None:
    for record in (record for records in read(Copy()).values() for record in records):
        assert record["target"] == record["source"]
        assert all(i == j for i, j in record["alignment"]) and not record["possible"]


def test_reverse() -> None:
    for record in (record for records in read(Reverse()).values() for record in records):
        size = len(record["source"].split())
        assert record["target"].split()[::-1] == record["source"].split()
        assert all(i + j == size - 1 for i, j in record["alignment"]) and not record["possible"]


def test_sort() -> None:
    ties = 0
    for record in (record for records in read(Sort()).values() for record in records):
        source, target = ([*map(int, record[side].split())] for side in ("source", "target"))
        assert target == [n for n in range(10) for _ in range(source.count(n))]
        assert linked(record) == [[word] for word in record["target"].split()]
        place = {j: i for i, j in record["alignment"]}
        for j in range(1, len(target)):
            if target[j] == target[j - 1]:
                ties += 1
                assert place[j] > place[j - 1]
        for word, others in zip(record["target"].split(), linked(record, "possible"), strict=True):
            assert others == [word] * (record["source"].split().count(word) - 1)
    assert ties > 1000
    few = Sort(symbols=12, train=50)
    assert {word for record in read(few)["train"] for word in record["source"].split()} == set(map(str, range(12)))


def test_insert() -> None:
    words = {"d": "la", "h": "de", "l": "en", "p": "la", "t": "de", "x": "en"}  # every fourth letter, by hand
    for record in (record for records in read(Insert()).values() for record in records):
        expected = re.sub("[dhlptx]", lambda found: f"{words[found[0]]} {found[0]}", record["source"])
        assert record["target"] == "".join(c.upper() if len(c) == 1 else c for c in re.split(r"(\w\w|\W)", expected))
        sure, maybe = linked(record), linked(record, "possible")
        for word, links, near in zip(record["target"].split(), sure, maybe, strict=True):
            assert (links, near) == ([word.lower()], []) if word.isupper() else not links and len(near) in (1, 2)
        assert [i for i, _ in record["alignment"]] == list(range(len(record["source"].split())))  # in order
    assert Insert().answer(["d", "a", "h"]) == [
        ("la", (), (0,)),
        ("D", (0,), ()),
        ("A", (1,), ()),
        ("de", (), (1, 2)),
        ("H", (2,), ()),
    ]


@pytest.mark.parametrize("value", [4, 1])
def test_needle(value: int) -> None:
    places: Counter[int] = Counter()
    for record in (record for records in read(Needle(value=value)).values() for record in records):
        hay, needle = re.split("(?:^| )! ", record["source"])
        assert needle.split()[:value] == record["target"].split()
        assert "!" not in hay + needle
        first = len(hay.split()) + 1
        assert record["alignment"] == [[first + j, j] for j in range(value)] and not record["possible"]
        places[round(10 * first / len(record["source"].split()))] += 1
    assert min(places[tenth] for tenth in range(1, 9)) > 100  # the needle may be in any part


def test_symbols_after_the_letters_have_numbers() -> None:
    words = Copy(symbols=60).words
    assert words[:26] == list(string.ascii_lowercase) and words[26] == "a1" and words[59] == "h2"
    assert len(set(words)) == 60


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Copy(lengths=[5]), r"^lengths=\[5\] must be \[least, most\], and least must be at least 1"),
        (lambda: Copy(test_lengths=[5, 4]), r"^test_lengths=\[5, 4\] must be"),
        (lambda: Copy(symbols=1), "^symbols=1 must be at least 2"),
        (lambda: Needle(value=0), "^value=0 must be at least 1"),
        (lambda: Needle(value=16), r"^lengths=\[16, 48\] must be \[least, most\], and least must be at least 17"),
        (
            lambda: read(Copy(symbols=2, lengths=[3, 3])),
            r"^lengths=\[3, 3\] does not allow enough different sources",
        ),
    ],
)
def test_invalid_options_are_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
