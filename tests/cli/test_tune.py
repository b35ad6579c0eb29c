"""Tests of decoding options that are tuned on validation data: the trials, the stored choice and its use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sacrebleu
import yaml
from omegaconf import DictConfig

import seq2seq
from seq2seq.cli import evaluate, hydra_app
from seq2seq.errors import UserError
from seq2seq.stored.tuned_decoding import FILE


def composed(*overrides: str) -> DictConfig:
    """Compose the config of ``evaluate.py``."""
    (config,) = hydra_app.compose("evaluate", [hydra_app.as_override(override, "evaluate") for override in overrides])
    return config


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_the_best_value_is_stored_and_used(copy: Path) -> None:
    """The score of each trial equals sacreBLEU's score of outputs that are decoded with its value."""
    before = seq2seq.load(copy)
    evaluate.evaluate(composed(f"checkpoint={copy}", "tune={min_length:[0,5,2]}", "tune_metric=chrf"))
    kept = yaml.safe_load((copy / FILE).read_text())
    records = _valid(before)
    scores = {}
    for value in (0, 5, 2):
        outputs = [one.text for one in before.generate([r["source"] for r in records], min_length=value)]
        scores[value] = sacrebleu.CHRF().corpus_score(outputs, [[r["target"] for r in records]]).score
    assert kept["chosen_on"]["split"] == "valid" and kept["chosen_on"]["metric"] == "chrf"
    assert [(row["min_length"], row["chrf"]) for row in kept["chosen_on"]["trials"]] == [
        (value, pytest.approx(score)) for value, score in scores.items()
    ]
    best = max(scores, key=lambda value: scores[value])
    assert kept["decoding"] == {"min_length": best}
    assert seq2seq.load(copy).search() == before.search(min_length=best)
    assert seq2seq.load(copy / "checkpoints" / "model.safetensors").search() == before.search(min_length=best)


def test_typed_options_take_precedence_over_tuned_ones(copy: Path, tmp_path: Path) -> None:
    (copy / FILE).write_text("decoding: {min_length: 4}\n")
    out = tmp_path / "out"
    options = [f"checkpoint={copy}", f"output={out}", "num_plots=0", "save_attention=0", "faithfulness_examples=0"]
    evaluate.evaluate(composed(*options, "decoding.min_length=1"))
    assert yaml.safe_load((out / "config.yaml").read_text())["decoding"]["min_length"] == 1


def test_options_that_were_tuned_before_or_typed_are_stored_too(copy: Path) -> None:
    """The trials use these options; without them, the scores would belong to other outputs."""
    (copy / FILE).write_text("decoding: {min_length: 3}\n")
    evaluate.evaluate(composed(f"checkpoint={copy}", "decoding.beam_size=2", "tune={length_penalty:[0.5]}"))
    kept = yaml.safe_load((copy / FILE).read_text())
    assert kept["decoding"] == {"min_length": 3, "beam_size": 2, "length_penalty": 0.5}
    search = seq2seq.load(copy).search()
    assert (search.min_length, search.beam_size, search.length_penalty) == (3, 2, 0.5)


def test_the_lowest_error_rate_is_the_best(copy: Path) -> None:
    evaluate.evaluate(composed(f"checkpoint={copy}", "tune={max_length:[1,2]}", "tune_metric=ter"))
    kept = yaml.safe_load((copy / FILE).read_text())
    best = min(kept["chosen_on"]["trials"], key=lambda row: row["ter"])
    assert kept["decoding"]["max_length"] == best["max_length"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("tune={length_penality:[1]}", "tune: decoding has no option length_penality; did you mean length_penalty?"),
        ("tune={length_penalty:1}", "tune: length_penalty=1 must be a list of values"),
        ("tune={length_penalty:[1,-1]}", "length_penalty=-1 must be at least 0"),
        ("tune_metric=bleu", "tune_metric=bleu has no effect without tune="),
        ("tune={min_length:[1]} num_plots=3", "num_plots=3 has no effect with tune"),
        ("tune={min_length:[1]} decoding=greedy", "decoding=NAME can't be used with tune"),
    ],
)
def test_bad_options_of_tuning_are_refused(copy: Path, typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[").replace("?", r"\?")):
        evaluate.evaluate(composed(f"checkpoint={copy}", *typed.split()))
    assert not (copy / FILE).exists()


def _valid(trained: seq2seq.TrainedModel) -> list[dict[str, str]]:
    """Return the records of the validation split."""
    from seq2seq.config.instantiate import build_node

    corpus = build_node(trained.config.data)
    corpus.use(trained.codec.tokenizers)
    return list(corpus.records("valid"))
