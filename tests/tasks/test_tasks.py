"""Tests of the contract of tasks, for every file of conf/task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from seq2seq.cli import hydra_app, train
from seq2seq.config.instantiate import CONF, build_node, locate
from seq2seq.errors import UserError
from seq2seq.metrics.table import find_metric
from seq2seq.metrics.text import SCORERS
from seq2seq.run_directory import results
from seq2seq.stored import moved_names
from seq2seq.tasks.base import Task
from tests.sampling import mostly_slow

TASKS = sorted(file.stem for file in (CONF / "task").glob("*.yaml"))
TOYS = {task: f"toy_{task}" for task in TASKS}
SMALL = [
    *("logger=csv", "data.reader.train=40", "data.reader.valid=4", "data.reader.test=4", "model.dim=16"),
    *("trainer.max_steps=2", "training.num_plots=1", "training.faithfulness_examples=2", "decoding.max_length=8"),
]


def composed(name: str, *typed: str) -> Any:
    (config,) = hydra_app.compose(name, [hydra_app.as_override(option) for option in typed])
    return config


def node(task: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONF / "task" / f"{task}.yaml").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("task", TASKS)
def test_the_yaml_builds_the_task_and_names_metrics(task: str) -> None:
    built = build_node(node(task))
    assert isinstance(built, Task) and type(built).__module__ == f"seq2seq.tasks.{task}"
    assert built.metrics == node(task)["metrics"] and set(built.metrics) <= SCORERS.keys()
    assert set(node(task)["validation"]) <= set(built.metrics)


LIKELIHOOD = ["accuracy", "perplexity", "nll_increase_averaged"]


@pytest.mark.parametrize(
    ("task", "more", "shown"),
    [
        ("translation", ["aer"], ["bleu", "chrf", "ter", "perplexity", "aer"]),
        ("translation", [], ["bleu", "chrf", "ter", "perplexity", "nll_increase_averaged"]),
        (
            "summarisation",
            ["rouge1_lead_2", "rougeL_lead_2", "rougeL_lead_30_words"],
            ["rouge1", "rouge2", "rougeL", "rougeL_lead_2", "perplexity"],
        ),
        ("captioning", ["pointing"], ["cider", "bleu4", "rougeL_coco", "perplexity", "pointing"]),
        ("captioning", [], ["cider", "bleu4", "rougeL_coco", "perplexity", "nll_increase_averaged"]),
        ("transduction", [], ["exact_match", "cer", "edit_distance", "perplexity", "nll_increase_averaged"]),
    ],
)
def test_the_five_figures_that_are_printed(task: str, more: list[str], shown: list[str]) -> None:
    built = build_node(node(task))
    assert built.main_metrics([*built.metrics, *LIKELIHOOD, *more]) == shown
    assert all(find_metric(name.replace("{n}", "2")) for name in built.highlights)


def test_a_metric_that_a_user_adds_is_printed() -> None:
    built = build_node({**node("translation"), "metrics": ["bleu", "my_metric"]})
    names = ["bleu", "my_metric", *LIKELIHOOD, "aer"]
    assert built.main_metrics(names) == ["bleu", "my_metric", "perplexity", "aer", "nll_increase_averaged"]


@pytest.mark.parametrize("task", TASKS)
def test_the_encoders_that_a_task_names_read_its_sources(task: str) -> None:
    built = build_node(node(task))
    for name in built.encoders.replace(" or ", ", ").split(", "):
        assert locate(composed("train", f"encoder={name}").encoder._target_).reads in built.reads


@pytest.mark.parametrize("data", mostly_slow(sorted(file.stem for file in (CONF / "data").glob("*.yaml")), every=3))
def test_data_fit_their_own_task_and_none_that_reads_other_sources(data: str, tmp_path: Path) -> None:
    config = composed("train", f"data={data}")
    for key, value in (("path", str(tmp_path)), ("source", "en"), ("target", "de")):
        if OmegaConf.is_missing(config.data, key) or (key == "path" and not data.startswith(("toy_", "probe_"))):
            config.data[key] = value
    corpus, own = build_node(config.data), build_node(config.task)
    own.check(corpus, config)
    for other in (build_node(node(name)) for name in TASKS):
        if set(other.reads).isdisjoint(own.reads) or other.documents != own.documents:
            with pytest.raises(UserError, match=r"^task: \w+ reads [^\n]*$"):
                other.check(corpus, config)


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[pytest.mark.slow] if task == "captioning" else []) for task in TASKS]
)  # test_captions.py trains one
def test_each_task_trains_evaluates_and_draws(task: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.train(composed("train", f"data={TOYS[task]}", *SMALL, f"data.cache={tmp_path / 'cache'}"), run)
    scores = (results(run) or {})["test"]
    assert set(node(task)["metrics"]) <= scores.keys()
    assert [name for name in scores if find_metric(name) is None] == []  # compare.py would leave them out
    assert list((run / "attention" / "test").glob("00000_*.png"))
    assert len((run / "outputs" / "test.jsonl").read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.parametrize("task", ["translation", "summarisation", "captioning"])
def test_a_run_that_does_not_name_its_task_gets_that_of_its_data(task: str) -> None:
    """Old runs, from before tasks existed, name no task."""
    config = composed("train", f"data={TOYS[task]}")
    data = {key: config.data.get(key) for key in ("documents", "images")}
    options = {key: value for key, value in node(task).items() if key != "_target_"}
    found = moved_names.renamed({"data": data, "task": options})["task"]
    assert found == node(task)
    assert moved_names.renamed({"data": data, "task": None})["task"] == {"_target_": node(task)["_target_"]}


def test_only_tasks_data_and_encoders_check_for_classes_of_a_task() -> None:
    """In data/ and encoders/ a class may check for its own kind."""
    kinds = ("ImageCodec", "TextCodec", "CaptionCorpus", "GridEncoder", "VideoEncoder", "BackboneEncoder")
    package = CONF.parent / "seq2seq"
    found = [
        f"{file.relative_to(package)}: {line.strip()}"
        for file in package.rglob("*.py")
        if file.relative_to(package).parts[0] not in ("tasks", "data", "encoders")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "isinstance(" in line and any(kind in line for kind in kinds)
    ]
    assert not found
