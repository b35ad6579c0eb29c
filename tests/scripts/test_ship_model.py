"""Tests of ``scripts/ship_model.py``: it writes a folder that can be loaded, with a README about the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import seq2seq

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/ship_model.py` does the same

import ship_model


def test_a_finished_run_is_shipped(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "small"
    monkeypatch.setattr(sys, "argv", ["ship_model.py", "--run", str(run), "--folder", str(folder)])
    ship_model.main()
    assert {file.name for file in folder.iterdir()} == {
        *("README.md", "config.yaml", "model.safetensors", "source.model", "target.model")
    }
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# small\n") and "| seed | 1 |" in text and "{" not in text
    source = "the old woman saw the bird ."
    shipped, original = (seq2seq.load(path, device="cpu") for path in (folder, run))
    assert shipped.generate(source)[0].text == original.generate(source)[0].text


def test_a_large_model_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship_model, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"more than 1,000; set a smaller model\.dim"):
        ship_model.ship(run, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_the_readme_has_the_options_of_the_script() -> None:
    text = (ship_model.FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"python train.py {' '.join(ship_model.OPTIONS)}\n" in text
