"""Tests of ``compare.py``: the report of finished runs, and the input that is refused."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq.attention_store import load
from seq2seq.cli import compare, evaluate, hydra_app
from seq2seq.comparison.analysis import mean_curve, seconds_to
from seq2seq.comparison.runs import find
from seq2seq.comparison.slices import by_length, by_word, of_records
from seq2seq.comparison.systems import check, group_systems, named
from seq2seq.comparison.word_hits import words_found
from seq2seq.errors import UserError
from tests.sampling import mostly_slow

NAMES = {"rnn additive", "rnn dot", "transformer multi_head"}


def composed(*overrides: str) -> DictConfig:
    """Compose the config of ``compare.py``."""
    (config,) = hydra_app.compose("compare", [hydra_app.as_override(override) for override in overrides])
    return config


CHEAP = ["num_plots=0", "faithfulness_examples=0"]


def evaluation(run: Path, output: Path, *options: str) -> DictConfig:
    """Compose the config of an evaluation of ``run``."""
    asked = [f"checkpoint={run}", f"output={output}", *CHEAP, *options]
    (config,) = hydra_app.compose("evaluate", [hydra_app.as_override(option) for option in asked])
    return config


@pytest.fixture(scope="module")
def report(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report of the sweep and return its folder."""
    out = tmp_path_factory.mktemp("report") / "report"
    compare.compare(composed(f"runs={sweep}", f"output={out}", "samples=100"))
    return out


def test_runs_of_one_configuration_are_one_row(sweep: Path) -> None:
    found = {entry.name: entry.seeds for entry in group_systems(find([sweep], "test"))}
    assert found == {"rnn additive": [1, 2], "rnn dot": [1, 2], "transformer multi_head": [1]}


def test_figures_of_the_report_equal_those_of_the_runs(sweep: Path, report: Path) -> None:
    summary = json.loads((report / "comparison.json").read_text())["datasets"]["toy_translation"]
    runs = [json.loads((sweep / str(n) / "results.json").read_text()) for n in range(5)]
    for metric in ("bleu", "chrf", "ter", "aer"):
        scores = [run["test"][metric]["score"] for run in runs]
        found = summary["estimates"][metric]
        assert found["rnn additive"]["score"] == pytest.approx(np.mean(scores[:2]))
        assert found["rnn dot"]["sd"] == pytest.approx(np.std(scores[2:4], ddof=1))
        assert found["transformer multi_head"]["score"] == pytest.approx(scores[4])
        assert found["transformer multi_head"]["sd"] is None
    assert {(d["a"], d["b"]) for d in summary["differences"]["aer"]} >= {("rnn additive", "rnn dot")}
    costs = summary["costs"]["rnn dot"]
    assert costs["parameters"] == runs[2]["run"]["parameters"]
    assert costs.keys() >= {"flops_per_token", "tokens_per_second", "sentences_per_second", "update_memory"}
    for metric in (
        "gradient_tau",
        "nll_increase_uniform",
        "perplexity",
        "accuracy",
    ):  # figures with intervals
        found = summary["estimates"][metric]["transformer multi_head"]
        assert found["score"] == pytest.approx(runs[4]["test"][metric]["score"])
        assert found["low"] <= found["score"] <= found["high"]
    assert summary["plain"].keys() >= {"aer_diagonal", "aer_uniform"}
    entropy = summary["estimates"]["attention_entropy"]["transformer multi_head"]
    assert entropy["score"] == pytest.approx(runs[4]["test"]["attention_entropy"]["score"])
    assert entropy["low"] <= entropy["score"] <= entropy["high"]


def test_tables_are_written_as_csv_markdown_and_latex(report: Path) -> None:
    with (report / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["entry"] for row in rows} == NAMES
    assert all(float(row["low"]) <= float(row["score"]) <= float(row["high"]) for row in rows if row["low"])
    markdown = (report / "table.md").read_text()
    assert all(f"| {name} |" in markdown for name in NAMES)
    onsets = {row["entry"]: (row["score"], row["signature"]) for row in rows if row["metric"] == "onset"}
    assert onsets["rnn dot"] == ("", "updates until attention begins, never in 2 of 2") and onsets.keys() == NAMES
    latex = (report / "table.tex").read_text()
    assert r"transformer multi\_head & " in latex and r"\begin{tabular}" in latex


