"""Tests of the experiments: each trains one update on embedded data at a small width.

To test a machine with AVX2 only, set ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 before ``make test``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from seq2seq.cli import hydra_app, train

EXPERIMENTS = sorted(file.stem for file in (hydra_app.CONF / "experiment").glob("*.yaml"))
TOYS = {"translation": "toy_translation", "summarisation": "toy_summarisation", "captioning": "toy_captioning"}
SMALL = ["debug=batch", "logger=csv", "model.dim=16", "training.num_plots=0", "training.faithfulness_examples=0"]
CACHED = ["data.reader.train=60", "data.reader.valid=6", "data.reader.test=6", "data.tokenizer.joint=true"]


def small_config(name: str, cache: Path, *more: str) -> DictConfig:
    """Compose an experiment at a small width, on the embedded data of its task."""
    (whole,) = hydra_app.compose("train", [f"experiment={name}"])
    task = "captioning" if "images" in whole.data else "summarisation" if whole.data.documents else "translation"
    widths = [f"model.{key}=16" for key in ("embedding_dim", "ff_dim") if whole.model.get(key)]
    widths += [f"{key}=16" for key in ("attention.score.dim", "encoder.dim") if sets_width(whole, key)]
    only_there = ["~data.reader.references"] if name == "aeslc" else []  # the embedded data's reader lacks it
    lines = [*SMALL, *CACHED, f"data.cache={cache}", *widths, *more, *only_there]
    (config,) = hydra_app.compose(
        "train", [f"experiment={name}", f"data={TOYS[task]}", *map(hydra_app.as_override, lines)]
    )
    return config


def sets_width(config: DictConfig, key: str) -> bool:
    """Return True if the experiment sets this width to a number, not to an interpolation."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    return node.get(name) is not None and not OmegaConf.is_interpolation(node, name)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_trains(name: str, cache: Path, tmp_path: Path) -> None:
    more = []
    if name == "flickr8k_cider":  # starts from a trained run
        train.train(small_config("flickr8k", cache), tmp_path / "first")
        more = [f"training.init_from={tmp_path / 'first'}"]
    train.train(small_config(name, cache, *more), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert results["run"]["training"]["steps"] == 1
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").trainer.precision in ("32-true", "bf16-mixed")
