"""Check that an option on the command line that has no effect is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq import checkpoint
from seq2seq.cli import hydra_app, train
from seq2seq.data.unused_options import OF_TRAINING, check_evaluation
from seq2seq.errors import UserError


def refused(*overrides: str) -> str:
    """Return the error of the check of ``train.py`` for a command line."""
    lines = [hydra_app.as_override(override) for override in overrides]
    with pytest.raises(UserError) as error:
        hydra_app.checked("train", lines, train.check)
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "key", "reason"),
    [
        (["training.init_from=RUN", "data.tokenizer.vocab_size=300"], "data.tokenizer.vocab_size", "init_from=RUN"),
        (["training.init_from=RUN", "data.tokenizer.type=bpe"], "data.tokenizer.type", "init_from=RUN"),
        (
            ["data.tokenizer.source_model=a", "data.tokenizer.target_model=a", "data.tokenizer.vocab_size=9"],
            *("data.tokenizer.vocab_size", "source_model and target_model"),
        ),
        (["data.buffer_size=10"], "data.buffer_size", "data.streaming=false"),
        (["data.max_source_sentences=3"], "data.max_source_sentences", "data.documents=false"),
        (["data.path=texts"], "data.path", "makes its records"),
        (["data=toy_captioning", "encoder=cnn", "data.tokenizer.joint=true"], "data.tokenizer.joint", "one tokenizer"),
        (["data=multi30k", "data.path=copy", "data.reader.revision=main"], "data.reader.revision", "data.path=copy"),
        (["data.group=en"], "data.group", "data=toy_translation has no columns"),
        (["data=multi30k", "+data.language=deu"], "data.language", "no files of several languages"),
        (["data=transliteration", "data.path=texts", "data.language=deu"], "data.language", "have no language"),
    ],
)
def test_unused_options_of_training_are_refused(overrides, key, reason):
    text = refused(*overrides)
    assert text.startswith(f"{key} has no effect here: ")
    assert reason in text


def test_format_is_refused_for_a_single_file(tmp_path: Path):
    (tmp_path / "all.jsonl").write_text(json.dumps({"en": "a", "de": "b"}) + "\n")
    options = ["data=jsonl", f"data.path={tmp_path / 'all.jsonl'}", "data.source=en", "data.target=de"]
    assert "data.reader.format has no effect here" in refused(*options, "data.reader.format=jsonl")


def test_options_with_an_effect_are_accepted():
    (config,) = hydra_app.compose("train", [])
    train.check(config, ["data.max_tokens", "data.tokenizer.vocab_size"])


@pytest.mark.parametrize("name", ["tokenizer.vocab_size", "tokenizer.sampling", "tokenizer.source_model", *OF_TRAINING])
def test_unused_options_of_evaluation_are_refused(name):
    with pytest.raises(UserError, match=rf"^data\.{name} has no effect here: "):
        check_evaluation(["split", f"data.{name}"])


def test_options_that_evaluation_uses_are_accepted():
    check_evaluation(["data", "data.path", "data.reader.references", "data.images.size", "data.cache", "max_tokens"])


def test_run_with_init_from_stores_the_options_of_its_tokenizers(run: Path, tmp_path: Path):
    from tests.conftest import TINY

    overrides = [*TINY, f"training.init_from={run}", f"data.cache={tmp_path}", "training.faithfulness_examples=0"]
    overrides += ["training.num_plots=0", "trainer.max_steps=1"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(override) for override in overrides])
    config.data.tokenizer.vocab_size = 17  # as another recipe sets it
    train.train(config, tmp_path / "run")
    stored = checkpoint.load(tmp_path / "run")
    before = checkpoint.load(run)
    assert OmegaConf.to_container(stored.config.data.tokenizer) == OmegaConf.to_container(before.config.data.tokenizer)
    assert stored.codec.sizes == before.codec.sizes
