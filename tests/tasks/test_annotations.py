"""Tests of the annotations of a record that are valid for an output."""

from __future__ import annotations

from seq2seq.data.records import Record
from seq2seq.tasks.annotations import Annotations, annotations_of, gold_of

BOX = [0.0, 0.0, 0.5, 0.5]
RECORD = Record(
    source="ein roter Hund",
    target="a red dog",
    references=["a red dog", "one dog"],
    alignment=[[0, 0], [1, 1], [2, 2]],
    possible=[[1, 2]],
    origins=[0, 0, 0],
    regions=[[[], BOX, BOX], [[], BOX]],
)


def test_an_output_equal_to_the_target_has_all_annotations() -> None:
    known = annotations_of(RECORD, "a  red dog")
    assert known.gold is not None and known.gold.sure == {(0, 0), (1, 1), (2, 2)}
    assert known.gold == gold_of(RECORD)
    assert (known.origins, known.regions) == ([0, 0, 0], [[], BOX, BOX])


def test_an_output_equal_to_another_reference_has_only_its_regions() -> None:
    assert annotations_of(RECORD, "one dog") == Annotations(regions=[[], BOX], reference="a red dog")
    assert annotations_of(RECORD, "a cat") == Annotations(reference="a red dog")


def test_a_record_without_annotations_has_none() -> None:
    assert annotations_of(Record(source="x", target="y"), "y") == Annotations(reference="y")
