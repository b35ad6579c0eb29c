"""``train.py``: a config to a finished run, or a stopped run to its end."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import lightning
import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq import checkpoint
from seq2seq.cli.merge_overrides import laid, search_of
from seq2seq.cli.unused_options import check_effects
from seq2seq.config import validate as schema
from seq2seq.config.instantiate import build_node, build_tool, locate, plain
from seq2seq.config.ranges import Count, Range
from seq2seq.data.codec import ImageCodec
from seq2seq.data.corpus import Corpus
from seq2seq.data.effects import check_training
from seq2seq.data.records import Record
from seq2seq.encoders.backbone import BackboneEncoder
from seq2seq.encoders.image import GridEncoder
from seq2seq.encoders.video import VideoEncoder
from seq2seq.errors import UserError
from seq2seq.evaluation import results as run_results
from seq2seq.evaluation.efficiency import cost, update_memory
from seq2seq.evaluation.evaluate import score_records
from seq2seq.evaluation.faithfulness import faithfulness
from seq2seq.generation.generator import TrainedModel
from seq2seq.metrics import MetricResult
from seq2seq.metrics.text import check_metrics
from seq2seq.model import build
from seq2seq.run_directory import (
    RESULTS,
    DirectoryTaken,
    RunInProgress,
    claimed,
    composed_config,
    has_checkpoint,
    held,
    results,
)
from seq2seq.runtime import interrupts
from seq2seq.stored import config as stored
from seq2seq.stored import machine, model_file, resume_file, roles
from seq2seq.training.budget import Budget
from seq2seq.training.fit import OURS, FitResult, fit
from seq2seq.training.options import TrainingOptions
from seq2seq.training.precision import check_device, check_precision, check_size, precision_of

log = logging.getLogger(__name__)

COMPONENTS = ("data", "encoder", "decoder", "loss", "optimizer", "schedule", "trainer", "training", "decoding")
"""What a run's config must have chosen."""
KEYS = (*COMPONENTS, *schema.SLOTS, "default_self", "seed", "task", "model", "budget", "logger")
"""What it may have at its top."""
RESUMABLE = ("trainer", "logger", "data")


@dataclass(frozen=True)
class SeedOptions:
    """The options of ``train.py`` that stand by themselves."""

    seed: Annotated[int, Range(0, 2**32 - 1)]


@dataclass(frozen=True)
class ScoringOptions:
    """The options of ``task`` that no component reads, but the scoring of outputs."""

    metrics: Sequence[str]
    lead_sentences: Count | None = None
    lead_words: Count | None = None


def check(config: DictConfig, typed: Iterable[str] = ()) -> None:
    """Refuses what could not be trained, before any data is read: names, types, and what constructors refuse."""
    typed, resuming = list(typed), "resume" in config
    if resuming:  # what was typed is laid over the stored config, and has been checked by that
        _, config = _resumed(config)
        typed = []
    config = _with_precision(config)
    schema.check(config, keys=KEYS, components=COMPONENTS, typed=None if resuming else typed)
    if not resuming:
        roles.check(plain(config), "")
    Budget.of(config)
    schema.check_options("", {"seed": config.get("seed")}, SeedOptions)
    _check_loggers(config)
    task = plain(config.task)
    schema.check_options("task", {key: task.get(key) for key in ScoringOptions.__dataclass_fields__}, ScoringOptions)
    check_metrics(config.task.metrics, "task.metrics")
    check_metrics(config.training.metrics, "training.metrics")
    if taken := sorted(set(config.trainer) & set(OURS)):
        raise UserError(f"trainer.{taken[0]} is set by the application; use {OURS[taken[0]]}")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no advice on loggers and devices
    check_device(config.trainer)
    build_tool(config.trainer, logger=False, enable_checkpointing=False, enable_model_summary=False)
    with torch.device("meta"):  # shapes alone: no memory, no time, no random numbers
        model = build(config, 8, 8)
    check_precision(config.trainer, model)
    check_size(config.trainer, model)
    check_effects(config, typed, model)
    build_tool(config.schedule, build_tool(config.optimizer, [torch.nn.Parameter(torch.zeros(1))]))
    for node in (config.loss, config.decoding):
        build_node(node)
    options: TrainingOptions = build_node(config.training)
    if options.reward and options.reward_share == 1 and options.start_from is None:
        raise UserError(
            f"training.reward={options.reward} alone teaches random weights nothing: set training.start_from=RUN, or "
            "training.reward_share below 1"
        )
    corpus: Corpus = build_node(config.data)
    _check_kinds(corpus, config)
    check_training(corpus, typed, options.start_from)


