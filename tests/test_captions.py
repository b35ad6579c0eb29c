"""Tests of captioning from end to end, with a tiny run over drawn scenes: its files, its scores, and new images."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

import seq2seq
from seq2seq.cli import evaluate, generate, hydra_app
from seq2seq.cli import train as train_command
from seq2seq.data.records import regions_of
from seq2seq.data.toy.scenes import COLOURS, SHAPES, TEXTURES
from seq2seq.evaluation.evaluate import score_records
from seq2seq.metrics import resampling
from seq2seq.tasks.captioning import Captioning
from tests.encoders.test_image import shown
from tests.sampling import mostly_slow

SMALL = (
    *("data=toy_captioning", "logger=csv", "data.reader.train=40", "data.reader.valid=4", "data.reader.test=6"),
    *(
        "model.dim=16",
        "model.embedding_dim=8",
        "encoder.channels=[8,8,16]",
        "trainer.max_steps=3",
        "training.num_plots=1",
    ),
    *("decoding.beam_size=2", "task.max_length=12"),
)


ORDERED = ["local_m", "monotonic", "mocha", "gmm", "location", "hierarchical"]


def composed(name: str, *lines: str) -> DictConfig:
    """Return the config of a command with options."""
    (config,) = hydra_app.compose(name, [hydra_app.as_override(line) for line in lines])
    return config


def train(directory: Path, *overrides: str) -> Path:
    """Train a tiny captioning model and return the directory of the run."""
    lines = [*SMALL, f"data.cache={directory / 'cache'}", *overrides]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    train_command.train(config, directory / "run")
    return directory / "run"


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished captioning run."""
    return train(tmp_path_factory.mktemp("captions"))


