"""Tests of groups of records: the cluster bootstrap by its formula, and groups in files of runs and in packs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from seq2seq.cli import evaluate, hydra_app, train
from seq2seq.comparison import packing, packs, page, slices
from seq2seq.comparison.analysis import AnalysisOptions, analyse
from seq2seq.comparison.baseline_rules import has_rules, with_rules
from seq2seq.comparison.record_slices import numbered, source_length
from seq2seq.comparison.run_config import Origin, eval_diff
from seq2seq.comparison.runs import Run, read
from seq2seq.comparison.statistics import Randomiser, Resampler, RunGroup, difference
from seq2seq.comparison.systems import group_systems
from seq2seq.data.records import group_id

VALUES = np.array([0.0, 2.0, 3.0, 7.0])
GROUPS = np.repeat(np.arange(4), 5)


def of_groups(groups: np.ndarray | None) -> RunGroup:
    """Return resampled means of 20 records; the five records of a group are equal."""
    rows = np.stack([np.repeat(VALUES, 5), np.ones(20)], 1)
    return RunGroup.of("a", "exact_match", [rows], Resampler.of(20, 20_000, groups=groups))


def test_the_variance_of_a_mean_over_groups_is_that_of_the_group_means() -> None:
    """Groups of equal size m: the variance is (1/G^2) sum (mean of g - mean)^2, m times that of single records here."""
    expected = ((VALUES - VALUES.mean()) ** 2).sum() / 4**2
    assert of_groups(GROUPS).resampled.var() == pytest.approx(expected, rel=0.03)
    assert of_groups(None).resampled.var() == pytest.approx(expected / 5, rel=0.03)


def test_groups_of_different_sizes_are_drawn_whole() -> None:
    counts = Resampler.of(6, 200, groups=np.array([0, 1, 1, 2, 2, 2])).counts
    assert (counts[:, 1] == counts[:, 2]).all() and (counts[:, 3] == counts[:, 5]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all()  # as many groups as there are
    sides = Randomiser.of(6, 200, groups=np.array([0, 1, 1, 2, 2, 2])).sides
    assert (sides[:, 1] == sides[:, 2]).all() and not (sides[:, 0] == sides[:, 1]).all()


def test_groups_of_one_record_give_the_same_numbers_as_no_groups() -> None:
    single = np.arange(20)
    np.testing.assert_array_equal(Resampler.of(20, 50).counts, Resampler.of(20, 50, groups=single).counts)
    np.testing.assert_array_equal(Randomiser.of(20, 50).sides, Randomiser.of(20, 50, groups=single).sides)


def test_groups_are_numbered_in_the_order_of_their_records() -> None:
    numbers = numbered(["x", "a", "x", "b"])
    assert numbers is not None and numbers.tolist() == [0, 1, 0, 2]
    assert numbered(["x", None]) is None and numbered([]) is None


def test_a_feature_counts_as_one_letter() -> None:
    assert source_length({"source": "ab c <V> <PST>", "features": ["V", "PST"]}, by_letter=True) == 5
    assert source_length({"source": "ab c"}, by_letter=True) == 3
    assert source_length({"source": "ab c!"}, by_letter=False) == 2


def test_a_difference_between_groups_is_less_certain_than_between_records() -> None:
    rows = np.stack([np.repeat(VALUES, 5), np.ones(20)], 1)
    for groups in (None, GROUPS):
        resampler = Resampler.of(20, 2000, groups=groups)
        a, b = (RunGroup.of(n, "exact_match", [r], resampler) for n, r in (("a", rows), ("b", rows * [0.5, 1])))
        p = difference(a, b).p
        assert p < 0.001 if groups is None else p > 0.01


def test_slices_number_their_groups_anew() -> None:
    """A slice with the groups 1 and 3 of four draws two groups."""
    found = slices._interval("exact_match", [np.array([[1.0, 1.0]] * 4)], 0.95, np.array([1, 1, 3, 3]))
    assert (found.score, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def inflected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny model on inflections of 12 lemmas, three forms each."""
    folder = tmp_path_factory.mktemp("inflection")
    endings = {"N;SG": "", "N;PL": "en", "N;GEN(SG)": "s"}
    stems = [a + b + c for a in "bdg" for b in "au" for c in "kt"]
    for name, chosen in (("deu.trn", stems), ("deu.dev", stems[:4]), ("deu.tst", stems[4:8])):
        lines = [f"{stem}\t{features}\t{stem}{end}\n" for stem in chosen for features, end in endings.items()]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    options = ["logger=csv", "trainer=cpu", "model.dim=8", "model.embedding_dim=8", "trainer.max_steps=3"]
    options += ["data=inflection", f"data.path={folder}", f"data.cache={folder / 'cache'}", "decoding.max_length=8"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(option) for option in options])
    train.train(config, folder / "run")
    return folder / "run"