def _with_precision(config: DictConfig) -> DictConfig:
    """Return ``config`` with the precision that ``trainer.precision=auto`` is on this machine."""
    if not OmegaConf.is_dict(config.get("trainer")):
        return config
    changed = config.copy()
    changed.trainer.precision = precision_of(config.trainer)
    return changed


def _check_loggers(config: DictConfig) -> None:
    """Refuse what stands below ``logger`` and is none that was chosen."""
    node = config.get("logger")
    if node is not None and not OmegaConf.is_dict(node):
        raise UserError(f"logger={node}: choose one of the group's files (--help lists them)")
    for name, logger in (node or {}).items():
        if not (OmegaConf.is_dict(logger) and "_target_" in logger):
            chosen = ", ".join(key for key, one in node.items() if OmegaConf.is_dict(one) and "_target_" in one)
            raise UserError(f"logger.{name} has no effect here: logger has {chosen or 'nothing'}")


def _check_kinds(corpus: Corpus, config: DictConfig) -> None:
    """Refuses an encoder of text for pictures, of pictures for text, of stills for clips."""
    kind = locate(config.encoder._target_)
    grid, clip = (isinstance(kind, type) and issubclass(kind, of) for of in (GridEncoder, VideoEncoder))
    looks = grid or clip
    if looks != (corpus.images is not None):
        wanted = "text: choose encoder=rnn or transformer" if looks else "pictures: choose encoder=cnn, patches or clip"
        raise UserError(
            f"encoder: {config.encoder._target_.split('.')[-1]} can't read data={corpus.name}, which is {wanted}"
        )
    if corpus.images is not None:
        if (corpus.images.frames is not None) != clip:
            raise UserError("data.images.frames=N goes with encoder=clip, and data.images.frames=null with all others")
        changed = [name for name in ("flip", "colour") if getattr(corpus.images, name)]
        changed += ["crop"] * (corpus.images.crop < 1)
        if changed and config.encoder.get("cache"):
            raise UserError(
                f"encoder.cache keeps what is said of each picture, but data.images.{changed[0]} makes other pictures "
                "each time: set it to null"
            )
        if config.decoder.get("copy"):
            raise UserError("decoder.copy=true copies words of the source, of which pictures have none")


def run(config: DictConfig, folder: Path, *, again: bool = False) -> float | None:
    """``train``, and the best validation score. ``again``, as the job of a sweep that may have been launched before:
    what is finished or at work elsewhere is left, what was stopped goes on.
    """
    if not again:
        train(config, folder)
        return None
    stored = composed_config(folder)
    if stored and stored != OmegaConf.to_yaml(config):
        raise DirectoryTaken(f"{folder} is the directory of another job; let hydra.sweep.subdir name one for each")
    if results(folder) is not None:
        log.info("finished before: %s", folder)
    else:
        try:
            if has_checkpoint(folder):
                log.info("goes on: %s", folder)
                train(OmegaConf.create({"resume": str(folder), "data": plain(config)["data"]}), folder)
            else:
                train(config, folder)
        except RunInProgress as held:  # under a synonym, or by a second launch
            log.warning("skipped: %s", held)
            return None
    best: float | None = ((results(folder) or {}).get("run", {}).get("training") or {}).get("best_score")
    return best


def train(config: DictConfig, run: Path) -> dict[str, MetricResult]:
    """Fits a model into the directory ``run`` (or goes on with ``config.resume``'s) and scores it on the test split."""
    check(config)
    interrupts.unwind()
    if "resume" not in config:
        exact = _with_precision(config)
        with claimed(run, exact, composed=config):
            return _train(exact, run, None)
    run = checkpoint.run_of(config.resume)
    with held(run):
        resume, config = _resumed(config)  # what is there now that no other process writes
        return _train(_with_precision(config), run, resume)


