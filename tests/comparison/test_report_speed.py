"""Tests of the speed of the report: 60 runs with 200 examples each are built in a minute and opened in seconds.

To print the times: `pytest -m slow -k report -s`
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from seq2seq import attention_store
from seq2seq.attention_store import AttentionRecord
from seq2seq.cli import compare, hydra_app
from seq2seq.metrics import score
from tests.browser import CHROMIUM, chromium
from tests.metrics.test_resampling import WORDS

RUNS, RECORDS, EXAMPLES, LAYERS, HEADS = 60, 500, 200, 2, 4
METRICS = ("bleu", "chrf", "ter")


def write_run(folder: Path, number: int) -> None:
    """Write a run as ``train.py`` leaves it; a larger ``number`` gives more wrong words."""
    told, draw = np.random.default_rng(0), np.random.default_rng(number)
    sources, references, outputs, kept = [], [], [], []
    for place in range(RECORDS):
        words = [str(word) for word in told.choice(WORDS, told.integers(5, 16))]
        sources.append(" ".join(words))
        references.append([" ".join(reversed(words))])
        wrong = draw.random(len(words)) < 0.05 + 0.01 * number
        outputs.append(" ".join("wrong" if w else word for w, word in zip(wrong, reversed(words), strict=True)))
        if place < EXAMPLES:
            size = len(words)
            weights = {
                f"cross.{layer}": draw.dirichlet(np.full(size + 1, 0.1), (HEADS, size + 1)).astype(np.float32)
                for layer in range(LAYERS)
            }
            pieces = [*(f"▁{word}" for word in words), "</s>"]
            at = [*range(size), -1]
            last = weights[f"cross.{LAYERS - 1}"].mean(0)
            kept.append(
                AttentionRecord(place, pieces, [*reversed(pieces[:-1]), "</s>"], at, at, last, weights, last[:-1, :-1])
            )
    found = score(METRICS, outputs, references)
    (folder / "outputs").mkdir(parents=True)
    with (folder / "outputs" / "test.jsonl").open("w") as file:
        for n, (source, several, text) in enumerate(zip(sources, references, outputs, strict=True)):
            entry = {"source": source, "references": several, "hypothesis": text}
            file.write(
                json.dumps({**entry, "sums": {name: figure.per_record[n] for name, figure in found.items()}}) + "\n"
            )
    attention_store.save(folder / "attention" / "test.npz", kept)
    training = {"steps": 100, "seconds": 60.0 + number, "tokens_per_second": 1000.0 + number, "monitor": "nll"}
    about = {"seed": number % 3, "parameters": 10**6, "training": training}
    scores = {name: figure.to_dict() for name, figure in found.items()}
    (folder / "results.json").write_text(json.dumps({"test": scores, "run": about}))
    (config,) = hydra_app.compose("train", ["data=toy_translation"])
    OmegaConf.set_struct(config, False)
    OmegaConf.save(OmegaConf.merge(config, {"seed": number % 3, "note": number // 3}), folder / "config.yaml")
    (folder / ".hydra").mkdir()
    choices = {"model": "rnn", "attention": f"mechanism{number // 3}"}
    OmegaConf.save({"hydra": {"runtime": {"choices": choices}}}, folder / ".hydra" / "hydra.yaml")
    OmegaConf.save([f"seed={number % 3}"], folder / ".hydra" / "overrides.yaml")
    (folder / "metrics.csv").write_text("step,validation/nll\n" + "".join(f"{n},{5 / n}\n" for n in range(1, 101)))


@pytest.mark.slow
def test_a_report_of_sixty_runs_is_fast_and_small(tmp_path: Path) -> None:
    for number in range(RUNS):
        write_run(tmp_path / "runs" / str(number), number)
    options = [f"runs={tmp_path / 'runs'}", f"output={tmp_path / 'report'}"]
    (config,) = hydra_app.compose("compare", [hydra_app.as_override(option) for option in options])
    began = time.monotonic()
    page = compare.compare(config)
    built = time.monotonic() - began
    assert "mechanism19" in page.read_text(encoding="utf-8")
    size = page.stat().st_size / 2**20
    print(f"\n{RUNS} runs, {EXAMPLES} examples: built in {built:.1f} s, {size:.1f} MiB")
    assert built < 60
    assert size < 10
    if CHROMIUM is not None:
        with chromium() as browser:
            began = time.monotonic()
            browser.open(page)
            browser.wait("document.querySelector('.explorer').dataset.ready")
            opened = time.monotonic() - began
            print(f"opened in {opened:.1f} s")
            assert not browser.problems
        assert opened < 3
