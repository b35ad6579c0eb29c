"""``train.py``: a config to a finished run, or a stopped run to its end."""

from __future__ import annotations

import dataclasses
import json
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

from seq2seq import checkpoint, report
from seq2seq import options as schema
from seq2seq.budget import Budget
from seq2seq.config import build_node, build_tool, locate, plain
from seq2seq.cost import cost, update_memory
from seq2seq.data.captions import CaptionCorpus
from seq2seq.data.codec import ImageCodec
from seq2seq.data.corpus import Corpus
from seq2seq.data.records import Record
from seq2seq.encoders.clip import ClipEncoder
from seq2seq.encoders.image import GridEncoder
from seq2seq.errors import UserError
from seq2seq.faithfulness import faithfulness
from seq2seq.inference import Trained
from seq2seq.metrics import Score
from seq2seq.metrics.text import check_metrics
from seq2seq.model import build
from seq2seq.ranges import Range
from seq2seq.scoring import score_records
from seq2seq.sweeps import FAILED, RESULTS, AtWork, alone
from seq2seq.training.fit import OURS, FitResult, fit
from seq2seq.training.options import Options
from seq2seq.training.precision import check_precision, check_size, precision_of
from seq2seq.workflows.asking import laid, search_of
from seq2seq.workflows.effects import check_effects

log = logging.getLogger(__name__)

COMPONENTS = ("data", "encoder", "decoder", "loss", "optimizer", "schedule", "trainer", "training", "decoding")
"""What a run's config must have chosen."""
KEYS = (*COMPONENTS, *schema.SLOTS, "default_self", "seed", "task", "model", "budget", "logger")
"""What it may have at its top."""
RESUMABLE = ("trainer", "logger")


@dataclass(frozen=True)
class Seeded:
    """The options of ``train.py`` that stand by themselves."""

    seed: Annotated[int, Range(0, 2**32 - 1)]


def check(config: DictConfig, typed: Iterable[str] = ()) -> None:
    """Refuses what could not be trained, before any data is read: names, types, and what constructors refuse."""
    if "resume" in config:
        _, config = _resumed(config)
        typed = ()
    config = _with_precision(config)
    typed = list(typed)
    schema.check(config, keys=KEYS, components=COMPONENTS, typed=typed)
    Budget.of(config)
    schema.check_options("", {"seed": config.get("seed")}, Seeded)
    _check_loggers(config)
    check_metrics(config.task.metrics, "task.metrics")
    check_metrics(config.training.metrics, "training.metrics")
    if taken := sorted(set(config.trainer) & set(OURS)):
        raise UserError(f"trainer.{taken[0]} is set by the application; use {OURS[taken[0]]}")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no advice on loggers and devices
    build_tool(config.trainer, logger=False, enable_checkpointing=False, enable_model_summary=False)
    with torch.device("meta"):  # shapes alone: no memory, no time, no random numbers
        model = build(config, 8, 8)
    check_precision(config.trainer, model)
    check_size(config.trainer, model)
    check_effects(config, typed, model)
    build_tool(config.schedule, build_tool(config.optimizer, [torch.nn.Parameter(torch.zeros(1))]))
    for node in (config.loss, config.decoding):
        build_node(node)
    options: Options = build_node(config.training)
    if options.reward and options.reward_share == 1 and options.start_from is None:
        raise UserError(
            f"training.reward={options.reward} alone teaches random weights nothing: set training.start_from=RUN, or "
            "training.reward_share below 1"
        )
    _check_kinds(build_node(config.data), config)


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
    grid, clip = (isinstance(kind, type) and issubclass(kind, of) for of in (GridEncoder, ClipEncoder))
    looks = grid or clip
    if looks != isinstance(corpus, CaptionCorpus):
        wanted = "text: choose encoder=rnn or transformer" if looks else "pictures: choose encoder=cnn, patches or clip"
        raise UserError(
            f"encoder: {config.encoder._target_.split('.')[-1]} can't read data={corpus.name}, which is {wanted}"
        )
    if isinstance(corpus, CaptionCorpus):
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
    if again and (folder / RESULTS).exists():
        log.info("finished before: %s", folder)
    elif again:
        try:
            with alone(folder):
                _job(config, folder)
        except AtWork as held:  # under a synonym, or by a second launch
            log.warning("left to whom it is with: %s", held)
            return None
        (folder / FAILED).unlink(missing_ok=True)  # an earlier launch did
    else:
        train(config, folder)
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8")) if again else {}
    best: float | None = results.get("run", {}).get("training", {}).get("best_score")
    return best