def _train(config: DictConfig, run: Path, resume: Path | None) -> dict[str, MetricResult]:
    """Fit and score in a directory that is held, from the checkpoint ``resume`` if there is one."""
    started = time.monotonic()
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    corpus: Corpus = build_node(config.data)
    start = None
    if resume is not None:  # which has its tokenizers
        corpus.use(checkpoint.tokenizers_of(resume_file.read(resume), resume))
    elif first := config.training.get("start_from"):
        start = checkpoint.load(first)
        if start.codec.tokenizers.keys() != set(corpus.sides):
            raise UserError(f"training.start_from={first}: that model is not of data={corpus.name}'s kind")
        corpus.use(start.codec.tokenizers)
        sampling = {"sampling": config.data.tokenizer.get("sampling", 0.0)}
        config.data.tokenizer = OmegaConf.merge(start.config.data.tokenizer, sampling)  # what the run is recorded with
        if corpus.images is not None and isinstance(start.codec, ImageCodec):
            for other in corpus.images.otherwise(start.codec.images):
                log.warning("training.start_from learnt from other pictures: %s", other)
    corpus.setup()
    budget = Budget.of(config)
    if resume is None:  # what goes on has its config from its checkpoint
        config = budget.ended(budget.sized(config, corpus.codec.sizes), corpus)
    model = build(config, *corpus.codec.sizes)
    if start is not None:
        start.load_into(model)
    split = corpus.held_out
    options: TrainingOptions = build_node(config.training)
    metrics: dict[str, MetricResult] = {}

    def score(fitted: FitResult) -> dict[str, float]:
        trained = TrainedModel.load(fitted.best)
        for mine, theirs in zip(model.modules(), trained.model.modules(), strict=True):
            if isinstance(mine, BackboneEncoder) and isinstance(theirs, BackboneEncoder):
                theirs.cache = mine.cache  # which a stored config doesn't choose
        records = _limited(corpus, split, config.trainer.get("limit_test_batches"))
        scored = score_records(
            trained,
            records,
            search_of(config),
            plain(config.task),
            max_tokens=corpus.max_tokens,
            plots=options.plots,
            examples=options.examples,
        )
        scored.add(faithfulness(trained, records[: options.faithfulness], corpus.max_tokens))
        run_results.save_split(run, split, records, scored)
        run_results.save_frequencies(run, corpus)
        memory = update_memory(trained, records, corpus.max_tokens)
        costs = {"training": dataclasses.asdict(fitted), "update_memory": memory, **cost(trained, records, scored)}
        about = run_results.about(trained, time.monotonic() - started, **costs)
        run_results.save_results(run / RESULTS, {split: scored.metrics}, about)
        metrics.update(scored.metrics)
        return {f"{split}/{name}": found.score for name, found in metrics.items()}

    fit(config, corpus, model, run, resume, score=score)
    if metrics:  # one process of several tells
        print(f"{split}\n{run_results.table(metrics)}")
        print(f"\nrun    {run}" + (f"\nplots  {run / 'attention' / split}" if config.training.plots else ""))
    return metrics


def _limited(corpus: Corpus, split: str, batches: int | None) -> Sequence[Record]:
    """All records of a split, or those of its first batches (``debug=batch``)."""
    records = corpus.records(split)
    if batches is None:
        return records
    places = [place for batch in islice(corpus.loader(split), batches) for place in batch.index.tolist()]
    return [records[place] for place in places if place >= 0]


def _resumed(config: DictConfig) -> tuple[Path, DictConfig]:
    """The checkpoint to go on from, and its config with the trainer and logger options that were typed."""
    for key in map(str, config):
        if key not in ("resume", *RESUMABLE):
            raise UserError(
                f"{key} is fixed by the run: with resume=, only trainer and logger options can change, and data.path"
            )
    if not isinstance(config.resume, str):
        raise UserError(f"resume={config.resume}: must be a run directory or one of its checkpoints")
    path = checkpoint.find_last(config.resume)
    if results(checkpoint.run_of(path)) is not None:
        raise UserError(f"{checkpoint.run_of(path)} is finished (it has results.json); start a new run instead")
    found, content = checkpoint.stored_config(path)
    found = machine.resumed(found, plain(config), source=str(path))
    stored.check_present(found, str(path), (*stored.FOR_TRAINING, "data"))
    stored.check_task(found, str(path))
    checkpoint.check_resumed(found, content, path)
    if "format" in content:
        model_file.best_of(path.parent, content.get("model"))
    return path, laid(OmegaConf.create(found), config, ("trainer", "logger"))