def test_run_saves_scores_outputs_and_attention_sheets(captions: Path) -> None:
    scores = json.loads((captions / "results.json").read_text())["test"]
    assert {"cider", "bleu4", "rougeL_coco", "pointing", "pointing_uniform", "pointing_centre"} <= scores.keys()
    assert {"exact", "attributes", "unique_captions", "perplexity", "attention_entropy"} <= scores.keys()
    rows = [json.loads(line) for line in (captions / "outputs" / "test.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and all(Path(row["source"]).is_file() and len(row["references"]) > 1 for row in rows)
    for name in (
        "cider",
        "bleu4",
        "rougeL_coco",
        "pointing",
        "exact",
        "attributes",
    ):  # the scores follow from the sums in the outputs
        score = resampling.score(name, np.sum([row["sums"][name] for row in rows if name in row["sums"]], axis=0))
        assert score == pytest.approx(scores[name]["score"], nan_ok=True), name
    for folder in (captions / "attention" / "test", *(captions / "attention" / "validation").iterdir()):
        assert {"00000_sheet.png", "00000_sheet.npz"} <= {path.name for path in folder.iterdir()}


def test_loaded_model_captions_and_scores_image_files(captions: Path) -> None:
    model = seq2seq.load(captions)
    rows = [json.loads(line) for line in (captions / "outputs" / "test.jsonl").read_text().splitlines()]
    found = model.generate([Path(row["source"]) for row in rows], return_attention=True)
    assert [one.text for one in found] == [row["hypothesis"] for row in rows]
    seen = found[0].attention
    assert seen.extent == (8, 8) and seen.alignment.shape[1] == 64 and len(seen.words) == len(found[0].text.split())
    references = [row["references"][0] for row in rows]
    scored = model.score([Path(row["source"]) for row in rows], references, return_attention=True)
    assert [one.attention.alignment.shape for one in scored] == [(len(one.pieces), 64) for one in scored]
    with pytest.raises(seq2seq.errors.UserError, match="score: an image cannot be read"):
        model.score(["missing.png"], references[:1])
    titles = [axes.get_title() for axes in seq2seq.draw(seen).axes]
    assert [title for title in titles if title] == ["image", *seen.words]
    assert seen._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(seq2seq.errors.UserError, match="gold= and pieces= have no effect, because the source is an"):
        seq2seq.draw(seen, gold=[(0, 0)])


@pytest.mark.parametrize(
    "overrides",
    mostly_slow(
        [
            "model=transformer encoder=patches encoder.patch=16 ~encoder.channels model.ff_dim=16",
            "attention=hard",
            "attention=adaptive",
            "attention=local attention.window.reach=2",
            "attention=hard_marginal",
            "attention=memory attention.temporal=false",
            "model=transformer attention=multi_head model.ff_dim=16",
            "decoder.gate=true loss.weights.doubly_stochastic=1.0 decoder.order=bahdanau",
        ],
        every=8,
    ),
)
def test_other_models_and_options_give_finite_perplexity(tmp_path: Path, overrides: str) -> None:
    run = train(tmp_path, "training.num_plots=0", "training.faithfulness_examples=2", *overrides.split())
    assert np.isfinite(json.loads((run / "results.json").read_text())["test"]["perplexity"]["score"])


@pytest.mark.parametrize("attention", mostly_slow(ORDERED, every=3))
def test_mechanisms_that_need_an_order_are_refused_for_images(attention: str) -> None:
    lines = [*SMALL, f"attention={attention}"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    with pytest.raises(seq2seq.errors.UserError, match=r"regions|time"):
        train_command.check(config)


@pytest.mark.slow
def test_clips_with_temporal_and_monotonic_attention(tmp_path: Path) -> None:
    """Temporal and monotonic attention accept clips, because frames have an order; a sheet shows them as a strip."""
    lines = [
        *("data=toy_clips", "logger=csv", "data.reader.train=20", "data.reader.valid=3", "data.reader.test=4"),
        *("model.dim=16", "model.embedding_dim=8", "encoder.frames.channels=[8,8]", "trainer.max_steps=2"),
        *("training.num_plots=1", "decoding.beam_size=2", "task.max_length=12", f"data.cache={tmp_path}"),
    ]
    for attention in ("temporal", "monotonic"):
        train_command.train(composed("train", *lines, f"attention={attention}"), tmp_path / attention)
        scores = json.loads((tmp_path / attention / "results.json").read_text())["test"]
        assert 0 < scores["pointing_uniform"]["score"] < 1
        seen = np.load(tmp_path / attention / "attention" / "test" / "00000_sheet.npz")
        assert seen["extent"].tolist() == [1, 8] and seen["cells"].tolist() == [[0, n] for n in range(8)]


def objects(caption: str) -> set[tuple[str, ...]]:
    """Return size, texture, colour and shape of each object in a caption; captions omit the texture "plain"."""
    words, found = caption.split(), set()
    for place, (one, two) in enumerate(pairwise(words)):
        if one in COLOURS and two in SHAPES:
            before = words[place - 1]
            found.add((words[place - 2], before, one, two) if before in TEXTURES else (before, "plain", one, two))
    return found


def test_captions_match_regions_and_test_scenes_have_new_objects(captions: Path) -> None:
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in SMALL])
    corpus = seq2seq.config.instantiate.build_node(config.data)
    records = corpus.data.reader.generate()
    seen = set().union(*(objects(record["target"]) for split in ("train", "valid") for record in records[split]))
    for record in records["test"]:
        assert objects(record["target"]) - seen and record["references"][0] == record["target"]
        for text, regions in zip(record["references"], record["regions"], strict=True):
            named = [word for word, boxes in zip(text.split(), regions, strict=True) if boxes]
            assert named and not {"a", "and", ",", "left", "of", "above"} & set(named)
            assert regions_of(record, text) == regions
        assert regions_of(record, "something else") is None


@pytest.mark.parametrize("family", ["rnn", "transformer"])
def test_closed_gate_removes_the_effect_of_the_source(family: str) -> None:
    lines = [line for line in SMALL if family == "rnn" or not line.startswith("model.embedding_dim")]
    lines += ["decoder.gate=true", f"model={family}"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    torch.manual_seed(0)
    model = seq2seq.model.build(config, 0, 20)
    gates = {name: value for name, value in model.decoder.named_parameters() if ".gate." in f".{name}"}
    assert gates
    for name, value in gates.items():
        value.data.fill_(0.0 if name.endswith("weight") else -1e4)  # closed gate: sigmoid(-1e4) = 0
    model.eval()
    batch = shown((64, 64), (64, 64), side=64)
    batch = replace(batch, target=torch.tensor([[2, 5, 6, 3]] * 2), target_tokens=6)
    encoded = model.encode(batch)
    other = replace(encoded, memory=replace(encoded.memory, values=encoded.memory.values + 1))
    first, second = (model.decoder(batch.target_in, model.decoder.start(e))[0].features for e in (encoded, other))
    torch.testing.assert_close(first, second)  # the memory has no effect


def test_generate_command_captions_folders_patterns_and_lists(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [json.loads(line) for line in (captions / "outputs" / "test.jsonl").read_text().splitlines()]
    for n, row in enumerate(rows[:3]):
        (tmp_path / f"{n}.png").write_bytes(Path(row["source"]).read_bytes())
    (tmp_path / "1.png").write_bytes(b"not an image")
    (tmp_path / "notes.md").write_text("beside")
    expected = [rows[0]["hypothesis"], "", rows[2]["hypothesis"]]
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path / f'{n}.png'}\n" for n in range(3)))
    for given in (tmp_path, tmp_path / "*.png", tmp_path / "list.txt"):
        generate.generate(composed("generate", f"checkpoint={captions}", f"input={given}"))
        assert capsys.readouterr().out.splitlines() == expected
    assert "1.png: not an image; left out" in caplog.text
    options = [f"output={tmp_path / 'out.jsonl'}", f"plots={tmp_path / 'plots'}"]
    generate.generate(composed("generate", f"checkpoint={captions}", f"input={tmp_path / '2.png'}", *options))
    (entry,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert entry["file"].endswith("2.png") and entry["hypothesis"] == expected[2]
    assert (tmp_path / "plots" / "00000_sheet.png").exists()
    (tmp_path / "2[1].png").write_bytes((tmp_path / "2.png").read_bytes())
    generate.generate(composed("generate", f"checkpoint={captions}", f"input='{tmp_path / '2[1].png'}'"))
    assert capsys.readouterr().out.splitlines() == expected[2:]
    with pytest.raises(seq2seq.errors.UserError, match=r"\*\.bmp has no images"):
        generate.generate(composed("generate", f"checkpoint={captions}", f"input={tmp_path}/*.bmp"))
    with pytest.raises(seq2seq.errors.UserError, match=r"alignments=.* has no effect: an image has no words"):
        generate.generate(composed("generate", f"checkpoint={captions}", f"alignments={tmp_path / 'a'}"))


def test_grid_of_one_row_has_no_monotonicity(captions: Path) -> None:
    """Monotonicity is defined for a clip, but not for an image whose grid has one row."""
    model = seq2seq.load(captions)
    rows = [json.loads(line) for line in (captions / "outputs" / "test.jsonl").read_text().splitlines()]
    seen = model.generate([rows[0]["source"]], return_attention=True)[0].attention
    flat = replace(seen, extent=(1, 64), cells=np.stack([np.zeros(64, int), np.arange(64)], 1))
    assert "monotonicity" not in flat.statistics()
    clip = replace(flat, image=replace(seen.image, images=replace(seen.image.images, frames=64)))
    assert "monotonicity" in clip.statistics()


def test_shuffled_images_exchange_sources_and_keep_references(captions: Path, tmp_path: Path) -> None:
    out = tmp_path / "control"
    cache = captions.parent / "cache"  # the images are there; a stored config does not contain the path of the cache
    asked = [f"checkpoint={captions}", f"output={out}", f"data.cache={cache}", "evaluation.control=shuffled_images"]
    asked += ["num_plots=0", "faithfulness_examples=0"]
    evaluate.evaluate(composed("evaluate", *asked))
    rows, mine = (
        [json.loads(line) for line in (folder / "outputs" / "test.jsonl").read_text().splitlines()]
        for folder in (captions, out)
    )
    assert [row["references"] for row in rows] == [row["references"] for row in mine]
    assert all(row["source"] != other["source"] for row, other in zip(rows, mine, strict=True))
    assert sorted(row["source"] for row in rows) == sorted(row["source"] for row in mine)
    said = {row["source"]: row["hypothesis"] for row in rows}
    assert all(other["hypothesis"] == said[other["source"]] for other in mine)
    scores = json.loads((out / "results.json").read_text())["test"]
    assert {"pointing", "exact", "attributes"} <= scores.keys()
    for control, message in (("noise", "none of: shuffled_images"),):
        with pytest.raises(seq2seq.errors.UserError, match=message):
            evaluate.evaluate(composed("evaluate", f"checkpoint={captions}", f"evaluation.control={control}"))


def test_evaluation_warns_about_another_image_size(
    captions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [
        f"checkpoint={captions}",
        f"output={tmp_path / 'out'}",
        "data.images.size=32",
        "num_plots=0",
        "faithfulness_examples=0",
    ]
    with caplog.at_level("WARNING"):
        evaluate.evaluate(composed("evaluate", *asked))
    assert "images are opened differently from training: data.images.size=32, then 64" in caplog.text


def test_without_a_test_split_the_validation_split_is_scored(captions: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (captions / "outputs" / "test.jsonl").read_text().splitlines()]
    for split in ("train", "val"):
        lines = (json.dumps({"image": row["source"], "captions": row["references"]}) for row in rows[:3])
        (tmp_path / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    asked = [f"checkpoint={captions}", "data=captions", f"data.path={tmp_path}", "data.images.size=64"]
    asked += [
        f"output={tmp_path / 'out'}",
        f"data.cache={tmp_path / 'cache'}",
        "num_plots=0",
        "faithfulness_examples=0",
    ]
    assert set(evaluate.evaluate(composed("evaluate", *asked))) == {"valid"}


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_self_critical_training_on_images(tmp_path: Path, share: float) -> None:
    """Training on rewards changes the encoder, but not the running statistics of its batch norms.

    This also applies to updates that include the likelihood: otherwise one gradient would use the statistics of the
    batch and the other the running ones.
    """
    start = train(tmp_path / "first", "encoder.norm=batch")
    second = ["training.reward=cider", f"training.init_from={start}", "encoder.norm=batch", "data.captions=all"]
    second += ["training.reward_baseline=others", "training.reward_samples=2", f"training.reward_share={share}"]
    second += ["training.reward_contrast=1"]
    run = train(tmp_path / "second", *second)
    (run / "results.json").unlink()
    train_command.train(composed("resume", f"resume={run}", "trainer.max_steps=5"), run)  # in mid-epoch
    before, after = (
        torch.load(one / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for one in (start, run)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("model.encoder.stages") for name in changed)
    assert not any("running_" in name for name in changed)


def test_shuffled_images_are_refused_for_text(run: Path) -> None:
    with pytest.raises(seq2seq.errors.UserError, match="shuffled_images is none of: uniform_attention"):
        evaluate.evaluate(composed("evaluate", f"checkpoint={run}", "evaluation.control=shuffled_images"))


@pytest.mark.parametrize(
    ("lines", "message"),
    mostly_slow(
        [
            (["data=toy_captioning", "encoder=rnn"], "RNNEncoder cannot read data=toy_captioning, which is images"),
            (["encoder=cnn"], "CNNEncoder cannot read data=toy_translation, which is text"),
            (["data=toy_captioning", "data.images.frames=8"], r"data\.images\.frames=N goes with encoder=video"),
            (["data=toy_clips", "data.images.frames=null"], r"data\.images\.frames=N goes with encoder=video"),
            (["data=toy_captioning", "decoder.copy=true"], r"decoder\.copy=true .* images have no words"),
            (["data=toy_captioning", "data.documents=true"], r"data.*CaptionCorpus has no option documents"),
            (["data=toy_captioning", "data.streaming=true"], r"data.*CaptionCorpus has no option streaming"),
            (
                ["data=toy_captioning", "model.share_embeddings=true", "data.tokenizer.joint=true"],
                "share_embeddings=true",
            ),
        ],
        every=3,
    ),
)
def test_incompatible_options_are_refused_before_data_are_read(lines: list[str], message: str) -> None:
    with pytest.raises(seq2seq.errors.UserError, match=message):
        train_command.check(composed("train", "logger=csv", *lines))


@pytest.mark.slow
def test_evaluation_accepts_other_image_sizes_and_refuses_text(captions: Path, tmp_path: Path) -> None:
    small = ["data=toy_captioning", "data.reader.test=4", "data.reader.train=2", "data.reader.valid=2", "num_plots=0"]
    small += [f"data.cache={tmp_path}", f"checkpoint={captions}"]
    results = {}
    for size in (64, 32):
        out = [f"output={tmp_path / str(size)}", f"data.images.size={size}"]
        results[size] = evaluate.evaluate(composed("evaluate", *small, *out))["test"]
    assert results[64]["perplexity"].score != results[32]["perplexity"].score
    with pytest.raises(seq2seq.errors.UserError, match="data=toy_translation has text, but the model reads images"):
        evaluate.evaluate(composed("evaluate", f"checkpoint={captions}", "data=toy_translation"))
    with pytest.raises(seq2seq.errors.UserError, match=r"alignment=.* has no effect: the model reads images"):
        evaluate.evaluate(composed("evaluate", f"checkpoint={captions}", "alignment=gold.jsonl"))


def test_evaluating_a_text_model_on_images_is_refused(run: Path) -> None:
    with pytest.raises(seq2seq.errors.UserError, match="data=toy_captioning has images, but the model reads text"):
        evaluate.evaluate(composed("evaluate", f"checkpoint={run}", "data=toy_captioning"))


@pytest.mark.slow
def test_overfitting_one_batch_succeeds(tmp_path: Path) -> None:
    lines = ["debug=overfit", "model.dim=32", "trainer.max_steps=400", "data.max_sentences=4", "optimizer.lr=0.003"]
    train(tmp_path, *lines, "~trainer.limit_test_batches", "training.num_plots=0", "trainer.limit_test_batches=1")


def test_images_that_are_missing_when_they_are_scored(captions: Path, tmp_path: Path) -> None:
    """If some files are missing, the others are scored; if all are missing, scoring is refused."""
    trained = seq2seq.generation.generator.TrainedModel.load(captions)
    rows = [json.loads(line) for line in (captions / "outputs" / "test.jsonl").read_text().splitlines()]
    records = [
        {"source": row["source"], "target": row["references"][0], "references": row["references"]} for row in rows
    ]
    for record in records:
        record["regions"] = [[[0.0, 0.0, 1.0, 1.0]] * len(text.split()) for text in record["references"]]
    records[1] = {**records[1], "source": str(tmp_path / "gone.png")}
    task = Captioning(["cider"])
    scored = score_records(trained, records, trained.search(), task, max_tokens=512, plots=0)
    assert scored.generations[1].text == "" and scored.metrics["pointing"].score == 1.0
    gone = [{**record, "source": str(tmp_path / "gone.png")} for record in records[:2]]
    with pytest.raises(seq2seq.errors.UserError, match="nothing to score"):
        score_records(trained, gone, trained.search(), task, max_tokens=512, plots=0)


def test_images_have_no_source_vocabulary(captions: Path) -> None:
    trained = seq2seq.generation.generator.TrainedModel.load(captions)
    assert trained.codec.sizes[0] == 0
