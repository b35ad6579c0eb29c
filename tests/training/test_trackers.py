"""Tests of what Weights & Biases and TensorBoard show of a run, read from the files that they leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.training import trackers
from seq2seq.training.fit import fit
from seq2seq.training.trackers import FinalReport, table
from tests.commands import train_here
from tests.conftest import TINY
from tests.wandb_files import items, records

REPORT = FinalReport("test", {"test/bleu": 12.5}, ("source", "reference", "output"), [("a b", "x y", "x | z")])


def offline(folder: Path) -> list[Any]:
    """Return the records of the only offline run of W&B, once its writer, another process, has finished."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 30
    while True:
        found = list(records(file))
        if any(record.HasField("exit") for record in found):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_wandb_names_the_run_and_keeps_config_curves_outputs_and_scores(
    prepare: Callable[..., Any], tmp_path: Path
) -> None:
    fit(*prepare("logger=wandb", **{"trainer.max_steps": 3, "training.num_plots": 1}), tmp_path, score=lambda _: REPORT)
    found = offline(tmp_path)
    (run,) = [record.run for record in found if record.HasField("run")]
    assert run.display_name == "toy_translation seed3"  # outside a command no option was typed
    config = items(run.config.update)
    assert config["data"]["name"] == "toy_translation" and config["seed"] == 3
    # The curves have the scores of training; the final scores are in the summary alone.
    curves = {name for record in found if record.HasField("history") for name in items(record.history.item)}
    assert {"train/nll", "validation/nll"} <= curves and "test/bleu" not in curves
    summary: dict[str, Any] = {}
    for record in found:
        summary |= items(record.summary.update) if record.HasField("summary") else {}
    assert summary["test/bleu"] == 12.5
    files = [path.name for path in tmp_path.rglob("wandb/offline-run-*/files/media/*/*/*")]
    assert any(name.endswith(".png") for name in files)
    (rows,) = [path for path in tmp_path.rglob("*.table.json")]
    assert '"x | z"' in rows.read_text()


def test_a_resumed_run_continues_its_run_of_wandb(prepare: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "wandb" / "offline-run-20260101_000000-abcd1234").mkdir(parents=True)
    config = prepare("logger=wandb")[0]
    options = trackers._wandb_options(config.logger.wandb, config, tmp_path)
    assert (options["id"], options["resume"]) == ("abcd1234", "allow")


def test_options_of_the_user_come_first(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config = prepare("logger=wandb", **{"logger.wandb.name": "mine"})[0]
    assert "name" not in trackers._wandb_options(config.logger.wandb, config, tmp_path)


@pytest.mark.slow
def test_a_sweep_is_a_group_and_its_runs_are_named_by_their_options(tmp_path: Path) -> None:
    sweep = tmp_path / "heads"
    done = train_here(
        "-m",
        *TINY[1:],
        "attention=multi_head",
        "attention.heads=2,4",
        f"data.cache={tmp_path}",
        f"hydra.sweep.dir={sweep}",
    )
    assert done.returncode == 0, done.stderr
    names = set()
    for job in ("0", "1"):
        (run,) = [record.run for record in offline(sweep / job) if record.HasField("run")]
        assert run.run_group == "heads"
        names.add(run.display_name)
    shared = "toy_translation rnn multi_head"
    assert {name[: len(shared)] for name in names} == {shared}
    assert any("attention.heads=2" in name for name in names) and any("attention.heads=4" in name for name in names)


def test_tensorboard_has_pictures_outputs_options_and_scores(prepare: Callable[..., Any], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    keys = {"trainer.max_steps": 3, "training.num_plots": 1}
    fit(*prepare("logger=tensorboard", **keys), tmp_path, score=lambda _: REPORT)
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    tags = found.Tags()
    assert "test/bleu" in tags["scalars"] and "validation/nll" in tags["scalars"]
    assert any(name.startswith("attention/") for name in tags["images"])
    assert any(name.startswith("test/outputs") for name in tags["tensors"])


def test_table_by_hand() -> None:
    rows = table(("source", "output"), [("a\nb", "x|y")])
    assert rows == "| source | output |\n| --- | --- |\n| a b | x&#124;y |"
