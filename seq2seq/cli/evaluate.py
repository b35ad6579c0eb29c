"""``evaluate.py``: score a checkpoint on a split, on new files or on gold alignments."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from seq2seq.cli.merge_overrides import merge_overrides, own_options, search_of
from seq2seq.cli.tune import candidates, tune
from seq2seq.config import validate
from seq2seq.config.extensions import command
from seq2seq.config.instantiate import CONF, build_node, plain
from seq2seq.data.corpus import Corpus
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.evaluation import results as run_results
from seq2seq.evaluation.controls import Control
from seq2seq.evaluation.efficiency import cost
from seq2seq.evaluation.evaluate import forced, score_records
from seq2seq.evaluation.faithfulness import faithfulness
from seq2seq.evaluation.gold_metrics import alignment_error, record_of
from seq2seq.files.text import read_lines
from seq2seq.generation.generator import TrainedModel
from seq2seq.metrics import MetricResult
from seq2seq.metrics.gold import GoldLinks, read_gold
from seq2seq.metrics.text import check_metrics
from seq2seq.run_directory import EVALUATIONS, RESULTS, check_links, claimed
from seq2seq.runtime import interrupts
from seq2seq.runtime.memory import keep_freed
from seq2seq.runtime.torch_kernels import avoid_wrong_ones
from seq2seq.stored import config as stored
from seq2seq.stored.machine import data_here
from seq2seq.stored.plain import read_yaml
from seq2seq.stored.tuned_decoding import tuned_options
from seq2seq.tasks.base import Task

log = logging.getLogger(__name__)

GROUPS = ("task", "data", "decoding")  # config groups that evaluation can replace


@dataclass(frozen=True)
class Evaluation:
    """Options of ``evaluate.py`` outside the config groups; ``conf/evaluate.yaml`` explains them."""

    checkpoint: str
    split: str | None
    source_file: str | None
    target_file: str | None
    alignment: str | None
    reverse: bool
    num_plots: int
    plot_format: Literal["png", "pdf", "svg"]
    plot_pieces: bool
    save_attention: int
    faithfulness_examples: int
    max_tokens: int
    device: str
    verbose: bool
    output: str | None
    evaluation: Mapping[str, Any]
    tune: Mapping[str, Any] | None
    tune_metric: str | None


def evaluate(config: DictConfig) -> dict[str, dict[str, MetricResult]]:
    """Score a checkpoint on a split, on new files or on gold alignments.

    Args:
        config: Options of the command, as in ``conf/evaluate.yaml``.

    Returns:
        {name of the split or file: {metric: result}}.
    """
    interrupts.unwind()
    keep_freed()
    avoid_wrong_ones()
    started = time.monotonic()
    # Read the options. A file of the group data may name an encoder; the encoder of the run is used.
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "encoder"])
    settings = own_options(config, Evaluation, GROUPS)
    for name in ("num_plots", "save_attention", "faithfulness_examples"):
        if getattr(settings, name) < 0:
            raise UserError(f"{name}={getattr(settings, name)} must be 0 or a number of records")
    _check_effects(config, settings)
    # Load the model, and change its config by the options.
    trained = TrainedModel.load(settings.checkpoint, settings.device)
    typed = config
    config = merge_overrides(trained.config, config, GROUPS)
    stored.check_task(plain(config), str(trained.path))
    stored.check_present(plain(config), str(trained.path), ("loss",))
    task: Task = build_node(config.task)
    task.draw_as(settings.plot_format, pieces=settings.plot_pieces)
    # Build the components of the evaluation, and check their options.
    check_metrics(task.metrics, "task.metrics")
    trained = _opening(trained, config, task)
    search_of(config)  # refuse wrong options of decoding before any data is read
    validate.check_options("evaluation", settings.evaluation, Control)
    control = Control(task, **settings.evaluation)
    if settings.tune is not None:
        return _tuned(trained, config, typed, settings, task)
    # Read the records and the gold alignments.
    named_sets, training = _record_sets(trained, config, typed, settings, task)
    sets = {name: control(records) for name, records in named_sets.items()}
    # A gold alignment links words of the source.
    if settings.alignment and not task.has_source_words:
        raise UserError(f"alignment={settings.alignment} has no effect: the model reads images, which have no words")
    gold = read_gold(settings.alignment) if settings.alignment else []
    if settings.reverse:
        gold = [pair.swapped() for pair in gold]
    gold_records = [record_of(pair, trained.codec) for pair in gold]
    # Choose the directory of the results.
    if settings.output is None:
        check_links(trained.run)
    out = Path(settings.output) if settings.output else _new(trained.run / EVALUATIONS)
    for option in ("source_file", "target_file", "alignment"):
        if (file := getattr(settings, option)) and Path(file).resolve().is_relative_to(out.resolve()):
            raise UserError(f"output={out} contains {option}={file}; choose another directory")
    # Score in a directory that no other process uses.
    recorded_config = config.copy()
    recorded_config["evaluation"] = dict(settings.evaluation)
    with claimed(out, recorded_config):
        return _scored(trained, config, settings, task, control, sets, training, gold, gold_records, out, started)


def _tuned(
    trained: TrainedModel, config: DictConfig, typed: DictConfig, settings: Evaluation, task: Task
) -> dict[str, dict[str, MetricResult]]:
    """Choose options of decoding on the validation split, or on the split that ``split`` names."""
    metric = settings.tune_metric or next(iter(task.metrics))
    check_metrics([metric], "tune_metric")
    shared = plain(typed.get("decoding") or {})
    if "_target_" in shared:
        raise UserError("decoding=NAME can't be used with tune, which chooses options of the run's own decoding")
    trials = candidates(config, settings.tune or {}, {**tuned_options(trained.run), **shared})
    # Tune on the validation split by default: the test split must not choose options.
    chosen_on = dataclasses.replace(settings, split="valid" if settings.split == "auto" else settings.split)
    ((split, records),) = _record_sets(trained, config, typed, chosen_on, task)[0].items()
    return {split: tune(trained, trials, records, split=split, metric=metric, max_tokens=settings.max_tokens)}


def _new(folder: Path) -> Path:
    """Make a directory whose name is the time, with a number if another evaluation started in the same second."""
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for name in (now if n == 1 else f"{now}_{n}" for n in count(1)):
        try:
            (folder / name).mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{folder} can't be written ({error.strerror}); set output=DIR") from error
    return folder / name


def _scored(
    trained: TrainedModel,
    config: DictConfig,
    settings: Evaluation,
    task: Task,
    control: Control,
    sets: Mapping[str, Sequence[Record]],
    training: Callable[[], Sequence[Record]],
    gold: Sequence[GoldLinks],
    gold_records: Sequence[Record],
    out: Path,
    started: float,
) -> dict[str, dict[str, MetricResult]]:
    """Score the records of each set and the gold alignments, and write the results into ``out``."""
    search = control.search(search_of(config))
    results: dict[str, dict[str, MetricResult]] = {}
    costs: dict[str, Any] = {}
    # Score the records.
    for name, records in sets.items():
        with control.around(trained.model):
            scored = score_records(
                trained,
                records,
                search,
                task,
                max_tokens=settings.max_tokens,
                plots=settings.num_plots,
                examples=settings.save_attention,
                training=training,
            )
        if control.change_attention is None:  # faithfulness is measured on unchanged attention
            scored.add(faithfulness(trained, records[: settings.faithfulness_examples], settings.max_tokens))
        run_results.save_split(out, name, records, scored, task)
        results[name] = scored.metrics
        costs = cost(trained, records, scored)
    # Score attention on the gold alignments.
    if settings.alignment:
        name = Path(settings.alignment).stem
        with control.around(trained.model):
            kept = max(settings.num_plots, settings.save_attention)
            gold_maps = forced(trained, gold_records, settings.max_tokens, plots=kept)
        maps = [one for one in gold_maps if one is not None]  # none is missing: text can always be read
        results[name], links = alignment_error(maps, gold)
        kept_counts = {"plots": settings.num_plots, "examples": settings.save_attention}
        run_results.save_gold(out, name, gold, maps, links, results[name], task, **kept_counts)
    # Write the results, and print them.
    metadata = run_results.run_metadata(trained, time.monotonic() - started, **costs)
    run_results.save_results(out / RESULTS, results, metadata)
    for name, metrics in results.items():
        table = run_results.format_table(metrics) if settings.verbose else run_results.format_main(metrics, task)
        print(f"{name}\n{table}\n")
    print(f"results  {out}")
    if not settings.verbose:
        print(f"more     {RESULTS} has all figures; verbose=true prints them")
    return results


def _check_effects(config: DictConfig, settings: Evaluation) -> None:
    """Refuse options that have no effect."""
    # Check the options of tuning.
    files = settings.source_file or settings.target_file
    if settings.tune_metric is not None and settings.tune is None:
        raise UserError(f"tune_metric={settings.tune_metric} has no effect without tune={{OPTION:[VALUES]}}")
    if settings.tune is not None:
        defaults = read_yaml(CONF / "evaluate.yaml")
        plotting = "num_plots", "plot_format", "plot_pieces"
        for name in ("alignment", "output", *plotting, "save_attention", "faithfulness_examples", "verbose"):
            if getattr(settings, name) != defaults[name]:
                raise UserError(f"{name}={getattr(settings, name)} has no effect with tune; evaluate after tuning")
        if settings.evaluation.get("control") is not None:
            raise UserError(f"evaluation.control={settings.evaluation['control']} has no effect with tune")
        if settings.split is None and not files:
            raise UserError("split=null leaves nothing to tune on; set split, or source_file and target_file")
    # Check which records are scored.
    if settings.reverse and not settings.alignment:
        raise UserError("reverse=true has no effect without alignment=FILE, whose sides it swaps")
    if files and settings.split not in ("auto", None):
        raise UserError(f"split={settings.split} has no effect: source_file and target_file are scored; leave one out")
    if files and config.get("data") is not None:
        raise UserError("data has no effect: source_file and target_file are scored; leave one out")
    if settings.split is None and not files and not settings.alignment:
        raise UserError("split=null leaves nothing to score; set source_file and target_file, or alignment")


def _opening(trained: TrainedModel, config: DictConfig, task: Task) -> TrainedModel:
    """Return the model with a codec that opens sources as the config of this evaluation says."""
    codec = trained.codec.opening_as(config.get("data") or {})
    if codec.reads not in task.reads:
        own: Task = build_node(trained.config.task)
        raise UserError(f"task: {type(task).__name__} reads {task.source_name}, but the model reads {own.source_name}")
    if changes := codec.changes(trained.codec):
        log.warning("data.images: images are opened differently from training: %s", "; ".join(changes))
    return dataclasses.replace(trained, codec=codec)


def _record_sets(
    trained: TrainedModel, config: DictConfig, typed: DictConfig, settings: Evaluation, task: Task
) -> tuple[dict[str, Sequence[Record]], Callable[[], Sequence[Record]]]:
    """Return the records to score, by name, and the function that reads the training records.

    The records are those of two files, or of a split of the corpus of the run or of ``data``.
    """
    # Read two files.
    if settings.source_file or settings.target_file:
        if not (settings.source_file and settings.target_file):
            raise UserError(
                f"source_file and target_file go together; to translate without a score, use {command('generate')}"
            )
        sources, targets = list(read_lines(settings.source_file)), list(read_lines(settings.target_file))
        if len(sources) != len(targets):
            raise UserError(
                f"{settings.source_file} has {len(sources)} lines, but {settings.target_file} has {len(targets)}; "
                "line i of one must be the translation of line i of the other"
            )
        read = partial(task.as_read, data=trained.config.data)
        pairs = zip(map(read, sources), map(read, targets), strict=True)
        records = [Record(source=source, target=target) for source, target in pairs]
        return {Path(settings.source_file).stem: records}, tuple
    if settings.split is None:
        return {}, tuple
    # Read a split of a corpus.
    name = str(trained.path)
    data = data_here(plain(config.data), plain(typed.get("data") or OmegaConf.create()), source=name)
    stored.check_present({"data": data}, name, ("data",))
    corpus: Corpus = stored.with_name(name, build_node, data)
    corpus.use(trained.codec.tokenizers)
    split = corpus.held_out if settings.split == "auto" else settings.split
    return {split: corpus.records(split)}, corpus.training_records
