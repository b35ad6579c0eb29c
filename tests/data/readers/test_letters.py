"""Tests of the reader of letters: columns, features, groups, languages, normal forms and bad lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from seq2seq.config.instantiate import CONF, build_node
from seq2seq.data.letters import symbols
from seq2seq.data.readers.letters import NOT_NFC, LetterReader, parts_of, with_features
from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.record_policy import Policy, Report, accepted
from seq2seq.data.records import Row, group_id
from seq2seq.data.text import TextCorpus
from seq2seq.data.tokenizer import TokenizerOptions
from seq2seq.errors import UserError

NAMES = {"train": "{language}.trn", "valid": "{language}.dev|{language}_dev", "test": "{language}.tst"}
COLUMNS = ["lemma", "features", "form"]
READER = LetterReader(NAMES, COLUMNS)


def at(path: Path | None, **options: str | None) -> DataLocation:
    """Return the location of an inflection dataset."""
    return DataLocation(path, "lemma", "form", **{"language": "deu", **options})  # type: ignore[arg-type]


def written(folder: Path, text: str, name: str = "deu.trn") -> Path:
    """Write a file of the dataset, and return its folder."""
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def rows(folder: Path, **options: str | None) -> list[Row]:
    """Return the rows of the training split."""
    return list(READER.rows("train", at(folder, **options)))


def test_features_are_parts_of_the_bundle() -> None:
    """Parts are split at ; and , and brackets; the order tells which belongs to which."""
    assert parts_of("V;IPFV;NOM(MASC,SG,3)") == ["V", "IPFV", "NOM", "MASC", "SG", "3"]
    assert parts_of("N;ABL(PL;PSS(2,PL))") == ["N", "ABL", "PL", "PSS", "2", "PL"]
    assert parts_of("ADJ;AT+ABL(PL)") == ["ADJ", "AT+ABL", "PL"]
    assert with_features("gehen", "V;PST", "suffix") == "gehen <V> <PST>"
    assert with_features("gehen", "V;PST", "prefix") == "<V> <PST> gehen"
    assert with_features("gehen", "V;PST", "none") == "gehen"


def test_rows_by_hand(tmp_path: Path) -> None:
    written(tmp_path, "Aa machen\tV;IMP;NOM(2,PL)\tmacht Aa\nHaus\tN;ACC;SG\tHaus\r\n")
    first, second = rows(tmp_path)
    assert first.record == {"source": "Aa machen <V> <IMP> <NOM> <2> <PL>", "target": "macht Aa"}
    assert second.record == {"source": "Haus <N> <ACC> <SG>", "target": "Haus"}  # a form may equal its lemma
    assert (first.place, second.place) == ("deu.trn:1", "deu.trn:2")


def test_the_group_is_a_digest_without_the_text(tmp_path: Path) -> None:
    written(tmp_path, "Haus\tN;PL\tHäuser\nHaus\tN;SG\tHaus\nMaus\tN;SG\tMaus\n")
    groups = [row.record["group"] for row in rows(tmp_path, group="lemma") if row.record]
    assert groups == [group_id("Haus"), group_id("Haus"), group_id("Maus")] and "Haus" not in groups[0]


@pytest.mark.parametrize(
    ("line", "problem", "reason"),
    [
        ("Haus\tHäuser", "malformed", "2 cells, but 3 columns: lemma, features, form"),
        ("Haus\tN;PL\tHäuser\tmore", "malformed", "4 cells, but 3 columns: lemma, features, form"),
        ("Haus\t\tHäuser", "malformed", "no features"),
        ("Haus\t;()\tHäuser", "malformed", "no features"),
        ("\u0301a\tN\ta", "malformed", "lemma starts with the combining mark U+0301"),
        ("a\tN\t\u0301a", "malformed", "form starts with the combining mark U+0301"),
        ("a <N>\tN\ta", "malformed", "lemma holds <...>, which is the notation of features"),
        ("", "empty", ""),
        ("a\udcff\tN\ta", "not UTF-8", ""),
    ],
)
def test_bad_lines_are_counted_with_file_and_line(tmp_path: Path, line: str, problem: str, reason: str) -> None:
    written(tmp_path, f"Haus\tN;PL\tHäuser\n{line}\n")
    report = Report("train")
    good, bad = rows(tmp_path)
    assert (bad.place, bad.problem, bad.reason) == ("deu.trn:2", problem, reason)
    assert len(list(accepted([good, bad], Policy(), report))) == 1 and report.counts == {problem: 1}
    with pytest.raises(UserError, match=r"^deu\.trn:2"):
        list(accepted([good, bad], Policy(on_bad="error"), Report("train")))


def test_an_empty_lemma_or_form_is_an_empty_record(tmp_path: Path) -> None:
    """A lemma that is missing is not hidden by the features of its source."""
    written(tmp_path, "\tN;PL\tHäuser\nHaus\tN;PL\t \n")
    report = Report("train")
    assert list(accepted(rows(tmp_path), Policy(), report)) == [] and report.counts == {"empty": 2}


def test_mixed_normal_forms_become_one_and_are_counted(tmp_path: Path) -> None:
    written(tmp_path, "Häuser\tN\tHäuser\nHa\u0308user\tN\tHa\u0308user\n")
    report = Report("train")
    records = [record for _, record in accepted(rows(tmp_path), Policy(), report)]
    assert records[0] == records[1] and len(symbols(records[1]["target"])) == 6
    assert report.counts == {NOT_NFC: 1}
    assert report.lines() == ["train: 1 not in the normal form NFC, repaired: deu.trn:2"]


def test_features_may_be_left_out(tmp_path: Path) -> None:
    written(tmp_path, "Haus\t\tHäuser\n")
    (row,) = rows(tmp_path, features="none")
    assert row.record == {"source": "Haus", "target": "Häuser"}


def test_the_language_chooses_the_files(tmp_path: Path) -> None:
    for name in ("deu.trn", "deu_dev", "eng.trn"):
        written(tmp_path, "a\tN\tb\n", name)
    assert READER.splits(at(tmp_path)) == ["train", "valid"]
    assert READER.files("valid", at(tmp_path)) == str(tmp_path / "deu_dev")
    with pytest.raises(UserError, match=r"^data.language=fin has no files in .*; there are deu, eng$"):
        READER.splits(at(tmp_path, language="fin"))
    with pytest.raises(UserError, match=r"^data.language=null: choose a language; there are deu, eng$"):
        READER.splits(at(tmp_path, language=None))
    with pytest.raises(UserError, match=r"^data.group=word is none of the columns lemma, features, form$"):
        READER.splits(at(tmp_path, group="word"))
    with pytest.raises(UserError, match=r"^data.reader.columns=\['lemma', 'lemma'\] names lemma twice"):
        replace(READER, columns=["lemma", "lemma"]).splits(at(tmp_path))


def test_the_fingerprint_follows_content_language_and_features(tmp_path: Path) -> None:
    for name in ("deu.trn", "eng.trn"):
        written(tmp_path, "a\tN\tb\n", name)
    one = READER.fingerprint("train", at(tmp_path))
    assert one != READER.fingerprint("train", at(tmp_path, language="eng"))
    assert one != READER.fingerprint("train", at(tmp_path, features="none"))
    written(tmp_path, "a\tN\tc\n")
    assert one != READER.fingerprint("train", at(tmp_path))


def test_files_of_the_home_are_read_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader of ``datasets`` reads a local file in place of an address."""
    written(tmp_path, "Haus\tN;PL\tHäuser\n\nnan\tN\tnull\n")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    reader = LetterReader(NAMES, COLUMNS, {"train": f"{tmp_path}/{{language}}.trn"})
    assert reader.splits(at(None)) == ["train"]
    found = list(reader.rows("train", at(None)))
    assert [row.record and row.record["target"] for row in found] == ["Häuser", None, "null"]
    assert [row.place for row in found] == ["deu.trn:1", "deu.trn:2", "deu.trn:3"]
    with pytest.raises(UserError, match=r"cannot be loaded from its home .*set data.path=DIR$"):
        list(reader.rows("train", at(None, language="eng")))


