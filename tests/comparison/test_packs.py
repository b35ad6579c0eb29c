"""Tests of packs: a comparison of packs equals that of their runs, and packs contain no texts or paths."""

from __future__ import annotations

import json
import lzma
import random
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from seq2seq.cli import compare as compare_command
from seq2seq.cli import evaluate, hydra_app, train
from seq2seq.cli import pack as pack_command
from seq2seq.comparison import packing, packs
from seq2seq.comparison.analysis import AnalysisOptions, analyse
from seq2seq.comparison.run_config import IGNORED_KEYS, portable
from seq2seq.comparison.runs import Run, read
from seq2seq.comparison.systems import check, group_systems
from seq2seq.errors import UserError
from tests.conftest import TINY
from tests.sampling import mostly_slow

ROOT = Path(__file__).parents[2]
LIMIT = 30_000


def compare(*options: str) -> Path:
    """Run ``compare.py`` with these options."""
    (config,) = hydra_app.compose("compare", [hydra_app.as_override(option) for option in options])
    return compare_command.compare(config)


def compare_figures(runs: object, out: Path) -> dict[str, Any]:
    """Compare runs and return comparison.json, with the number of runs instead of their paths."""
    compare(f"runs={runs}", f"output={out}", "samples=100")
    found: dict[str, Any] = json.loads((out / "comparison.json").read_text())
    for dataset in found["datasets"].values():
        dataset["runs"] = {name: len(several) for name, several in dataset["runs"].items()}
    return found


