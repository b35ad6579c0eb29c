"""Tests of the small model in models/: it loads, it translates well, and its files are small."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seq2seq
from seq2seq.data.toy.translation import ToyTranslation
from seq2seq.errors import UserError
from seq2seq.generation.generator import Generation, Output, TrainedModel
from seq2seq.metrics import score
from seq2seq.metrics.alignment import agreement
from seq2seq.metrics.gold import GoldLinks

FOLDER = Path(__file__).parents[1] / "models" / "toy_translation"
KNOWN = {
    "the green judge kicked a blue gold cup .": "le ratrezo bromuko hab un rinito turuzo fotubid .",
    "a dog collects the black flutes .": "una vutata bupokar las konivai ratapai drep .",
    "the happy singer sleeps in the castle .": "le kimilo klulavo folarar nataz le livoso .",
}
RECORDS = ToyTranslation().generate()["test"][:100]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """Load the shipped model on the CPU."""
    return seq2seq.load(FOLDER, device="cpu")


def test_model_has_few_small_files_without_paths() -> None:
    files = {file.name: file for file in FOLDER.iterdir()}
    assert set(files) == {"README.md", "config.yaml", "model.safetensors", "source.model", "target.model"}
    assert sum(file.stat().st_size for file in files.values()) <= 1_000_000
    config = files["config.yaml"].read_text(encoding="utf-8")
    assert (
        re.findall(r":\s+['\"]?(?:/|~|[A-Za-z]:\\)", config) == []
    )  # no absolute paths of the machine that trained it


def test_known_sentences_are_translated_as_expected(model: TrainedModel) -> None:
    assert [found.text for found in model.generate(list(KNOWN))] == list(KNOWN.values())


def test_scores_agree_with_readme(model: TrainedModel) -> None:
    """The scores on the first 100 sentences are close to those in README.md, which are on all 500."""
    outputs = [found.text for found in model.generate([record["source"] for record in RECORDS])]
    bleu = score(["bleu"], outputs, [[record["target"]] for record in RECORDS])["bleu"].score
    sources, targets = ([record[side] for record in RECORDS] for side in ("source", "target"))
    maps = [one.attention for one in model.score(sources, targets, return_attention=True)]
    gold = [GoldLinks.of(r["source"].split(), r["target"].split(), r["alignment"], r["possible"]) for r in RECORDS]
    aer = agreement([one.links() for one in maps if one is not None], gold).aer
    assert bleu >= 90 and aer <= 0.12
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    stated = {name: float(figure) for name, figure in re.findall(r"\| (BLEU|AER) on the test split \| ([\d.]+)", text)}
    assert stated["BLEU"] >= 95 and stated["AER"] <= 0.12
    assert bleu == pytest.approx(stated["BLEU"], abs=3) and aer == pytest.approx(stated["AER"], abs=0.02)


def test_returned_attention_weights_are_the_weights_that_the_model_uses(model: TrainedModel) -> None:
    record = RECORDS[50]
    (own,) = model.score(record["source"], record["target"], return_attention=True)
    assert own.attention is not None
    shown = own.attention.alignment
    with seq2seq.intervene(model, shown):
        (same,) = model.score(record["source"], record["target"])
    with seq2seq.intervene(model, np.roll(shown, 1, axis=1)):
        (other,) = model.score(record["source"], record["target"])
    assert same.log_probs == pytest.approx(own.log_probs, abs=1e-5)
    assert other.loss > own.loss + 1
    assert model.score(record["source"], record["target"])[0].log_probs == pytest.approx(own.log_probs, abs=1e-6)


def test_intervention_changes_generation_only_inside_its_context(model: TrainedModel) -> None:
    source = RECORDS[50]["source"]
    (plain,) = model.generate(source)
    with seq2seq.intervene(model, "uniform"):
        (changed,) = model.generate(source, return_attention=True)
    assert changed.attention is not None and changed.text != plain.text
    width = len(changed.attention.source)
    np.testing.assert_allclose(changed.attention.alignment, 1 / width, atol=1e-6)
    assert model.generate(source)[0].text == plain.text
    with pytest.raises(UserError, match="'averaged' is unknown"), seq2seq.intervene(model, "averaged"):
        pass


def test_draw_shows_alignment_and_gold_links(model: TrainedModel, tmp_path: Path) -> None:
    """Two gold cells without a common border have 8 lines; links to words that do not exist are not drawn."""
    (found,) = model.generate(RECORDS[50]["source"], return_attention=True)
    assert found.attention is not None
    figure = seq2seq.draw(found.attention, gold=[(0, 0), (1, 2), (99, 0)], title="a title")
    panel = figure.axes[0]
    np.testing.assert_allclose(panel.images[0].get_array(), found.attention.alignment, atol=1e-6)
    assert len(panel.collections[0].get_segments()) == 8
    figure.savefig(tmp_path / "attention.png")
    assert (tmp_path / "attention.png").stat().st_size > 1000


def test_a_notebook_shows_the_text_and_the_attention(model: TrainedModel) -> None:
    (found,) = model.generate(RECORDS[50]["source"], return_attention=True)
    assert str(found) == found.text and "attention" not in repr(found)
    assert Generation("x", [Output("<b>", 0.0, 0.0, True)])._repr_html_() == '<p dir="auto">&lt;b&gt;</p>'
    seen = found.attention
    assert seen is not None and seen.model == "RNN, additive attention"
    picture = seen._repr_png_()
    wide, high = Image.open(io.BytesIO(picture)).size
    assert wide > 300 and high > 300
    shown = seen._repr_html_()
    assert f'alt="attention of RNN, additive attention {found.text}"' in shown
    assert base64.b64decode(shown.partition("base64,")[2].partition('"')[0]) == picture