def _job(config: DictConfig, folder: Path) -> None:
    """A job of a sweep in a directory that an earlier launch may have left unfinished."""
    if (last := folder / "checkpoints" / "last.ckpt").exists():
        log.info("goes on: %s", folder)
        train(OmegaConf.create({"resume": str(last)}), folder)
    else:
        (folder / "config.yaml").unlink(missing_ok=True)  # this job's own (``sweeps.place``), stopped before any update
        train(config, folder)


def train(config: DictConfig, run: Path) -> dict[str, Score]:
    """Fits a model into the directory ``run`` (or goes on with ``config.resume``'s) and scores it on the test split."""
    check(config)
    started, resume = time.monotonic(), None
    if "resume" in config:
        resume, config = _resumed(config)
        run = checkpoint.run_of(resume)
    config = _with_precision(config)
    if resume is None:
        report.claim(run, config)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    corpus: Corpus = build_node(config.data)
    first = resume or config.training.get("start_from")  # a run that goes on has the tokenizers of its start
    start = checkpoint.load(first) if first and config.training.get("start_from") else None
    if start is not None:
        if start.codec.tokenizers.keys() != set(corpus.sides):
            raise UserError(f"training.start_from={first}: that model is not of data={corpus.name}'s kind")
        corpus.use(start.codec.tokenizers)
        if isinstance(corpus, CaptionCorpus) and isinstance(start.codec, ImageCodec):
            for other in corpus.images.otherwise(start.codec.images):
                log.warning("training.start_from learnt from other pictures: %s", other)
    corpus.setup()
    budget = Budget.of(config)
    if resume is None:  # what goes on has its config from its checkpoint
        config = budget.ended(budget.sized(config, corpus.codec.sizes), corpus)
    model = build(config, *corpus.codec.sizes)
    if start is not None and resume is None:
        start.load_into(model)
    split = corpus.held_out
    options: Options = build_node(config.training)
    metrics: dict[str, Score] = {}

    def score(fitted: FitResult) -> dict[str, float]:
        trained = Trained.load(fitted.best)
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
        report.save_split(run, split, records, scored)
        report.save_frequencies(run, corpus)
        memory = update_memory(trained, records, corpus.max_tokens)
        costs = {"training": dataclasses.asdict(fitted), "update_memory": memory, **cost(trained, records, scored)}
        about = report.about(trained, time.monotonic() - started, **costs)
        report.save_results(run / RESULTS, {split: scored.metrics}, about)
        metrics.update(scored.metrics)
        return {f"{split}/{name}": found.score for name, found in metrics.items()}

    fit(config, corpus, model, run, resume, score=score)
    if metrics:  # one process of several tells
        print(f"{split}\n{report.table(metrics)}")
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
                f"{key} is fixed by the run: with resume=, only {' and '.join(RESUMABLE)} options can change"
            )
    if not isinstance(config.resume, str):
        raise UserError(f"resume={config.resume}: must be a run directory or one of its checkpoints")
    path = checkpoint.find(config.resume, ("last.ckpt", "best.ckpt"))
    if (checkpoint.run_of(path) / RESULTS).exists():
        raise UserError(f"{checkpoint.run_of(path)} is finished (it has results.json); start a new run instead")
    stored = OmegaConf.create(checkpoint.read(path)["config"])
    return path, laid(stored, config, RESUMABLE)
