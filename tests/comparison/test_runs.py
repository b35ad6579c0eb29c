"""Tests of damaged runs: a warning where figures can still be read, else a refusal in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from seq2seq.cli import compare as compare_command
from seq2seq.cli import hydra_app
from seq2seq.comparison.runs import find
from seq2seq.comparison.systems import check
from seq2seq.errors import UserError

OLD = Path(__file__).parents[1] / "fixtures" / "runs_0.1" / "translation"


@pytest.fixture
def runs(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "runs" / "0")).parent


def compare(runs: Path) -> None:
    asked = [f"runs={runs}", f"output={runs.parent / 'report'}", "samples=100"]
    (config,) = hydra_app.compose("compare", [hydra_app.as_override(option) for option in asked])
    compare_command.compare(config)


def test_an_unchanged_run_gives_no_warning(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    compare(runs)
    assert "changed" not in caplog.text


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("results.json", '"score": ', '"score": 1'),
        ("outputs/test.jsonl", '"hypothesis": "', '"hypothesis": "x'),
        ("frequencies.json", ": ", ": 1"),
        ("config.yaml", "max_tokens: 256", "max_tokens: 255"),
        ("metrics.csv", "\n3,", "\n2,"),
    ],
)
def test_a_changed_file_is_reported(
    runs: Path, name: str, old: str, new: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All changed files are still valid, so readers don't notice the change."""
    file = runs / "0" / name
    text = file.read_bytes().decode()
    assert old in text
    file.write_bytes(text.replace(old, new, 1).encode())
    find([runs], "test")
    assert f"{file} was changed after it was written" in caplog.text


@pytest.mark.parametrize("name", ["results.json", "outputs/test.jsonl", "frequencies.json", "config.yaml"])
@pytest.mark.parametrize("content", [b"", b"null\n", b"[1]\n", b'{"a": 1}\n', b"\xff\x00\n"])
def test_damaged_files_are_reported_in_one_line(
    runs: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (runs / "0" / name).write_bytes(content)
    try:
        compare(runs)
    except UserError as error:
        assert "\n" not in str(error) and str(runs / "0") in str(error)
    else:
        assert "was changed after it was written" in caplog.text


@pytest.mark.parametrize("place", range(0, 100, 9))
def test_damaged_attention_is_reported_in_one_line(runs: Path, place: int) -> None:
    """One bit is changed at eleven places of the archive; if a checksum notices it, the error is one line."""
    file = runs / "0" / "attention" / "test.npz"
    content = bytearray(file.read_bytes())
    content[len(content) * place // 100] ^= 16
    file.write_bytes(content)
    try:
        (found,) = find([runs], "test")
        assert found.attention_records is not None
    except UserError as error:
        assert "\n" not in str(error)


def test_an_older_run_without_digests_gives_no_warning(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = runs / "0" / "results.json"
    content = json.loads(file.read_text())
    del content["run"]["digests"]
    file.write_text(json.dumps(content))
    find([runs], "test")
    assert "changed" not in caplog.text


def test_old_names_of_figures_are_read_as_the_current_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run of version 0.1 has the same figures as its copy with the current names."""
    renamed = Path(shutil.copytree(OLD, tmp_path / "renamed"))
    for file in ("results.json", "outputs/test.jsonl"):
        text = (OLD / file).read_text(encoding="utf-8")
        assert '"cost_frozen"' in text
        (renamed / file).write_text(text.replace('"cost_', '"nll_increase_'), encoding="utf-8")
    before = json.loads((OLD / "results.json").read_text(encoding="utf-8"))["test"]
    old, new = find([OLD, renamed], "test")
    assert "left out" not in caplog.text
    for name in ("uniform", "permuted", "frozen"):
        metric = f"nll_increase_{name}"
        assert old.results[metric] == new.results[metric] == before[f"cost_{name}"]
        one, other = old.rows(metric), new.rows(metric)
        assert one is not None and other is not None and (one == other).all()
        part, whole = one.sum(0)
        assert part / whole == pytest.approx(before[f"cost_{name}"]["score"])
        check([old, new], metric)


def test_an_unknown_figure_is_left_out_with_a_warning(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = runs / "0" / "results.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"chrf"', '"chrf9"'), encoding="utf-8")
    (run,) = find([runs], "test")
    assert "chrf9 is left out: seq2seq/metrics/table.py has no entry for it" in caplog.text
    assert "chrf9" not in run.results and "bleu" in run.results
    compare(runs)
