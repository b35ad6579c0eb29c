"""Tests of ``scripts/catalogue.py``: it reads configs and runs, keeps one run for each seed and writes tables."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import UserError
from tests.catalogue import CONF, choices

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/catalogue.py` does the same

import catalogue
import mechanism_speed

TINY = ["data.reader.train=40", "data.reader.valid=4", "data.reader.test=4", "model.dim=8", "data.max_tokens=64"]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the configs of three mechanisms, one of which is a synonym, and of a self-attention."""
    files = {
        "attention/dot": "# Dot: e = s . h (Luong 2015, arXiv:1508.04025)\n# For: speed\ndefaults: [a, b]\nheads: 1\n",
        "attention/local": "# Local: |s - t| <= D (Luong 2015)\n# For: long sources\n_target_: x\n",
        "attention/near": "# Near: another name\n# For: those who say near\ndefaults: [local]\n",
        "self_attention/multi_head": "# Heads: several (Vaswani 2017)\n# For: all\ndefaults: [a]\nheads: 4\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(catalogue, "CONF", tmp_path)
    return tmp_path


def run(folder: Path, *overrides: str, bleu: float = 50.0, seed: int = 1, **chosen: str | None) -> Path:
    """Write the files of a finished run that the catalogue reads."""
    picked = {"data": "toy_translation", "model": "rnn", "attention": "additive", "self_attention": None, **chosen}
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(list(overrides)))
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": {"runtime": {"choices": picked}}}))
    scores = {"bleu": bleu, "aer": 0.25, "attention_entropy": 1.5, "ter": 3.0}
    about = {"seed": seed, "parameters": 1234, "training": {"seconds": 9.0}}
    results = {"test": {name: {"score": score, "signature": ""} for name, score in scores.items()}, "run": about}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(json.dumps({"data": {"name": picked["data"]}}))
    return folder


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot in catalogue.SLOTS for name in choices(slot)])
def test_every_config_states_its_idea_and_its_purpose(slot: str, name: str) -> None:
    entry = catalogue.Entry.read(CONF / slot / f"{name}.yaml")
    assert re.match(r"[A-Z]\w", entry.idea)
    assert 10 < len(entry.purpose) < 120 and not entry.purpose.endswith(".")


def test_the_page_has_a_place_for_every_table() -> None:
    page = catalogue.PAGE.read_text()
    regions = re.findall(r"<!-- table: ([\w ]+) -->\n(?:.*?)<!-- end -->", page, re.DOTALL)
    assert sorted(regions) == sorted(catalogue.tables({}))


def test_entries(conf: Path) -> None:
    dot, local, near = catalogue.entries("attention")
    assert (dot.name, dot.purpose, dot.same_as) == ("dot", "speed", None)
    assert (local.idea, local.same_as) == ("Local: |s - t| <= D (Luong 2015)", None)
    assert near.same_as == "local"
    (conf / "attention" / "dot.yaml").write_text("# Dot\nheads: 1\n")
    with pytest.raises(UserError, match=r"dot.yaml: line 1 must be .* line 2 '# For: purpose'"):
        catalogue.entries("attention")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("rnn", "local", None), {"attention": "local"}),
        (("transformer", "local", None), {"attention": "local"}),
        (("transformer", "local", "multi_head"), {"attention": "local"}),
        (("transformer", "multi_head", None), {"attention": "multi_head", "self_attention": "multi_head"}),
        (("transformer", "multi_head", "linear"), {"self_attention": "linear"}),
        (("rnn", "additive", "linear"), {"self_attention": "linear"}),
        (("rnn", "local", "linear"), {}),
    ],
)
def test_a_run_counts_for_the_slot_that_was_varied(chosen: tuple[str, str, str | None], expected: Any) -> None:
    assert catalogue.placed(*chosen) == expected


def test_one_run_is_kept_for_each_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "a" / "0", "attention=local", "++seed=2", attention="local", bleu=40.0, seed=2)
    run(tmp_path / "a" / "1", "attention=local", attention="local", bleu=10.0)
    run(tmp_path / "a" / "2", "attention=local", "++model.dim=8", attention="local", bleu=0.0)
    run(tmp_path / "a" / "3", "attention=local", "debug=batch", attention="local", bleu=0.0)
    run(tmp_path / "b", "data=probe_copy", attention="dot", data="probe_copy", bleu=99.0)
    store: dict[str, Any] = {}
    catalogue.add_runs(store, [tmp_path / "a"])
    assert [(r["seed"], r["bleu"]) for r in store["runs"]["toy_translation"]["attention"]["rnn"]["local"]] == [
        (1, 10.0),
        (2, 40.0),
    ]
    errors = capsys.readouterr().err
    assert "2: left out; not the common recipe: model.dim=8\n" in errors
    assert "3: left out; not the common recipe: debug=batch\n" in errors
    run(tmp_path / "c", "attention=local", attention="local", bleu=30.0)
    catalogue.add_runs(store, [tmp_path / "b", tmp_path / "c"])
    assert [r["bleu"] for r in store["runs"]["toy_translation"]["attention"]["rnn"]["local"]] == [30.0, 40.0]
    assert store["runs"]["probe_copy"]["attention"]["rnn"]["dot"][0]["bleu"] == 99.0


