"""Tests of the toy inflections: forms and links are worked out by hand, and stems of evaluation are not in training."""

from __future__ import annotations

import pytest

from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.records import fault_of
from seq2seq.data.toy.transduction import TAGS, ToyTransduction, inflected

AT = DataLocation(None, "lemma", "form")


@pytest.mark.parametrize(
    ("stem", "tags", "form"),
    [
        ("kitap", ["ACC"], "kitabı"),  # the last vowel is back and unrounded; p becomes b before a vowel
        ("kitap", ["PL"], "kitaplar"),
        ("kitap", ["PL", "DAT"], "kitaplara"),
        ("kitap", ["LOC"], "kitapta"),  # t after a voiceless consonant; p stays
        ("göz", ["ACC"], "gözü"),
        ("göz", ["LOC"], "gözde"),
        ("göz", ["PL", "ACC"], "gözleri"),  # the vowel follows the plural's e
        ("kutu", ["ACC"], "kutuyu"),  # y between vowels
        ("kutu", ["DAT"], "kutuya"),
        ("renk", ["DAT"], "renğe"),
        ("ağaç", ["ACC"], "ağacı"),
        ("kanat", ["DAT"], "kanada"),
    ],
)
def test_forms_by_hand(stem: str, tags: list[str], form: str) -> None:
    record = inflected(stem, tags)
    assert record["source"] == " ".join([*stem, *tags]) and record["target"] == " ".join(form)


def test_links_by_hand() -> None:
    """k i t a p PL ACC -> k i t a p l a r ı: the plural's a depends on the stem's a, and the last ı on the plural."""
    record = inflected("kitap", ["PL", "ACC"])
    assert record["alignment"] == [[n, n] for n in range(5)] + [[5, 5], [5, 6], [5, 7], [6, 8]]
    assert record["possible"] == [[3, 6], [5, 8]]
    voiced = inflected("kitap", ["ACC"])
    assert voiced["alignment"] == [[n, n] for n in range(6)] and voiced["possible"] == [[5, 4], [3, 5]]


def test_records_are_valid_and_stems_of_evaluation_are_not_in_training() -> None:
    reader = ToyTransduction(train=300, valid=20, test=40, seed=2)
    tags = {tag for several in TAGS for tag in several}
    stems: dict[str, set[str]] = {}
    for split in reader.splits(AT):
        records = [row.record for row in reader.rows(split, AT)]
        assert all(record is not None and fault_of(record) is None for record in records)
        for record in records:
            assert {j for _, j in record["alignment"]} == set(range(len(record["target"].split())))
        stems[split] = {"".join(s for s in record["source"].split() if s not in tags) for record in records}
        assert len(stems[split]) == len(records)
    assert not stems["train"] & stems["test"] and not stems["train"] & stems["valid"]
    again = [row.record for row in ToyTransduction(train=300, valid=20, test=40, seed=2).rows("test", AT)]
    assert again == records
