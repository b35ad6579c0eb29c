"""Tests of summarisation from end to end, with a tiny run over documents: scores, pictures and new documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

import seq2seq
from seq2seq.cli import generate, hydra_app, train

SMALL = (
    "data=toy_summarisation",
    "attention=hierarchical",
    "encoder=document_rnn",
    "logger=csv",
    "data.reader.train=40",
    "data.reader.valid=4",
    "data.reader.test=6",
    "model.dim=16",
    "model.embedding_dim=8",
    "trainer.max_steps=3",
    "training.num_plots=1",
    "decoding.beam_size=2",
)


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny summarisation model and return the directory of the run."""
    run = tmp_path_factory.mktemp("documents")
    overrides = [*SMALL, f"data.cache={run / 'cache'}"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(override) for override in overrides])
    train.train(config, run / "run")
    return run / "run"


def test_rouge_scores_equal_those_of_rouge_score_on_the_outputs(summaries: Path) -> None:
    scores = json.loads((summaries / "results.json").read_text())["test"]
    rows = [json.loads(line) for line in (summaries / "outputs" / "test.jsonl").read_text().splitlines()]
    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds, use_stemmer=True)
    found = [scorer.score_multi(row["references"], row["hypothesis"]) for row in rows]
    for kind in kinds:
        assert scores[kind]["score"] == pytest.approx(100 * np.mean([one[kind].fmeasure for one in found]), abs=1e-9)
    assert {"novelty_2", "repetition", "length_ratio", "sentence_recall", "copy_accuracy"} <= scores.keys()
    said, whole = np.sum([row["sums"]["copy_accuracy"] for row in rows], axis=0)
    assert scores["copy_accuracy"]["score"] == said / whole
    assert {"rougeL_lead_1", "rougeL_random_1", "rougeL_oracle"} <= scores.keys()
    assert scores["rougeL_oracle"]["score"] > scores["rougeL_random_1"]["score"]
    assert all(len(row["copied"]) == len(row["hypothesis"].split(" ")) for row in rows)


def test_run_saves_pictures_of_documents(summaries: Path) -> None:
    for folder in (summaries / "attention" / "test", *(summaries / "attention" / "validation").iterdir()):
        names = {path.name for path in folder.iterdir()}
        assert {"00000_document.png", "00000_document.html", "00000_document.npz"} <= names


def test_generate_summarises_new_documents_and_marks_copied_words(
    summaries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``generate.py`` prints a line for each file of a folder, and keeps the spelling of unknown words."""
    for name, text in (("b", "Zork met Quux .\nnobody came ."), ("a", "")):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    options = [f"checkpoint={summaries}", f"input={tmp_path}", "mark_copied=true"]
    (config,) = hydra_app.compose("generate", [hydra_app.as_override(option) for option in options])
    generate.generate(config)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "" and second
    trained = seq2seq.load(summaries)
    found = trained.generate(["Zork met Quux .\nnobody came ."], return_attention=True)[0]
    assert found.attention is not None and set(found.attention.sentences) == {0, 1}
    assert found.attention.source[0] == "▁Zork"  # this word is not in the vocabulary
    words = zip(found.text.split(" "), found.copied, strict=True)
    assert second == " ".join(f"[{word}]" if share > 0.5 else word for word, share in words)