def test_the_page_lists_systems_whose_attention_never_began(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert "Attention never began in some runs: rnn additive (2 of 2), rnn dot (2 of 2), transformer" in page
    for caption in ("Entropy of attention during training", "attention begins at 0.1 nats per token"):
        assert re.search(rf"<figcaption>[^<]*{caption}[^<]*</figcaption><svg", page), caption


def test_the_page_contains_the_stored_attention(sweep: Path, report: Path) -> None:
    page = (report / "index.html").read_text()
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    (data,) = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    kept = load(sweep / "4" / "attention" / "test.npz")
    assert len(data["examples"]) == len(kept) == 6
    number = data["entries"].index("transformer multi_head")
    for example, exhibit in zip(data["examples"], kept, strict=True):
        (item,) = [item for item in example["items"] if item["entry"] == number]
        assert data["pools"][item["target"]] == exhibit.target
        values = np.frombuffer(zlib.decompress(base64.b64decode(example["data"])), np.uint8)
        slots = {name: (shape, offset, top) for name, *shape, offset, top in item["slots"]}
        assert slots.keys() == {"", *exhibit.weights}
        for name, weights in {"": exhibit.alignment[None], **exhibit.weights}.items():
            shape, offset, top = slots[name]
            mine = values[offset : offset + weights.size].reshape(shape) * top / 255
            assert np.abs(mine - weights).max() <= top / 255
        assert item["text"] and example["references"]


def test_markup_in_the_data_is_escaped_on_the_page(sweep: Path, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b>&amp;"
    for n in range(5):
        run = Path(shutil.copytree(sweep / str(n), tmp_path / "runs" / str(n)))
        file = run / "outputs" / "test.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows[0] |= {"source": evil, "references": [evil], "hypothesis": evil}
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    compare.compare(composed(f"runs={tmp_path / 'runs'}", f"output={tmp_path / 'out'}", "samples=100"))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page and "<b>&amp;" not in page


def test_outputs_of_another_toolkit_are_in_the_same_table(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (sweep / "0" / "outputs" / "test.jsonl").read_text().splitlines()]
    (tmp_path / "perfect.txt").write_text("".join(row["references"][0] + "\n" for row in rows))
    options = [f"runs={sweep}", f"outputs.perfect={tmp_path / 'perfect.txt'}", f"output={tmp_path / 'out'}"]
    compare.compare(composed(*options, "samples=100"))
    assert "perfect has the highest bleu, 100.0" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "comparison.json").read_text())["datasets"]["toy_translation"]
    assert summary["estimates"]["bleu"]["perfect"]["score"] == pytest.approx(100)
    assert summary["estimates"]["aer"].keys() == NAMES  # the others keep a metric that one system lacks
    assert {(d["a"], d["b"]) for d in summary["differences"]["aer"]} >= {("rnn additive", "rnn dot")}
    assert re.search(r"\| perfect \| 1 \| 100\.0 .*\| – \|", (tmp_path / "out" / "table.md").read_text())


def write_attention(folder: Path, rows: list[dict[str, str]], *, wrong: int = 0) -> Path:
    """Write weights between words and </s> as another toolkit might; ``wrong`` adds source columns."""
    draw, arrays = np.random.default_rng(0), {}
    for place, row in enumerate(rows[:3]):
        target, source = len(row["references"][0].split()), len(row["source"].split())
        arrays[str(place)] = draw.dirichlet(np.ones(source + 1 + wrong), target + 1)
    np.savez(folder / "theirs.npz", **arrays)
    return folder / "theirs.npz"