@pytest.mark.parametrize("data", ["inflection", "g2p", "transliteration"])
def test_unused_options_are_named(data: str, tmp_path: Path) -> None:
    """Words without features have no place for them, and pairs of strings have no language."""
    from omegaconf import OmegaConf

    reader = build_node(OmegaConf.load(CONF / "data" / f"{data}.yaml").reader)
    unread = reader.unread(DataLocation(tmp_path, "a", "b"))
    expected = {
        "inflection": {"reader.home"},
        "g2p": {"reader.home", "features"},
        "transliteration": {"reader.home", "features", "language"},
    }
    assert unread.keys() == expected[data]


def test_gold_links_and_letters_exclude_each_other(tmp_path: Path) -> None:
    from seq2seq.data.readers.tables import TableReader

    line = '{"en": "ab", "de": "cd", "alignment": [[0, 0]]}\n'
    (tmp_path / "train.jsonl").write_text(line, encoding="utf-8")
    corpus = TextCorpus(
        *("gold", "en", "de", TableReader(), str(tmp_path)),
        tokenizer=TokenizerOptions(type="letters", joint=False),
        cache=str(tmp_path / "cache"),
    )
    with pytest.raises(UserError, match=r"^train.jsonl:1: gold links number words, .* data.tokenizer.type=word$"):
        corpus.setup(["train"])
