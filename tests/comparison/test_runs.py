"""Damage to what runs left is told: as a warning where figures can still be read, else in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from seq2seq.cli import compare as compare_command
from seq2seq.cli import hydra_app
from seq2seq.comparison.runs import find
from seq2seq.errors import UserError


@pytest.fixture
def runs(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "runs" / "0")).parent


def compare(runs: Path) -> None:
    asked = [f"runs={runs}", f"output={runs.parent / 'report'}", "samples=100"]
    (config,) = hydra_app.compose("compare", [hydra_app.as_override(option) for option in asked])
    compare_command.compare(config)


def test_what_a_run_left_is_as_it_was(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
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
def test_a_changed_figure_is_told(runs: Path, name: str, old: str, new: str, caplog: pytest.LogCaptureFixture) -> None:
    """All still read well: no reader would notice."""
    file = runs / "0" / name
    text = file.read_bytes().decode()
    assert old in text
    file.write_bytes(text.replace(old, new, 1).encode())
    find([runs], "test")
    assert f"{file} was changed after it was written" in caplog.text


@pytest.mark.parametrize("name", ["results.json", "outputs/test.jsonl", "frequencies.json", "config.yaml"])
@pytest.mark.parametrize("content", [b"", b"null\n", b"[1]\n", b'{"a": 1}\n', b"\xff\x00\n"])
def test_damage_is_one_line(runs: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (runs / "0" / name).write_bytes(content)
    try:
        compare(runs)
    except UserError as error:
        assert "\n" not in str(error) and str(runs / "0") in str(error)
    else:
        assert "was changed after it was written" in caplog.text


@pytest.mark.parametrize("place", range(0, 100, 9))
def test_damaged_attention_is_one_line(runs: Path, place: int) -> None:
    """A bit in each tenth of the archive: its own sums notice, or ours."""
    file = runs / "0" / "attention" / "test.npz"
    content = bytearray(file.read_bytes())
    content[len(content) * place // 100] ^= 16
    file.write_bytes(content)
    try:
        (found,) = find([runs], "test")
        assert found.exhibits is not None
    except UserError as error:
        assert "\n" not in str(error)


def test_an_older_run_without_digests_is_taken_as_it_is(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = runs / "0" / "results.json"
    content = json.loads(file.read_text())
    del content["run"]["digests"]
    file.write_text(json.dumps(content))
    find([runs], "test")
    assert "changed" not in caplog.text