def test_attention_of_another_toolkit_is_shown_or_refused(sweep: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (sweep / "0" / "outputs" / "test.jsonl").read_text().splitlines()]
    (tmp_path / "theirs.txt").write_text("".join(row["references"][0] + "\n" for row in rows))
    outputs = f"outputs.theirs={tmp_path / 'theirs.txt'}"
    options = [f"runs={sweep / '0'}", outputs, "samples=100", f"output={tmp_path / 'out'}"]
    compare.compare(composed(*options, f"attention.theirs={write_attention(tmp_path, rows)}"))
    page = (tmp_path / "out" / "index.html").read_text()
    (data,) = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    assert len(data["examples"]) == 6 and [len(example["items"]) for example in data["examples"]] == [2] * 3 + [1] * 3
    assert "3 examples do not show all configurations: some kept no attention" in page
    item = next(i for i in data["examples"][0]["items"] if data["entries"][i["entry"]] == "theirs")
    assert data["pools"][item["source"]][-1] == "</s>"
    arrays = dict(np.load(tmp_path / "theirs.npz"))
    np.savez(tmp_path / "broken.npz", **{**arrays, "1": arrays["1"] * np.nan})
    with pytest.raises(UserError, match="array 1 has weights that are negative or not finite"):
        compare.compare(composed(*options, f"attention.theirs={tmp_path / 'broken.npz'}"))
    for arrays, message in (
        ({}, "holds no arrays"),
        ({"1": 5 * np.ones((2, 2))}, "array 1 has a row with sum 10"),
    ):
        np.savez(tmp_path / "odd.npz", **arrays)
        with pytest.raises(UserError, match=message):
            compare.compare(composed(*options, f"attention.theirs={tmp_path / 'odd.npz'}"))
    np.save(tmp_path / "single.npy", np.ones((2, 2)))
    with pytest.raises(UserError, match="it is a single array"):
        compare.compare(composed(*options, f"attention.theirs={tmp_path / 'single.npy'}"))
    with pytest.raises(UserError, match=r"but the output has \d+ words and the source"):
        compare.compare(composed(*options, f"attention.theirs={write_attention(tmp_path, rows, wrong=1)}"))


