"""Tests of the task of strings: both notations of inputs, and the choice of the rules."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from seq2seq.data.codec import TextCodec
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.tasks.base import ScoredRecords
from seq2seq.tasks.transduction import Transduction

TASK = Transduction(["exact_match", "per", "bleu"])


def scored(training: list[Record], records: list[Record], target: str = "letters") -> ScoredRecords:
    """Return records whose outputs are all wrong, with a codec of letters."""
    source = Tokenizer.train([record["source"] for record in training], type="letters")
    codec = TextCodec(source, Tokenizer.train([record["target"] for record in training], type=target))
    return ScoredRecords(records, ["?"] * len(records), [[r["target"]] for r in records], [], codec, lambda: training)


def test_inputs_have_both_notations_of_features(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("Haus\tN;DAT(PL)\nHaus <N> <DAT>\nHa\u0308user\nHaus\t\n", encoding="utf-8")
    found = {
        where: [source for _, source in TASK.inputs(str(file), OmegaConf.create({"features": where}))]
        for where in ("suffix", "prefix")
    }
    assert found["suffix"] == ["Haus <N> <DAT> <PL>", "Haus <N> <DAT>", "H\u00e4user", "Haus"]
    assert found["prefix"][0] == "<N> <DAT> <PL> Haus"


def test_sources_with_features_get_suffix_rules() -> None:
    training = [Record(source="ab <PL>", target="ab s"), Record(source="cd <SG>", target="cd")]
    results = TASK.scores(scored(training, [Record(source="eb <PL>", target="eb s"), Record(source="b", target="a")]))
    assert results.keys() == {"exact_match_rules", "per_rules"}
    assert results["exact_match_rules"].score == 50.0
    assert results["exact_match_rules"].signature.startswith("rules:suffix|exact_match|")


def test_other_sources_get_aligned_rules() -> None:
    training = [Record(source="ab", target="A B"), Record(source="ba", target="B A")]
    results = TASK.scores(scored(training, [Record(source="abba", target="A B B A")], target="word"))
    assert results["per_rules"].score == 0.0 and results["exact_match_rules"].score == 100.0
    assert results["per_rules"].signature.startswith("rules:alignment|per|")


def test_without_a_training_split_there_are_no_rules() -> None:
    assert TASK.scores(ScoredRecords([], [], [], [], codec=None)) == {}  # type: ignore[arg-type]