@pytest.fixture(scope="module")
def packed(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare(f"runs={sweep}", f"pack={tmp_path_factory.mktemp('results') / 'toy'}")


@pytest.fixture(scope="module")
def original(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compare_figures(sweep, tmp_path_factory.mktemp("originals") / "report")


def assert_close(one: Any, other: Any, path: str = "") -> None:
    if isinstance(one, dict):
        assert list(one) == list(other), path
        for key, value in one.items():
            assert_close(value, other[key], f"{path}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_close(a, b, f"{path}[{place}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-9, abs=1e-9, nan_ok=True), path
    else:
        assert one == other, path


def test_a_comparison_of_packs_equals_that_of_the_runs(packed: Path, original: dict[str, Any], tmp_path: Path) -> None:
    assert len(list(packed.iterdir())) == 5
    assert_close(original, compare_figures(packed, tmp_path / "report"))


def test_packs_and_runs_can_be_compared_together(
    sweep: Path, packed: Path, original: dict[str, Any], tmp_path: Path
) -> None:
    """One seed of a configuration is a pack, another seed is a run."""
    mixed = shutil.copytree(packed, tmp_path / "packs")
    (half,) = mixed.glob("rnn-dot-seed2-*")
    half.unlink()
    (other,) = mixed.glob("transformer-*")
    other.unlink()
    assert_close(original, compare_figures(f"[{mixed},{sweep / '3'},{sweep / '4'}]", tmp_path / "report"))
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "No examples of rnn additive: a pack holds no texts and no attention maps." in page


def test_slices_and_curves_of_packs_equal_those_of_the_runs(sweep: Path, packed: Path) -> None:
    def analysed(runs: list[Run]) -> Any:
        return analyse("toy", group_systems(runs), AnalysisOptions("bleu", samples=100))

    ours, theirs = analysed(packs.find([sweep], "test")), analysed(packs.find([packed], "test"))
    for name in ("records", "lengths", "by_length", "by_place", "by_frequency", "curves", "quality", "names"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert theirs.by_frequency and theirs.curves["rnn dot"] and theirs.lengths


def test_packing_a_run_twice_gives_the_same_bytes(sweep: Path, packed: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in packed.iterdir()}
    again = shutil.copytree(packed, tmp_path / "packs")
    compare(f"runs={sweep}", f"pack={again}")  # overwrites equal files
    assert {file.name: file.read_bytes() for file in again.iterdir()} == before


def test_the_pack_of_another_run_of_the_same_job_is_not_overwritten(run: Path, tmp_path: Path) -> None:
    folder = compare(f"runs={run}", f"pack={tmp_path / 'packs'}")
    (file,) = folder.iterdir()
    other = Path(shutil.copytree(run, tmp_path / "other"))
    results = other / "results.json"
    results.write_text(results.read_text().replace('"score": ', '"score": 1', 1))
    before = file.read_bytes()
    with pytest.raises(UserError, match=r"is another pack of the configuration and seed of .*; remove it, or choose"):
        compare(f"runs={other}", f"pack={folder}")
    assert file.read_bytes() == before


def test_a_pack_reports_that_its_run_was_changed(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    changed = Path(shutil.copytree(run, tmp_path / "run"))
    (changed / "metrics.csv").write_text((changed / "metrics.csv").read_text().replace("\n3,", "\n2,", 1))
    folder = compare(f"runs={changed}", f"pack={tmp_path / 'packs'}")
    caplog.clear()
    packs.find([folder], "test")
    assert "the run's metrics.csv was changed after it was written" in caplog.text


def test_a_run_and_its_pack_count_as_one_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = compare(f"runs={run}", f"pack={tmp_path / 'packs'}")
    found = compare_figures(f"[{run},{folder}]", tmp_path / "report")
    assert list(found["datasets"]["toy_translation"]["runs"].values()) == [1]
    assert "is a later run of the same configuration and seed" in capsys.readouterr().out


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str], str]:
    """Train and evaluate a run on a folder of text; return the folder, the words of the text and the path."""
    base = tmp_path_factory.mktemp("secretfolder")
    draw = random.Random(1)
    words = ["".join(draw.choices("bcdfghjklmnpqrstvwxz", k=draw.randint(4, 9))) for _ in range(60)]
    for split, count in (("train", 60), ("valid", 6), ("test", 6)):
        for language in ("en", "de"):
            lines = (" ".join(draw.choices(words, k=draw.randint(3, 8))) for _ in range(count))
            (base / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines))
    own = [option for option in TINY if not option.startswith("data.reader")]
    data = [
        "data=parallel_text",
        f"data.path={base}",
        "data.source=en",
        "data.target=de",
        f"data.cache={base / 'cache'}",
    ]
    options = [*data, "data.tokenizer.type=word", "data.tokenizer.vocab_size=80", *own]
    options += ["training.faithfulness_examples=2", "training.num_plots=0"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(option) for option in options])
    train.train(config, base / "run")
    asked = [f"checkpoint={base / 'run'}", f"output={base / 'evaluation'}", f"data.path={base}", "decoding=greedy"]
    asked += ["num_plots=0", "faithfulness_examples=2"]
    (config,) = hydra_app.compose("evaluate", [hydra_app.as_override(option) for option in asked])
    evaluate.evaluate(config)
    return base, set(words), str(base)


def test_a_pack_contains_no_text_and_no_path(private: tuple[Path, set[str], str], tmp_path: Path) -> None:
    base, words, home = private
    assert words & set((base / "run" / "outputs" / "test.jsonl").read_text().replace('"', " ").split())
    folder = compare(f"runs=[{base / 'run'},{base / 'evaluation'}]", f"pack={tmp_path / 'packs'}")
    files = list(folder.iterdir())
    assert len(files) == 2
    for file in files:
        content = file.name.encode() + b"\n" + lzma.decompress(file.read_bytes())
        for secret in (*words, home, "secretfolder", str(ROOT), str(Path.home()) + "/", socket.gethostname()):
            assert secret.encode() not in content, secret
    assert_close(
        compare_figures(f"[{base / 'run'},{base / 'evaluation'}]", tmp_path / "one"),
        compare_figures(folder, tmp_path / "other"),
    )


def test_paths_become_different_names_without_their_folders() -> None:
    assert set(packs.MACHINE) <= IGNORED_KEYS  # a pack has the configuration of its run
    for path in (
        "/home/jo hn/data/train.jsonl",
        "~/data/train.jsonl",
        r"C:\Users\john\train.jsonl",
        "../john/train.jsonl",
    ):
        name = portable(path)
        assert name.startswith("train.jsonl#") and "jo" not in name.partition("#")[0]
        assert portable(name) == name != portable(path + "x")
        assert portable({"a": [f"[{path},x]"]}) == {"a": [f"[{name},x]"]}
    for text in ("a/b", "owner/name", "nrefs:1|case:mixed", "1 - |A| / |S|", "data/multi30k", ""):
        assert portable(text) == text


def test_different_test_sets_are_refused_without_texts_of_packs(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    outputs = other / "outputs" / "test.jsonl"
    lines = [json.loads(line) for line in outputs.read_text(encoding="utf-8").splitlines()]
    lines[3]["references"] = ["another one"]
    outputs.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    pair = [packing.pack(path, LIMIT) for path in (run, other)]
    loaded = []
    for number, item in enumerate(pair):
        (tmp_path / f"{number}{packs.SUFFIX}").write_bytes(item.content)
        loaded.append(packs.load(tmp_path / f"{number}{packs.SUFFIX}", "test"))
    for runs in (loaded, [read(run, "test"), loaded[1]]):
        with pytest.raises(UserError, match=r"a reference of record 4 differs \(a pack holds no texts\)"):
            check(runs, "bleu")
    with pytest.raises(UserError, match="a reference of record 4 is '"):
        check([read(run, "test"), read(other, "test")], "bleu")


def test_a_limit_of_the_size_rounds_floats_and_keeps_sums(run: Path, tmp_path: Path) -> None:
    exact = packing.pack(run, LIMIT)
    assert exact.bits == (52, 52)
    limit = len(exact.content) - 20  # six records have few floats to round
    small = packing.pack(run, limit)
    assert len(small.content) <= limit and small.bits < exact.bits
    file = tmp_path / f"small{packs.SUFFIX}"
    file.write_bytes(small.content)
    original, rounded = read(run, "test"), packs.load(file, "test")
    for metric in original.results:
        ours, theirs = original.rows(metric), rounded.rows(metric)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert theirs.sum(0) == pytest.approx(ours.sum(0), rel=1e-12, abs=1e-12), metric
            assert theirs == pytest.approx(ours, rel=1e-2, abs=1e-3), metric
    with pytest.raises(UserError, match=r"needs \d kB for 6 records, more than pack_size=1; set pack_size=\d"):
        packing.pack(run, 1000)


@pytest.mark.parametrize("place", mostly_slow(range(0, 100, 9), every=2))
def test_damaged_packs_are_refused_in_one_line(run: Path, tmp_path: Path, place: int) -> None:
    content = bytearray(packing.pack(run, LIMIT).content)
    content[len(content) * place // 100] ^= 16
    file = tmp_path / f"a{packs.SUFFIX}"
    for damaged in (content, content[: len(content) * place // 100]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.pack\.xz is damaged \(.*restore it, or pack its run again") as refused:
            packs.find([file], "test")
        assert "\n" not in str(refused.value)


def test_an_evaluation_with_the_options_of_its_run_has_the_same_job(run: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(run, tmp_path / "run"))
    for name, options in {"same": [], "greedy": ["decoding=greedy"], "valid": ["split=valid"]}.items():
        asked = [f"checkpoint={base}", f"output={tmp_path / name}", "num_plots=0", *options]
        (config,) = hydra_app.compose("evaluate", [hydra_app.as_override(option) for option in asked])
        evaluate.evaluate(config)
    own, same, greedy, valid = (
        packing.pack(path, LIMIT) for path in (base, *(tmp_path / n for n in ("same", "greedy", "valid")))
    )
    heads = [json.loads(lzma.decompress(item.content).partition(b"\n")[0]) for item in (own, same, greedy)]
    assert heads[0]["job"] == heads[1]["job"] != heads[2]["job"] is None
    assert own.name == same.name and len({own.name, greedy.name, valid.name}) == 3
    folder = compare(f"runs=[{base},{tmp_path / 'greedy'},{tmp_path / 'valid'}]", f"pack={tmp_path / 'packs'}")
    assert {file.name for file in folder.iterdir()} == {own.name, greedy.name, valid.name}
    (alone,) = packs.find([folder / valid.name], "valid")
    assert (alone.split, alone.size) == ("valid", 6)


def test_missing_figures_of_a_run_are_reported(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poor = Path(shutil.copytree(sweep / "0", tmp_path / "poor"))
    results = json.loads((poor / "results.json").read_text())
    kept = ("bleu", "ter", "perplexity", "attention_entropy")
    results["test"] = {name: figure for name, figure in results["test"].items() if name in kept}
    (poor / "results.json").write_text(json.dumps(results))
    (note,) = pack_command.missing_figures([read(poor, "test")])
    assert note.startswith(
        f"{poor} lacks chrf, figures of faithfulness, figures of gold; before the run is removed, measure them "
        f"with python evaluate.py checkpoint={poor}"
    )
    assert pack_command.missing_figures([read(sweep / str(n), "test") for n in range(3)]) == []
    (note,) = pack_command.missing_figures([read(poor, "test"), read(sweep / "2", "test")])
    assert "accuracy" in note and "aer" in note
    compare(f"runs=[{poor},{sweep / '2'}]", f"pack={tmp_path / 'packs'}")
    assert note in capsys.readouterr().out


def test_bad_options_are_refused(run: Path, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for options, message in {
        (f"runs={run}", f"pack={tmp_path / 'a'}", "metric=bleu"): "metric has no effect with pack=",
        (f"runs={run}", "pack_size=40"): "pack_size=40 has no effect without pack=DIR",
        (f"runs={run}", f"pack={tmp_path / 'file'}"): "is a file; choose a folder",
        (f"runs={packed}", f"pack={tmp_path / 'a'}"): "contains only packs, which can't be packed again",
        (f"pack={tmp_path / 'a'}",): "runs: no run to keep in pack=",
        (f"runs={tmp_path}", f"pack={tmp_path / 'a'}"): "has no results.json at or below it",
        (f"runs={packed}", "split=valid", f"output={tmp_path / 'r'}"): "has no results of split 'valid'; it has: test",
        (f"runs={packed}", f"outputs.x={tmp_path / 'file'}", f"output={tmp_path / 'r'}"): "references=FILE is needed",
    }.items():
        with pytest.raises(UserError) as refused:
            compare(*options)
        assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "a").exists()


def test_a_folder_of_packs_over_the_limit_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_command, "MAX_FOLDER", 1000)
    with pytest.raises(UserError, match=r"would hold 0\.0 MB, more than 0\.001 MB; pack fewer runs"):
        compare(f"runs={run}", f"pack={tmp_path / 'packs'}")
    assert not (tmp_path / "packs").exists()


def test_long_curves_keep_their_best_validation(run: Path) -> None:
    rows = [{"step": float(n), "train/loss": 1.0} for n in range(1000)]
    rows += [{"step": float(n), "validation/nll": abs(n - 543.0)} for n in range(1000)]
    long = read(run, "test")
    long.__dict__["curves"] = rows
    curves = packing._curves(long)
    assert len(curves["step"]) <= 2 * packing.MAX_ROWS + 2
    assert 0.0 in curves["validation/nll"] and curves["step"].count(999.0) == 2 and curves["step"].count(0.0) == 2


def test_packs_of_the_repository_are_small_and_can_be_read() -> None:
    files = packs.pack_files(ROOT / "results")
    assert sum(file.stat().st_size for file in files) <= 10_000_000
    for file in files:
        assert packs.load(file, "auto").results