def test_a_later_evaluation_replaces_its_run(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.evaluate(evaluation(sweep / "0", tmp_path / "again"))
    found = group_systems(find([sweep, tmp_path / "again"], "test"))
    assert [(entry.name, len(entry.runs)) for entry in found] == [
        (name, 1 + (name[:3] == "rnn")) for name in sorted(NAMES)
    ]
    (run,) = [run for entry in found for run in entry.runs if run.path == tmp_path / "again"]
    assert run.curves and run.frequencies and run.about["training"]["steps"] == 3  # read from the run
    options = [f"runs=[{sweep},{tmp_path / 'again'}]", f"output={tmp_path / 'out'}", "samples=100"]
    compare.compare(composed(*options))
    assert f"{sweep / '0'} is left out" in capsys.readouterr().out


def test_training_data_are_part_of_a_configuration(sweep: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(sweep, tmp_path / "runs"))
    config = runs / "1" / "config.yaml"
    config.write_text(config.read_text().replace("train: 60", "train: 50"))
    names = {entry.name: entry.seeds for entry in group_systems(find([runs / "0", runs / "1"], "test"))}
    assert names == {"rnn additive (0)": [1], "rnn additive (1)": [2]}
    other = Path(shutil.copytree(sweep / "0", tmp_path / "elsewhere" / "0"))
    (other / "config.yaml").write_text(config.read_text().replace("train: 50", "train: 40"))
    names = {entry.name for entry in group_systems(find([runs / "0", runs / "1", other], "test"))}
    assert names == {"rnn additive (runs/0)", "rnn additive (runs/1)", "rnn additive (elsewhere/0)"}


def test_systems_are_compared_with_a_baseline_only(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"runs={sweep}", f"output={tmp_path / 'out'}", "samples=100", "correction=none", "level=0.8"]
    compare.compare(composed(*options, "baseline='transformer multi_head'"))
    said = capsys.readouterr().out
    assert "transformer multi_head (p" in said and "other configurations were not tested against it" in said
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Brackets are 80 % confidence intervals" in page and "correction for" not in page
    summary = json.loads((tmp_path / "out" / "comparison.json").read_text())["datasets"]["toy_translation"]
    assert {d["b"] for d in summary["differences"]["bleu"]} == {"transformer multi_head"}


def test_outputs_can_be_compared_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (
        ("ref", "a b c d e\nf g h i j\n"),
        ("one", "a b c d e\nf g h i j\n"),
        ("two", "a b\nf g h i k\n"),
    ):
        (tmp_path / name).write_text(text)
    files = [f"outputs.{name}={tmp_path / name}" for name in ("one", "two")]
    compare.compare(composed(*files, f"references={tmp_path / 'ref'}", f"output={tmp_path / 'out'}", "samples=100"))
    assert re.search(r"one\s+1\s+100\.0", capsys.readouterr().out)
    # an empty line of the second file is a missing reference
    (tmp_path / "other").write_text("\n\n")
    both = f"references=[{tmp_path / 'ref'},{tmp_path / 'other'}]"
    compare.compare(composed(*files, both, f"output={tmp_path / 'out'}", "samples=100"))
    assert re.search(r"one\s+1\s+100\.0", capsys.readouterr().out)
    summary = json.loads((tmp_path / "out" / "comparison.json").read_text())["datasets"]["outputs"]
    assert summary["estimates"]["bleu"]["two"]["score"] < 60


def test_evaluations_with_controls_are_compared_with_their_run(sweep: Path, tmp_path: Path) -> None:
    for control in ("uniform", "frozen"):
        evaluate.evaluate(evaluation(sweep / "0", tmp_path / control, f"evaluation.control={control}_attention"))
    names = [
        entry.name for entry in group_systems(find([sweep / "0", tmp_path / "uniform", tmp_path / "frozen"], "test"))
    ]
    controls = [f"rnn additive control={control}_attention" for control in ("frozen", "uniform")]
    assert sorted(names) == ["rnn additive", *controls]


def test_runs_may_be_a_pattern(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare.compare(composed(f"runs='{sweep}/[02]'", f"output={tmp_path / 'out'}", "samples=100"))
    assert "rnn" not in (said := capsys.readouterr().out) and "additive" in said and "dot" in said


def test_a_quality_that_no_run_reaches_is_reported(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.compare(composed(f"runs={sweep}", f"output={tmp_path / 'out'}", "samples=100", "quality=0.001"))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "quality=0.001 has no effect: no run reaches this validation nll." in page


def test_a_signature_contains_no_results(report: Path) -> None:
    with (report / "table.csv").open(newline="") as file:
        signatures = {row["signature"] for row in csv.DictReader(file) if row["metric"] == "aer"}
    (signature,) = signatures
    assert "rows:predicted" in signature and "precision" not in signature


def test_unfinished_runs_are_reported(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = Path(shutil.copytree(sweep, tmp_path / "runs"))
    (runs / "4" / "results.json").unlink()
    compare.compare(composed(f"runs={runs}", f"output={tmp_path / 'out'}", "samples=100"))
    assert f"{runs / '4'} has no results" in capsys.readouterr().out


def change_one_run(sweep: Path, tmp_path: Path, what: str) -> Path:
    """Copy the sweep and change one run as ``what`` says."""
    runs = Path(shutil.copytree(sweep, tmp_path / "runs"))
    results, outputs = runs / "1" / "results.json", runs / "1" / "outputs" / "test.jsonl"
    stored, lines = json.loads(results.read_text()), outputs.read_text().splitlines()
    if what == "signature":
        stored["test"]["bleu"]["signature"] = stored["test"]["bleu"]["signature"].replace("tok:13a", "tok:zh")
    elif what == "split":
        stored["valid"] = stored.pop("test")
        outputs = outputs.rename(outputs.with_name("valid.jsonl"))
    elif what == "metric":
        del stored["test"]["bleu"]
    elif what == "records":
        lines = lines[:-1]
    elif what == "reference":
        lines[0] = json.dumps({**json.loads(lines[0]), "references": ["another"]})
    elif what == "broken":
        lines[1] = "{"
    results.write_text(json.dumps(stored))
    outputs.write_text("\n".join(lines) + "\n")
    return runs


@pytest.mark.parametrize(
    ("what", "options", "message"),
    mostly_slow(
        [
            ("signature", [], r"cannot be compared: their bleu has different signatures: .*tok:zh"),
            ("metric", ["metric=bleu"], r"has no bleu; choose metric= from: chrf"),
            ("", ["metric=aer_uniform"], "has no sums for each record, so it cannot be resampled"),
            ("records", [], "their test sets differ: 6 and 5 records of toy_translation"),
            ("reference", [], "a reference of record 1 is .* and 'another'"),
            ("broken", [], r"test\.jsonl, line 2 is not JSON"),
            ("", ["split=valid"], r"has no results of split 'valid'; it has: test; choose one"),
            ("", ["metric=meteor"], r"has no meteor"),
            ("", ["baseline=nobody"], "there are rnn additive, rnn dot, transformer multi_head"),
            ("", ["baseline='rnn aditive'"], "did you mean rnn additive"),
            ("", ["outputs=file.txt"], r"outputs=file\.txt: must be outputs\.NAME=VALUE"),
            ("", ["references=file.txt"], r"references has no effect without outputs\.NAME=FILE"),
            ("split", [], r"the first has split test and the second split valid; choose one with split="),
            ("", ["correction=holms"], "must be one of holm, bonferroni, none"),
            ("", ["samples=10"], "samples=10 is too few"),
            ("", ["attention.x=y.npz"], r"attention\.x belongs to outputs\.x=FILE"),
            ("", ["outputs.x=nowhere.txt"], r"outputs\.x: nowhere\.txt does not exist"),
            ("", ["examples=-1"], "examples=-1 must be 0"),
            ("", ["level=2"], "level=2 must lie between 0 and 1"),
            ("", ["sample=3"], "sample"),
        ],
        every=2,
    ),
)
def test_bad_input_is_refused(sweep: Path, tmp_path: Path, what: str, options: list[str], message: str) -> None:
    runs = change_one_run(sweep, tmp_path, what) if what else sweep
    with pytest.raises(UserError, match=message):
        compare.compare(composed(f"runs={runs}", f"output={tmp_path / 'out'}", "samples=100", *options))
    assert not (tmp_path / "out").exists()


def test_missing_runs_and_unusable_output_folders_are_refused(sweep: Path, tmp_path: Path) -> None:
    for options, message in (
        ([], "name runs or sweeps"),
        ([f"runs={tmp_path / 'nowhere'}"], "nowhere does not exist"),
        ([f"runs={tmp_path}"], "has no results.json at or below it"),
    ):
        with pytest.raises(UserError, match=message):
            compare.compare(composed(*options, f"output={tmp_path / 'out'}"))
    (tmp_path / "file").write_text("")
    for place in ("file", "file/report"):
        with pytest.raises(UserError, match="file is a file; choose a directory"):
            compare.compare(composed(f"runs={sweep}", f"output={tmp_path / place}"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        compare.compare(composed(f"runs={sweep}", f"output={tmp_path / 'mine'}"))


def test_groups_of_lengths_and_found_words_by_hand() -> None:
    groups = by_length([3, 3, 4, 5, 9, 9, 9, 12, 20, 20])
    assert [(group.name, group.size) for group, _ in groups] == [("3-4", 3), ("5-9", 4), ("12-20", 3)]
    assert words_found("The cat sat on the mat.", "the cat lay on a mat") == (
        ["the", "cat", "sat", "on", "the", "mat"],
        [True, True, False, True, False, True],
    )


def test_scores_of_slices_are_means_over_the_runs_of_a_configuration(sweep: Path) -> None:
    runs = find([sweep / "0", sweep / "1"], "test")
    (group, *_), places = zip(*by_length(runs[0].source_lengths), strict=True)
    together = of_records(runs, "bleu", [(group, places[0])], 0.95)[0]
    alone = [of_records([run], "bleu", [(group, places[0])], 0.95)[0].score for run in runs]
    assert together.score == pytest.approx(np.mean(alone))
    words = [by_word([run], 0.95)[0] for run in runs]
    for (name, one), (_, first), (_, second) in zip(by_word(runs, 0.95)[0], *words, strict=True):
        assert one.score == pytest.approx((first.score + second.score) / 2), name


def test_training_data_are_identified_by_their_word_counts(sweep: Path, tmp_path: Path) -> None:
    """Equal words at another path are the same training data; other words at the same path are not."""
    runs = Path(shutil.copytree(sweep, tmp_path / "runs"))
    config = runs / "1" / "config.yaml"
    config.write_text(config.read_text().replace("path: null", "path: /elsewhere"))
    assert len(group_systems(find([runs / "0", runs / "1"], "test"))) == 1
    frequencies = runs / "1" / "frequencies.json"
    frequencies.write_text(frequencies.read_text().replace(":", ": 1", 1).replace(": 1 ", ": 1"))
    assert len(group_systems(find([runs / "0", runs / "1"], "test"))) == 2


@pytest.mark.slow
def test_evaluations_of_two_checkpoints_are_two_systems(sweep: Path, tmp_path: Path) -> None:
    """The run is found although a folder ``checkpoints`` of another program is beside the outputs."""
    (tmp_path / "checkpoints").mkdir()
    run = Path(shutil.copytree(sweep / "0", tmp_path / "run"))
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "format"}, run / "checkpoints" / "best.ckpt")
    for name in ("model.safetensors", "best.ckpt"):  # earlier versions wrote the second form
        options = [f"checkpoint={run / 'checkpoints' / name}", f"output={tmp_path / name}"]
        (config,) = hydra_app.compose("evaluate", [hydra_app.as_override(option) for option in options])
        evaluate.evaluate(config)
    found = group_systems(find([run, tmp_path / "model.safetensors", tmp_path / "best.ckpt"], "test"))
    assert sorted(len(entry.runs) for entry in found) == [1, 1]
    assert {one.trained.resolve() for entry in found for one in entry.runs} == {run.resolve()}
    assert {entry.name for entry in found} == {"rnn additive", "rnn additive checkpoint=best.ckpt"}


def test_mean_curves_use_the_steps_at_which_all_runs_were_validated() -> None:
    one = [{"step": 5.0, "train/nll": 9.0}, {"step": 10.0, "validation/nll": 3.0, "validation/bleu": 1.0}]
    other = [{"step": 10.0, "validation/nll": 5.0}, {"step": 20.0, "validation/nll": 2.0}]
    assert mean_curve([one, other]) == [{"step": 10.0, "validation/nll": 4.0}]
    assert mean_curve([one]) == one[1:]


def test_other_hardware_and_other_data_options_are_reported(sweep: Path, tmp_path: Path) -> None:
    """Speeds on two CPUs are not comparable, and an evaluation with other data options is another system."""
    runs = Path(shutil.copytree(sweep, tmp_path / "runs"))
    results = json.loads((runs / "1" / "results.json").read_text())
    results["run"]["hardware"]["cpu"] = "an abacus"
    (runs / "1" / "results.json").write_text(json.dumps(results))
    compare.compare(composed(f"runs={runs}", f"output={tmp_path / 'out'}", "samples=100"))
    assert "Speeds are not comparable: they were measured on " in (tmp_path / "out" / "index.html").read_text()
    evaluate.evaluate(evaluation(sweep / "0", tmp_path / "cut", "data.max_source_tokens=5"))
    names = {entry.name for entry in group_systems(find([sweep / "0", tmp_path / "cut"], "test"))}
    assert names == {"rnn additive", "rnn additive data.max_source_tokens=5"}


def test_seconds_until_a_quality_is_reached(sweep: Path) -> None:
    """The 40 updates take 8 seconds, and update 20 reaches an nll of 2.5: after 4 seconds."""
    run = find([sweep / "0"], "test")[0]
    rows = [{"step": 10.0, "validation/nll": 3.0}, {"step": 20.0, "validation/nll": 2.0}]
    run.__dict__["curves"] = rows
    run.about["training"].update(steps=40, seconds=8.0)
    assert seconds_to(run, "nll", 2.5) == 4.0
    assert seconds_to(run, "nll", 1.0) is None


def test_five_datasets_are_ranked(sweep: Path, tmp_path: Path) -> None:
    """``rnn dot`` gets perfect outputs on each dataset, so its mean rank is 1."""
    for letter in "abcde":
        for n in range(5):
            run = Path(shutil.copytree(sweep / str(n), tmp_path / "runs" / letter / str(n)))
            config = run / "config.yaml"
            config.write_text(config.read_text().replace("name: toy_translation", f"name: corpus_{letter}"))
            results, file = json.loads((run / "results.json").read_text()), run / "outputs" / "test.jsonl"
            if n in (2, 3):
                results["test"]["bleu"]["score"] = 100.0
                rows = [json.loads(line) for line in file.read_text().splitlines()]
                for row in rows:
                    words = len(row["references"][0].split())
                    counts = [max(0, words - order) for order in range(4)]
                    row["sums"]["bleu"] = [words, words, *counts, *counts]
                file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            (run / "results.json").write_text(json.dumps(results))
    compare.compare(composed(f"runs={tmp_path / 'runs'}", f"output={tmp_path / 'out'}", "samples=100"))
    summary = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert list(summary["datasets"]) == [f"corpus_{letter}" for letter in "abcde"]
    assert set(summary["datasets"]["corpus_a"]["runs"]) == NAMES
    assert summary["ranks"]["datasets"] == 5
    assert summary["ranks"]["ranks"]["rnn dot"] == 1
    assert "Ranking over 5 datasets" in (tmp_path / "out" / "index.html").read_text()


def test_systems_of_two_datasets_have_different_names(sweep: Path, tmp_path: Path) -> None:
    """One dataset has RNNs and the other Transformers, so the names contain the model."""
    for letter, model in (("a", "rnn"), ("b", "transformer")):
        for n in (0, 2):
            run = Path(shutil.copytree(sweep / str(n), tmp_path / letter / str(n)))
            for file in (run / "config.yaml", run / ".hydra" / "hydra.yaml"):
                text = file.read_text().replace("name: toy_translation", f"name: corpus_{letter}")
                file.write_text(text.replace("model: rnn", f"model: {model}"))
    assert {run.facets["model"] for run in find([tmp_path], "test")} == {"rnn", "transformer"}
    names = named(find([tmp_path], "test"))
    assert sorted(names.values()) == ["rnn additive", "rnn dot", "transformer additive", "transformer dot"]


def test_names_contain_an_option_that_differs_on_one_dataset_only(sweep: Path, tmp_path: Path) -> None:
    """The second dataset has two learning rates; one of its runs is an evaluation of the first dataset's run."""
    several = find([sweep / "0"], "test")
    (one,) = several
    facets = {"model": "rnn", "attention": "dot"}
    runs = [
        replace(one, dataset="a", key="1", facets=facets | {"optimizer.lr": "1"}),
        replace(one, dataset="b", key="1", facets=facets | {"optimizer.lr": "1"}),
        replace(one, dataset="b", key="2", facets=facets | {"optimizer.lr": "2"}),
    ]
    assert named(runs) == {"1": "optimizer.lr=1", "2": "optimizer.lr=2"}
    untyped = [replace(run, facets=facets, path=Path(f"{run.dataset}/{run.key}")) for run in runs]
    assert named(untyped) == {"1": "rnn dot (1)", "2": "rnn dot (2)"}


def test_names_contain_the_recipe_where_it_differs(sweep: Path) -> None:
    (one,) = find([sweep / "0"], "test")
    facets = [{"model": "rnn", "attention": name, **more} for name in "ab" for more in ({}, {"recipe": "tuned"})]
    runs = [replace(one, key=str(place), facets=facet) for place, facet in enumerate(facets)]
    assert list(named(runs).values()) == ["a", "a tuned", "b", "b tuned"]
    assert list(named(runs[:2]).values()) == ["rnn a", "rnn a tuned"]
    assert list(named(runs[1::2]).values()) == ["a", "b"]


def test_an_evaluation_of_other_records_does_not_replace_its_run(sweep: Path, tmp_path: Path) -> None:
    evaluated = evaluate.evaluate(evaluation(sweep / "0", tmp_path / "other", "data.reader.test=3"))
    assert evaluated
    with pytest.raises(UserError, match="cannot be compared: their test sets differ: 6 and 3 records"):
        compare.compare(composed(f"runs=[{sweep / '0'},{tmp_path / 'other'}]", f"output={tmp_path / 'report'}"))


def test_a_control_is_named_and_has_no_figures_of_training(sweep: Path, tmp_path: Path) -> None:
    evaluate.evaluate(evaluation(sweep / "0", tmp_path / "control", "evaluation.control=uniform_attention"))
    (alone,) = named(find([tmp_path / "control"], "test")).values()
    assert alone == "rnn additive control=uniform_attention"
    runs = find([sweep / "0", tmp_path / "control"], "test")
    assert sorted(named(runs).values()) == ["rnn additive", "rnn additive control=uniform_attention"]
    control = next(run for run in runs if run.control)
    assert not control.curves and "training" not in control.about and control.about["parameters"]


def test_seeds_that_start_from_their_own_first_phase_are_one_configuration(sweep: Path, tmp_path: Path) -> None:
    """Two seeds start from the first phase of the same seed; a third run starts from another mechanism's run."""
    for second, first in ((0, 0), (1, 1), (2, 2)):
        run = Path(shutil.copytree(sweep / str(second), tmp_path / str(second)))
        for file in (run / "config.yaml",):
            text = file.read_text()
            file.write_text(text.replace("init_from: null", f"init_from: {sweep / str(first)}"))
        (run / ".hydra" / "overrides.yaml").write_text(f"- training.init_from={sweep / str(first)}\n")
    assert [entry.seeds for entry in group_systems(find([tmp_path], "test"))] == [[1, 2], [1]]
    for place in (0, 1):
        file = tmp_path / str(place) / "config.yaml"
        file.write_text(file.read_text().replace(f"init_from: {sweep}/{place}", f"init_from: {sweep}/{2 * place}"))
    assert len(group_systems(find([tmp_path / "0", tmp_path / "1"], "test"))) == 2


@pytest.mark.parametrize(("typed", "name"), [("soft", "additive"), ("concat", "additive"), ("global", "general")])
def test_a_synonym_of_a_mechanism_is_replaced_by_the_usual_name(
    sweep: Path, tmp_path: Path, typed: str, name: str
) -> None:
    run = Path(shutil.copytree(sweep / "0", tmp_path / "0"))
    file = run / ".hydra" / "hydra.yaml"
    file.write_text(file.read_text().replace("attention: additive", f"attention: {typed}"))
    (read,) = find([run], "test")
    assert read.facets["attention"] == name


def test_a_typed_device_makes_no_other_configuration(sweep: Path, tmp_path: Path) -> None:
    """One run has the default trainer=auto, the other trainer=cpu."""
    for number, (typed, accelerator) in enumerate((("seed=1", "auto"), ("trainer=cpu", "cpu"))):
        run = Path(shutil.copytree(sweep / "0", tmp_path / str(number)))
        file = run / ".hydra" / "overrides.yaml"
        file.write_text(file.read_text() + f"- {typed}\n")
        config = OmegaConf.load(run / "config.yaml")
        config.trainer.accelerator = accelerator
        OmegaConf.save(config, run / "config.yaml")
    runs = find([tmp_path], "test")
    assert all("trainer" not in run.facets for run in runs)
    assert len({run.key for run in runs}) == 1


def test_long_texts_are_shown_from_their_first_difference(sweep: Path) -> None:
    (run,) = find([sweep / "0"], "test")
    other = replace(run, path=Path("other"))
    long = " ".join(["word"] * 30)
    for one, last in ((run, " here"), (other, " there")):
        one.__dict__["records"] = [{**run.records[0], "references": ["same", long + last]}, *run.records[1:]]
    pair = [run, other]
    with pytest.raises(
        UserError, match=r"a reference of record 1 is '\.\.\.word word word word here' and '\.\.\.word.* there'"
    ):
        check(pair, "bleu")
    run.__dict__["records"] = [{**run.records[0], "references": ["same"]}, *run.records[1:]]
    with pytest.raises(UserError, match="record 1 has 1 and 2 references"):
        check(pair, "bleu")