def test_files_are_read_as_the_data_are(inflected: Path, tmp_path: Path) -> None:
    """``source_file`` has the notation of ``generate.py``, in any normal form."""
    (tmp_path / "new.src").write_text("Ba\u0308k\tN;GEN(SG)\ndak <N> <PL>\n", encoding="utf-8")
    (tmp_path / "new.tgt").write_text("Ba\u0308ks\ndaken\n", encoding="utf-8")
    options = [f"checkpoint={inflected}", f"output={tmp_path / 'out'}", "num_plots=0", "faithfulness_examples=0"]
    options += [f"{side}_file={tmp_path / f'new.{end}'}" for side, end in (("source", "src"), ("target", "tgt"))]
    (config,) = hydra_app.compose("evaluate", [hydra_app.as_override(option) for option in options])
    evaluate.evaluate(config)
    records = [json.loads(line) for line in (tmp_path / "out" / "outputs" / "new.jsonl").read_text().splitlines()]
    assert [record["source"] for record in records] == ["B\u00e4k <N> <GEN> <SG>", "dak <N> <PL>"]
    assert records[0]["references"] == ["B\u00e4ks"]


def test_languages_are_datasets_and_groups_are_no_options_of_a_configuration(inflected: Path) -> None:
    assert read(inflected, "auto").dataset == "inflection deu"
    config = {"data": {"name": "inflection", "language": "deu", "group": "lemma"}}
    other = {"data": {"name": "inflection", "language": "deu", "group": None}}
    assert Origin(config, "").recipe() == Origin(other, "").recipe()
    assert eval_diff(other, config, {}, {}) == {}


def test_outputs_keep_groups_without_their_names(inflected: Path) -> None:
    records = [json.loads(line) for line in (inflected / "outputs" / "test.jsonl").read_text().splitlines()]
    assert records[0]["group"] == records[2]["group"] == group_id("dak")
    assert len({record["group"] for record in records}) == 4


def test_rules_are_learnt_from_the_training_split(inflected: Path) -> None:
    scores = json.loads((inflected / "results.json").read_text())["test"]
    assert scores["exact_match_rules"]["score"] == 100.0
    assert scores["exact_match_rules"]["signature"] == f"rules:suffix|{scores['exact_match']['signature']}"


def analysed(run: Run) -> object:
    """Return the figures of one run beside the rules."""
    found = analyse(
        "inflection", with_rules(group_systems([run]), "exact_match"), AnalysisOptions("exact_match", samples=200)
    )
    assert "exact_match_rules" not in found.estimates and "rules" in found.names
    assert any("4 groups of 12 records; intervals over so few groups" in note for note in found.notes)
    assert [(group.name, group.size) for group in found.features] == [("N", 12)]  # the others have under ten records
    table = re.sub(r"<[^>]+>", " ", page._features(found, 0))
    assert table.split()[3:10] == ["feature", "records", "rules", "default", "N", "12", "100.0"]
    return found.estimates, found.differences, found.by_feature, found.by_length


def test_a_pack_keeps_groups_features_and_rules(inflected: Path, tmp_path: Path) -> None:
    run, packed = read(inflected, "auto"), packing.pack(inflected, 100_000)
    (tmp_path / packed.name).write_bytes(packed.content)
    loaded = packs.load(tmp_path / packed.name, "auto")
    assert run.groups is not None and loaded.groups is not None
    assert run.groups.tolist() == loaded.groups.tolist() == [place // 3 for place in range(12)]
    assert run.features[2] == ["N", "GEN", "SG"]
    assert [set(names) for names in run.features] == [set(names) for names in loaded.features]
    assert run.source_lengths == loaded.source_lengths == [5, 5, 6] * 4
    assert analysed(run) == analysed(loaded)


def test_rules_have_a_row_only_where_they_have_the_metric(inflected: Path) -> None:
    run = read(inflected, "auto")
    assert has_rules([run], None) and has_rules([run], "cer") and not has_rules([run], "perplexity")
    assert [system.name for system in with_rules(group_systems([run]), "perplexity")] == ["default"]


def test_a_single_group_is_not_tested(inflected: Path) -> None:
    """All resamples of one lemma are equal, so that any difference would have p = 0."""
    run = read(inflected, "auto")
    run.__dict__["groups"] = np.zeros(12, np.int64)
    found = analyse("inflection", with_rules(group_systems([run]), "cer"), AnalysisOptions("cer", samples=200))
    assert not found.differences and any("All records belong together" in note for note in found.notes)
