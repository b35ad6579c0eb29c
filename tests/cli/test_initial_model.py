"""Tests of initial weights from another model, and of frozen parts."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from seq2seq import checkpoint
from seq2seq.cli import hydra_app, train
from seq2seq.cli.initial_model import modules, start_from
from seq2seq.errors import UserError
from seq2seq.training.frozen import freeze, is_named
from seq2seq.training.module import Training
from tests.conftest import TINY


def trained(folder: Path, run: Path, *options: str) -> dict[str, torch.Tensor]:
    """Train a tiny model that starts from ``run``, and return its weights."""
    lines = [*TINY, f"training.init_from={run}", f"data.cache={folder}", "training.faithfulness_examples=0", *options]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    train.train(config, folder / "second")
    return checkpoint.load(folder / "second").weights


def test_model_with_another_mechanism_takes_the_weights_that_fit(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a learning rate of 0 all weights outside the mechanism equal those of the first run."""
    first = checkpoint.load(run).weights
    with caplog.at_level(logging.WARNING):
        second = trained(tmp_path, run, "attention=general", "optimizer.lr=0")
    shared = first.keys() & second.keys()
    assert {name for name in first if name not in shared} == {
        f"decoder.attention.score.{name}" for name in ("query_weight", "key_weight", "vector")
    }
    assert second.keys() - shared == {"decoder.attention.score.weight"}
    for name in shared:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=0)
    (line,) = [line for line in caplog.messages if "init_from" in line]
    assert line.endswith(
        f"{run}: {len(shared)} of {len(second)} weights are taken; new here: decoder.attention.score (1); "
        "not used: decoder.attention.score (3)"
    )


def test_strict_refuses_weights_that_do_not_fit(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"new here: decoder.attention.score \(1\).*; training.strict=false takes"):
        trained(tmp_path, run, "attention=general", "training.strict=true")


def test_a_model_without_common_weights_is_refused(run: Path) -> None:
    stored = checkpoint.load(run)
    others = {f"other.{name}": weight for name, weight in stored.weights.items()}
    with pytest.raises(
        UserError, match=r": 0 of \d+ weights are taken; .* choose a run of a similar model$"
    ) as refused:
        start_from(stored.model(), replace(stored, weights=others), strict=False)
    assert "\n" not in str(refused.value)


def test_frozen_parts_keep_their_weights(run: Path, tmp_path: Path) -> None:
    """After three updates the weights of encoder and attention equal those of the first run; all others differ."""
    first = checkpoint.load(run).weights
    second = trained(tmp_path, run, "training.freeze=[encoder,attention]", "optimizer.lr=0.01")
    kept = {name for name in first if torch.equal(first[name], second[name])}
    assert kept == {name for name in first if name.startswith(("encoder.", "decoder.attention."))}
    state = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)
    optimized = sum(len(group["params"]) for group in state["optimizer_states"][0]["param_groups"])
    assert optimized == len(first) - len(kept)


def test_strict_without_another_model_is_refused() -> None:
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in [*TINY, "training.strict=true"]])
    with pytest.raises(UserError, match=r"^training.strict=true has no effect without init_from=RUN$"):
        train.check(config)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["encodr"], r"^training.freeze=encodr is no part of this model; did you mean encoder\?; it has attention, "),
        (["encoder", "decoder"], r"^training.freeze=\[encoder,decoder\] leaves nothing to train"),
    ],
)
def test_wrong_names_of_frozen_parts_are_refused(names: list[str], message: str) -> None:
    lines = [*TINY, f"training.freeze=[{','.join(names)}]"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    with pytest.raises(UserError, match=message):
        train.check(config)


@pytest.mark.parametrize(
    ("key", "name", "named"),
    [
        ("encoder.embedding.table.weight", "encoder", True),
        ("decoder.layers.0.attention.query.weight", "attention", True),
        ("decoder.layers.0.attention.query.weight", "layers.0", True),
        ("decoder.layers.0.self_attention.query.weight", "attention", False),
        ("decoder.embedding.table.weight", "decoder.embedding", True),
        ("encoder.embedding.table.weight", "decoder.embedding", False),
    ],
)
def test_a_name_matches_whole_parts_of_a_key(key: str, name: str, named: bool) -> None:
    assert is_named(key, name) is named


def test_long_lists_of_modules_are_shortened() -> None:
    names = [f"decoder.layers.{layer}.attention.{which}" for layer in range(8) for which in ("weight", "bias")]
    text = modules(names)
    assert text.startswith("decoder.layers.0.attention (2), ") and text.endswith(" and 2 more modules")


def test_frozen_batch_norms_keep_their_statistics() -> None:
    """In training mode a frozen batch norm stays in evaluation mode, so that its averages do not change."""

    class Two(Training):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.frozen, self.free = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
            self.update = SimpleNamespace(norms=[self.frozen, self.free])

    two = Two()
    freeze(two, ["frozen"])
    two.eval()
    two.train()
    assert (two.frozen.training, two.free.training) == (False, True)