def test_tables(conf: Path) -> None:
    scored = {"parameters": 1234, "aer": 0.25, "attention_entropy": 1.5}
    runs = {"toy_translation": {"attention": {"rnn": {"local": [{"bleu": b, "seed": b, **scored} for b in (30, 40)]}}}}
    runs["probe_sort"] = {"attention": {"rnn": {"local": [{"bleu": 88.0, "seed": 1, **scored}]}}}
    host = {"processor": "P", "threads": 1, "cores": 2}
    rnn = {"dot": {"parameters": 7000, "peak": 3 * 2**20, "relative": 1.0}, "local": {"peak": 2**20, "relative": 0.5}}
    speed = {"date": "today", "machine": host, "torch": "2", "attention": {"rnn": rnn}}
    speed["attention"]["transformer"] = {"local": {"refused": "it can't"}}
    made = catalogue.tables({"runs": runs, "speed": speed})
    paper = "[arXiv:1508.04025](https://arxiv.org/abs/1508.04025)"
    assert f"| `attention=dot` | Dot: e = s . h (Luong 2015, {paper}) | speed |" in made["attention"]
    assert r"| Local: \|s - t\| <= D (Luong 2015) | long sources |" in made["attention"]
    assert "| `dot` | 7,000 | not run |  |  | 1.00 | 3 |" in made["attention rnn"]
    assert "| `local` | 1,234 | 35.0 ± 7.1 | 0.250 ± 0.000 | 1.500 ± 0.000 | 0.50 | 1 |" in made["attention rnn"]
    assert "| `near` | = `local` |" in made["attention rnn"]
    assert made["attention transformer"].endswith("Refused: `local`: it can't.")
    assert "| `local` | not run | not run | 88.0 (0.250) | not run | not run |" in made["probes rnn"]
    assert made["probes transformer"] == "Not run yet."
    assert made["measured"] == "Speed and memory: P, 1 threads of 2 cores, torch 2, today."


def test_only_tables_are_overwritten(conf: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("By hand.\n\n<!-- table: attention rnn -->\nold\n<!-- end -->\n\nNotes.\n")
    run(tmp_path / "runs", "attention=dot", attention="dot", bleu=12.5)
    catalogue.main(["--page", str(page), str(tmp_path / "runs")])
    text = page.read_text()
    assert text.startswith("By hand.\n\n<!-- table: attention rnn -->\n\n| config |")
    assert text.endswith("|\n\n<!-- end -->\n\nNotes.\n")
    assert "| `dot` | 1,234 | 12.5 |" in text and "old" not in text
    catalogue.main(["--page", str(page)])
    assert page.read_text() == text  # written from the stored runs
    page.write_text("<!-- table: attention rrn -->\n<!-- end -->\n")
    with pytest.raises(SystemExit, match=r"catalogue.py: catalogue.md: unknown table 'attention rrn'; use one of "):
        catalogue.main(["--page", str(page)])


def test_speed_of_mechanisms_is_relative_to_dot(tmp_path: Path) -> None:
    overrides = [*TINY, "model.embedding_dim=8", f"data.cache={tmp_path}"]
    found = mechanism_speed.measure("attention", "rnn", ["additive"], 2, overrides)
    assert list(found) == ["dot", "additive"]
    assert found["dot"]["relative"] == 1.0 and found["additive"]["relative"] > 0
    assert found["additive"]["parameters"] == found["dot"]["parameters"] + 2 * 8 * 8 + 8
    assert all(each["tokens_per_second"] > 0 and each["peak"] > 1000 for each in found.values())


def test_refused_models_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = mechanism_speed.build

    def refuse(config: Any, *sizes: int) -> Any:
        if "Additive" in config.attention.score._target_:
            raise UserError("not here")
        return build(config, *sizes)

    monkeypatch.setattr(mechanism_speed, "build", refuse)
    overrides = [*TINY, "model.embedding_dim=8", f"data.cache={tmp_path}"]
    found = mechanism_speed.measure("attention", "rnn", ["additive"], 1, overrides)
    assert found["additive"] == {"refused": "not here"} and found["dot"]["relative"] == 1.0
