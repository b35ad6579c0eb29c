"""``train.py``: train a model from a config, or resume a run that was stopped."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq import checkpoint
from seq2seq.cli import messages, quick_check, sweep
from seq2seq.cli.initial_model import start_from
from seq2seq.cli.merge_overrides import merge_overrides, search_of
from seq2seq.cli.unused_options import check_effects
from seq2seq.config.instantiate import at_key, build_node, plain
from seq2seq.data.corpus import Corpus
from seq2seq.data.records import Record
from seq2seq.data.unused_options import check_training
from seq2seq.errors import UserError
from seq2seq.evaluation import results as run_results
from seq2seq.evaluation.efficiency import cost, update_memory
from seq2seq.evaluation.evaluate import EvaluationResult, score_records
from seq2seq.evaluation.faithfulness import faithfulness
from seq2seq.files.writing import write_text
from seq2seq.generation.generator import TrainedModel
from seq2seq.metrics import MetricResult
from seq2seq.model import build, without_memory
from seq2seq.run_directory import (
    CONFIG,
    RESULTS,
    DirectoryTaken,
    RunInProgress,
    claimed,
    composed_config,
    has_checkpoint,
    held,
    is_first,
    results,
    set_aside,
)
from seq2seq.runtime import interrupts
from seq2seq.search import Search
from seq2seq.stored import config as stored
from seq2seq.stored import machine, model_file, resume_file
from seq2seq.tasks.base import Task
from seq2seq.training.budget import Budget
from seq2seq.training.fit import FitResult, fit
from seq2seq.training.frozen import freeze
from seq2seq.training.plan import planned
from seq2seq.training.precision import check_device, check_size, precision_of
from seq2seq.training.trackers import FinalReport
from seq2seq.training.trainer_parts import TrainingParts
from seq2seq.training.validation import check_split

log = logging.getLogger(__name__)

NO_END = {"max_epochs": -1, "max_steps": -1, "max_time": None}
"""Options of the trainer that end training, with the values that do not."""
SHOWN = 50
"""Number of outputs that trackers show."""
RESUMABLE = ("trainer", "logger", "data")
"""Keys of the config that may change when a run is resumed."""


@dataclass(frozen=True)
class Parts:
    """Components of a run, checked and built before any data is read."""

    config: DictConfig  # config of the run, with the precision of this machine
    resume: Path | None  # checkpoint from which the run is resumed
    training: TrainingParts
    task: Task
    corpus: Corpus
    search: Search


def check(config: DictConfig, typed: Iterable[str] = (), *, quickly_checked: bool = False) -> Parts:
    """Check a config, and build its components.

    Args:
        config: Config of a new run, or ``resume`` with the options that change the run.
        typed: Names of the options on the command line.
        quickly_checked: Whether ``quick_check.training`` has accepted the names and types of the options.

    Raises:
        UserError: A name, a type or a value is wrong. Nothing has been written, and no data has been read.
    """
    typed, resume = list(typed), None
    # Check the names and types of all options.
    if resuming := "resume" in config:  # the options of the first start are in the stored config
        resume, config = _resumed(config)
        typed = []
    if resuming or not quickly_checked:
        quick_check.training(config, None if resuming else typed)
    config = _with_precision(config)
    Budget.of(config)
    # Build the components; constructors refuse impossible values.
    task: Task = build_node(config.task)
    check_device(config.trainer)
    # The model has only shapes: it needs no memory, no time and no random numbers.
    with without_memory():
        model = build(config, 8, 8)
    training = TrainingParts.build(config, model)
    check_size(config.trainer, model)
    check_effects(config, typed, model)
    with at_key("training"):
        freeze(model, training.options.freeze)
    training.schedule(training.optimizer([{"params": [torch.nn.Parameter(torch.zeros(1))]}]))
    training.criterion.check_model(model)
    # Check combinations of components.
    search, options = search_of(config), training.options
    if options.reward and options.reward_share == 1 and options.init_from is None:
        raise UserError(
            f"training.reward={options.reward} alone can't train random weights; set training.init_from=RUN, or "
            "training.reward_share below 1"
        )
    # Build the corpus, which reads no data yet.
    corpus: Corpus = build_node(config.data)
    task.check(corpus, config)
    task.draw_as(training.options.plot_format, pieces=training.options.plot_pieces)
    check_training(corpus, typed, options.init_from)
    return Parts(config, resume, training, task, corpus, search)


def _with_precision(config: DictConfig) -> DictConfig:
    """Return ``config`` with the precision that ``trainer.precision=auto`` means on this machine."""
    if not OmegaConf.is_dict(config.get("trainer")):
        return config
    changed = config.copy()
    changed.trainer.precision = precision_of(config.trainer)
    return changed


def run_job(config: DictConfig, folder: Path) -> float | None:
    """Train one job of a sweep, which may have been started before.

    A job that is finished, in its directory or in a pack, or that runs in another process is skipped. A job that was
    stopped is resumed.

    Args:
        config: Composed config of the job.
        folder: Directory of the job.

    Returns:
        Best value of the monitored validation metric, or None if there is none.

    Raises:
        DirectoryTaken: ``folder`` belongs to a job with another config.
    """
    # Look for results of an earlier start.
    known = composed_config(folder)
    if not sweep.belongs(folder, config):
        raise DirectoryTaken(f"{folder} is the directory of another job; let hydra.sweep.subdir name one for each")
    if results(folder) is not None:
        log.info("finished before: %s", folder)
    # A pack of the job counts as the finished job.
    elif not known and (pack := sweep.packed(config)) is not None:
        log.info("finished before: %s", pack.path)
        with suppress(OSError):  # remove the empty directory that Hydra has made for the job
            folder.rmdir()
        packed_best: float | None = (pack.about.get("training") or {}).get("best_score")
        return packed_best
    else:
        # Train, from the last checkpoint if there is one.
        try:
            if has_checkpoint(folder):
                log.info("resumed: %s", folder)
                train(OmegaConf.create({"resume": str(folder), "data": plain(config)["data"]}), folder)
            else:
                train(config, folder)
        except RunInProgress as error:  # the same directory under another name, or a second start of the sweep
            log.warning("skipped: %s", error)
            return None
    # Return the score of this job, for the sweeper.
    best: float | None = ((results(folder) or {}).get("run", {}).get("training") or {}).get("best_score")
    return best


def train(config: DictConfig, run: Path, parts: Parts | None = None) -> dict[str, MetricResult]:
    """Train a model, and score it on the test split.

    Args:
        config: Config of a new run, or ``resume`` with the options that change the run.
        run: Directory of a new run; ignored with ``resume``.
        parts: Return value of ``check(config)``; None calls it here.

    Returns:
        {metric: result} on the test split, or on the validation split if there is no test split.
    """
    # Check a config that the command has not checked.
    parts = check(config) if parts is None else parts
    interrupts.unwind()
    if parts.resume is None:
        with claimed(run, parts.config, composed=config):
            return _train(parts, run)
    # Resume the run in its own directory.
    run = checkpoint.run_of(config.resume)
    with held(run):
        resume, _ = _resumed(config)  # look again: now no other process can write a checkpoint
        if (finished := results(run)) is not None:
            steps = finished["run"]["training"]["steps"]
            log.info("training goes on; its results so far are in %s", set_aside(run, f"update_{steps}"))
            write_text(run / CONFIG, OmegaConf.to_yaml(parts.config, resolve=True))
        return _train(replace(parts, resume=resume), run)


def _train(parts: Parts, run: Path) -> dict[str, MetricResult]:
    """Train and score in a directory that this process has locked."""
    started = time.monotonic()
    config, resume, corpus, options = parts.config, parts.resume, parts.corpus, parts.training.options
    # 1. Read the data, with the tokenizers of the resumed run or of the initial model.
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    start = None
    if resume is not None:
        corpus.use(checkpoint.tokenizers_of(resume_file.read(resume), resume))
    # Load the initial model, with its tokenizers.
    elif first := config.training.get("init_from"):
        start = checkpoint.load(first)
        if start.codec.tokenizers.keys() != set(corpus.sides):
            raise UserError(
                f"training.init_from={first}: the model has tokenizers for {', '.join(start.codec.tokenizers)}, but "
                f"data={corpus.name} needs them for {', '.join(corpus.sides)}; choose a model for such data"
            )
        corpus.use(start.codec.tokenizers)
        # Record the tokenizer of the initial model in the config of the run.
        sampling = {"sampling": config.data.tokenizer.get("sampling", 0.0)}
        config.data.tokenizer = OmegaConf.merge(start.config.data.tokenizer, sampling)
        for change in corpus.codec.changes(start.codec):
            log.warning("training.init_from=%s was trained on images with other options: %s", first, change)
    if config.trainer.get("limit_val_batches") != 0 and corpus.has("train"):
        check_split(corpus)  # fail before the slow part
    corpus.setup()

    # 2. Build the model, within its budget.
    budget = Budget.of(config)
    if resume is None:  # the config of a resumed run already has the sizes and the end of its budget
        config = budget.ended(budget.sized(config, corpus.codec.sizes), corpus)
    config, plan = planned(config, corpus)
    model = build(config, *corpus.codec.sizes)
    if start is not None:
        start_from(model, start, strict=options.strict)
    place = messages.short(run)
    if is_first():
        for line in messages.beginning(config, model, corpus, parts.training.trainer, place, plan):
            log.info("%s", line)
    split = corpus.held_out if options.test else "valid"
    metrics: dict[str, MetricResult] = {}

    def score(fitted: FitResult) -> FinalReport:
        # Score the best model.
        trained = TrainedModel.load(fitted.best)
        trained.model.encoder.cache = model.encoder.cache  # a stored config does not name this directory
        records = _limited(corpus, split, config.trainer.get("limit_test_batches"))
        log.info("scoring %s: %d records", split, len(records))
        scored = score_records(
            trained,
            records,
            parts.search,
            parts.task,
            max_tokens=corpus.max_tokens,
            plots=options.num_plots,
            examples=options.save_attention,
            training=corpus.training_records,
        )
        scored.add(faithfulness(trained, records[: options.faithfulness_examples], corpus.max_tokens))
        # Write the results, with the costs of training and decoding.
        run_results.save_split(run, split, records, scored, parts.task)
        run_results.save_frequencies(run, corpus)
        memory = update_memory(trained, parts.training.criterion.train(), records, corpus.max_tokens)
        costs = {"training": dataclasses.asdict(fitted), "update_memory": memory, **cost(trained, records, scored)}
        about = run_results.run_metadata(trained, time.monotonic() - started, **costs)
        run_results.save_results(run / RESULTS, {split: scored.metrics}, about)
        metrics.update(scored.metrics)
        return report_of(run, split, records, scored)

    # 3. Train, then score the best model.
    training = parts.training if config is parts.config else None  # a budget changes the config of the trainer
    fitted = fit(config, corpus, model, run, resume, parts=training, score=score)
    if metrics:  # only one of several processes has metrics
        print(messages.ending(fitted, place, split, metrics, parts.task, options, suggest=not sweep.is_sweep()))
    return metrics


def report_of(run: Path, split: str, records: Sequence[Record], scored: EvaluationResult) -> FinalReport:
    """Return what trackers show of the results.

    Args:
        run: Directory of the run.
        split: Name of the split.
        records: Records of the split.
        scored: Result of their evaluation.
    """
    scores = {f"{split}/{name}": metric.score for name, metric in scored.metrics.items()}
    shown = list(zip(records, scored.generations, strict=True))[:SHOWN]
    references = [" / ".join(record.get("references") or [record["target"]]) for record, _ in shown]
    rows = [
        (str(record["source"]), reference, output.text)
        for (record, output), reference in zip(shown, references, strict=True)
    ]
    return FinalReport(split, scores, ("source", "reference", "output"), rows, run / "attention" / split)


def _limited(corpus: Corpus, split: str, batches: int | None) -> Sequence[Record]:
    """Return all records of a split, or those of its first ``batches`` batches (``debug=batch``)."""
    records = corpus.records(split)
    if batches is None:
        return records
    indices = [index for batch in islice(corpus.loader(split), batches) for index in batch.index.tolist()]
    return [records[index] for index in indices if index >= 0]


def _resumed(config: DictConfig) -> tuple[Path, DictConfig]:
    """Return the checkpoint of a run that is resumed, and its config with the new options of trainer and logger."""
    # Refuse options that a resumed run can't change.
    for key in map(str, config):
        if key not in ("resume", *RESUMABLE):
            raise UserError(
                f"{key} is fixed by the run; with resume=, only trainer and logger options can change, and data.path"
            )
    if not isinstance(config.resume, str):
        raise UserError(f"resume={config.resume}: must be a run directory or one of its checkpoints")
    path = checkpoint.find_last(config.resume)
    ends = _later_end(checkpoint.run_of(path), config)
    # Check its config.
    found, content = checkpoint.stored_config(path)
    found = machine.resumed(found, plain(config), source=str(path))
    stored.check_present(found, str(path), (*stored.FOR_TRAINING, "data"))
    stored.check_task(found, str(path))
    checkpoint.check_resumed(found, content, path)
    if "format" in content:
        model_file.best_of(path.parent, content.get("model"))
    found["trainer"] |= ends
    return path, merge_overrides(OmegaConf.create(found), config, ("trainer", "logger"))


def _later_end(run: Path, config: DictConfig) -> dict[str, Any]:
    """Return options of the trainer without an end of training, for a finished run whose new end was typed.

    Args:
        run: Directory of the run.
        config: Options of the command.

    Returns:
        The options; {} for a run that is not finished.

    Raises:
        UserError: The run is finished, and the command line has no later end.
    """
    if (finished := results(run)) is None:
        return {}
    done, typed = finished["run"].get("training") or {}, config.get("trainer") or {}
    if not any(typed.get(key) is not None for key in NO_END):
        raise UserError(
            f"{run} is finished (it has results.json); to train longer, say until when (resume={run} "
            f"trainer.max_epochs={2 * done.get('epochs', 1)}), or start a new run with training.init_from={run}"
        )
    for key, name in (("max_epochs", "epochs"), ("max_steps", "steps")):
        if isinstance(end := typed.get(key), int) and 0 <= end <= done.get(name, 0):
            raise UserError(f"trainer.{key}={typed[key]}: {run} has trained {done[name]:,} {name}; choose more")
    return NO_END
