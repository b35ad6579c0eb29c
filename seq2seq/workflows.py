"""What the commands do, in the order they do it."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import lightning
import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq import checkpoint, report
from seq2seq import options as schema
from seq2seq.budget import Budget
from seq2seq.config import build_node, build_tool, locate, plain
from seq2seq.controls import OF_ATTENTION, Control
from seq2seq.cost import cost
from seq2seq.data.captions import CaptionCorpus, ImageCodec
from seq2seq.data.corpus import Corpus
from seq2seq.data.records import Record
from seq2seq.documents import columns_of, read_documents
from seq2seq.encoders.image import ClipEncoder, GridEncoder
from seq2seq.errors import UserError
from seq2seq.faithfulness import faithfulness
from seq2seq.inference import Trained
from seq2seq.judgement import alignment_error, record_of
from seq2seq.lines import decoded, prompted, read_lines
from seq2seq.metrics import Score
from seq2seq.metrics.gold import read_gold
from seq2seq.metrics.text import SCORERS
from seq2seq.model import build
from seq2seq.outputs import Writer
from seq2seq.pictures import read_pictures
from seq2seq.scoring import forced, score_records
from seq2seq.search import Search
from seq2seq.sweeps import FAILED, alone
from seq2seq.training.fit import OURS, FitResult, fit
from seq2seq.training.options import Options

log = logging.getLogger(__name__)

T = TypeVar("T")
COMPONENTS = ("data", "encoder", "decoder", "loss", "optimizer", "schedule", "trainer", "training", "decoding")
"""What a run's config must have chosen."""
KEYS = (
    *COMPONENTS,
    *(
        "seed",
        "task",
        "model",
        "budget",
        "logger",
        "attention",
        "self_attention",
        "encoder_self",
        "decoder_self",
        "default_self",
    ),
)
"""What it may have at its top."""
GROUP = 1024  # lines of input that are answered together: enough to batch by length, soon enough to watch
DOCUMENTS = 64  # documents likewise, which are longer


def check(config: DictConfig, typed: Iterable[str] = ()) -> None:
    """Refuses what could not be trained, before any data is read: names, types, and what constructors refuse."""
    if "resume" in config:
        _, config = _resumed(config)
        typed = ()
    schema.check(config, keys=KEYS, components=COMPONENTS, typed=typed)
    Budget.of(config)
    if not isinstance(config.seed, int):
        raise UserError(f"seed={config.seed}: must be int")
    if unknown := [name for name in config.task.metrics if name not in SCORERS]:
        raise UserError(f"task.metrics: no metric {unknown[0]}; there are {', '.join(SCORERS)}")
    if taken := sorted(set(config.trainer) & set(OURS)):
        raise UserError(f"trainer.{taken[0]} is set by the application; use {OURS[taken[0]]}")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no advice on loggers and devices
    build_tool(config.trainer, logger=False, enable_checkpointing=False, enable_model_summary=False)
    with torch.device("meta"):  # shapes alone: no memory, no time, no random numbers
        build(config, 8, 8)
    build_tool(config.schedule, build_tool(config.optimizer, [torch.nn.Parameter(torch.zeros(1))]))
    for node in (config.loss, config.decoding, config.training):
        build_node(node)
    _check_kinds(build_node(config.data), config)


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
        if config.decoder.get("copy"):
            raise UserError("decoder.copy=true copies words of the source, of which pictures have none")


def run(config: DictConfig, folder: Path, chosen: Mapping[str, Any], *, again: bool = False) -> float | None:
    """``train``, and the best validation score. ``again``, as the job of a sweep that may have been launched before:
    what is finished is left, what was stopped goes on.
    """
    if again and (folder / report.RESULTS).exists():
        log.info("finished before: %s", folder)
    elif again:
        with alone(folder):
            _job(config, folder, chosen)
        (folder / FAILED).unlink(missing_ok=True)  # an earlier launch did
    else:
        train(config, folder, chosen)
    results = json.loads((folder / report.RESULTS).read_text(encoding="utf-8")) if again else {}
    best: float | None = results.get("run", {}).get("training", {}).get("best_score")
    return best


def _job(config: DictConfig, folder: Path, chosen: Mapping[str, Any]) -> None:
    """A job of a sweep in a directory that an earlier launch may have left unfinished."""
    if (last := folder / "checkpoints" / "last.ckpt").exists():
        log.info("goes on: %s", folder)
        train(OmegaConf.create({"resume": str(last)}), folder, chosen)
    else:
        (folder / "config.yaml").unlink(missing_ok=True)  # this job's own (``sweeps.place``), stopped before any update
        train(config, folder, chosen)


def train(config: DictConfig, run: Path, chosen: Mapping[str, Any] | None = None) -> dict[str, Score]:
    """Fits a model into the directory ``run`` (or goes on with ``config.resume``'s) and scores it on the test split.
    ``chosen`` says how the config came about, for the record.
    """
    check(config)
    started, resume = time.monotonic(), None
    if "resume" in config:
        resume, config = _resumed(config)
        run = checkpoint.run_of(resume)
    else:
        report.claim(run, config)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    corpus: Corpus = build_node(config.data)
    first = resume or config.training.get("start_from")  # a run that goes on has the tokenizers of its start
    start = checkpoint.load(first) if first and config.training.get("start_from") else None
    if start is not None:
        if start.codec.tokenizers.keys() != set(corpus.sides):
            raise UserError(f"training.start_from={first}: that model is not of data={corpus.name}'s kind")
        corpus.use(start.codec.tokenizers)
    corpus.setup()
    budget = Budget.of(config)
    if resume is None:  # what goes on has its config from its checkpoint
        config = budget.ended(budget.sized(config, corpus.codec.sizes), corpus)
    model = build(config, *corpus.codec.sizes)
    if start is not None and resume is None:
        start.load_into(model)
    split = "test" if corpus.has("test") else "valid"
    options: Options = build_node(config.training)
    metrics: dict[str, Score] = {}

    def score(fitted: FitResult) -> dict[str, float]:
        trained = Trained.load(fitted.best)
        records = _limited(corpus, split, config.trainer.get("limit_test_batches"))
        scored = score_records(
            trained,
            records,
            _search(config),
            plain(config.task),
            max_tokens=corpus.max_tokens,
            plots=options.plots,
            examples=options.examples,
        )
        scored.metrics |= faithfulness(trained, records[: options.faithfulness], corpus.max_tokens)
        report.save_split(run, split, records, scored)
        report.save_frequencies(run, corpus)
        costs = {"chosen": chosen or {}, "training": dataclasses.asdict(fitted), **cost(trained, records, scored)}
        about = report.about(trained, time.monotonic() - started, **costs)
        report.save_results(run / report.RESULTS, {split: scored.metrics}, about)
        metrics.update(scored.metrics)
        return {f"{split}/{name}": found.score for name, found in metrics.items()}

    fit(config, corpus, model, run, resume, score=score)
    if metrics:  # one process of several tells
        print(report.table(metrics))
        print(f"\nrun    {run}" + (f"\nplots  {run / 'attention' / split}" if config.training.plots else ""))
    return metrics


@dataclass(frozen=True)
class Evaluation:
    """The options of ``evaluate.py`` beside the groups; ``conf/evaluate.yaml`` says what they mean."""

    checkpoint: str
    split: str | None
    source_file: str | None
    target_file: str | None
    alignment: str | None
    reverse: bool
    plots: int
    examples: int
    faithfulness: int
    max_tokens: int
    device: str
    output: str | None
    evaluation: Mapping[str, Any]


def evaluate(config: DictConfig) -> dict[str, dict[str, Score]]:
    """Scores a checkpoint on a split, on new files, on gold alignments, as asked: {what: {metric: score}}."""
    started = time.monotonic()
    config = OmegaConf.masked_copy(
        config, [str(key) for key in config if key != "encoder"]
    )  # data's; ours is the run's
    asked = _asked(config, Evaluation, LAID)
    for name in ("plots", "examples", "faithfulness"):
        if getattr(asked, name) < 0:
            raise UserError(f"{name}={getattr(asked, name)} must be 0 or a number of records")
    trained = Trained.load(asked.checkpoint, asked.device)
    config = _laid(trained.config, config, LAID)
    trained = _seeing(trained, config)
    search = _search(config)
    schema.check_options("evaluation", asked.evaluation, Control)
    control = Control(**asked.evaluation)
    sets = {name: control(records, trained.codec) for name, records in _record_sets(trained, config, asked).items()}
    if asked.alignment and isinstance(trained.codec, ImageCodec):
        raise UserError("alignment= is of words in a source text; the model reads pictures")
    gold = read_gold(asked.alignment) if asked.alignment else []
    if asked.reverse:
        gold = [pair.swapped() for pair in gold]
    out = Path(asked.output) if asked.output else trained.run / "evaluations" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    told = config.copy()
    told["evaluation"] = dict(asked.evaluation)
    report.claim(out, told)

    results: dict[str, dict[str, Score]] = {}
    costs: dict[str, Any] = {}
    for name, records in sets.items():
        with control.around(trained.model):
            scored = score_records(
                trained,
                records,
                search,
                plain(config.task),
                max_tokens=asked.max_tokens,
                plots=asked.plots,
                examples=asked.examples,
            )
        if control.control not in OF_ATTENTION:  # which looks at attention as it is
            scored.metrics |= faithfulness(trained, records[: asked.faithfulness], asked.max_tokens)
        report.save_split(out, name, records, scored)
        results[name] = scored.metrics
        costs = cost(trained, records, scored)
    if asked.alignment:
        name = Path(asked.alignment).stem
        with control.around(trained.model):
            kept = max(asked.plots, asked.examples)
            found = forced(trained, [record_of(pair) for pair in gold], asked.max_tokens, plots=kept)
        maps = [seen for seen in found if seen is not None]  # all: text can always be read
        judged = alignment_error(maps, gold)
        results[name] = judged.metrics
        report.save_gold(out, name, gold, maps, judged, plots=asked.plots, examples=asked.examples)
    report.save_results(out / report.RESULTS, results, report.about(trained, time.monotonic() - started, **costs))
    for name, metrics in results.items():
        print(f"{name}\n{report.table(metrics)}\n")
    print(f"results  {out}")
    return results


@dataclass(frozen=True)
class Generating:
    """The options of ``generate.py`` beside the groups; ``conf/generate.yaml`` says what they mean."""

    checkpoint: str
    input: str | None
    output: str | None
    format: Literal["text", "jsonl"] | None
    alignments: str | None
    plots: str | None
    mark_copied: bool
    max_tokens: int
    device: str


def generate(config: DictConfig) -> None:
    """Turns lines of input, or documents, into lines of output, a group at a time."""
    asked = _asked(config, Generating, ("decoding",))
    trained = Trained.load(asked.checkpoint, asked.device)
    search = _search(_laid(trained.config, config, ("decoding",)))
    interactive = asked.input is None and sys.stdin.isatty()
    inputs = _inputs(trained, asked.input, interactive)
    size = 1 if interactive else DOCUMENTS if trained.codec.documents else GROUP
    with Writer(asked.output, asked.format, asked.alignments, asked.plots, asked.mark_copied) as writer:
        for first, group in _groups(inputs, size):
            found = trained.generate(
                [text for _, text in group],
                search=search,
                return_attention=writer.wants_attention,
                max_tokens=asked.max_tokens,
                first=first,
            )
            for place, ((name, _), one) in enumerate(zip(group, found, strict=True), first):
                seen = one.attention
                more = {"file": name} if name else {}
                writer.write(one, seen.statistics() if seen else {}, seen.links() if seen else (), **more)
                writer.draw(place, one)
            writer.flush()


def _inputs(trained: Trained, path: str | None, interactive: bool) -> Iterator[tuple[str, str]]:
    """(name, text) of what there is to answer: lines, or documents."""
    if isinstance(trained.codec, ImageCodec):
        return ((name, name) for name in (prompted() if interactive else read_pictures(path)))
    if trained.codec.documents:
        columns = columns_of(trained.config.data)
        if interactive:
            return (("", columns.document(line)) for line in prompted())
        return read_documents(path, columns)
    if path is not None:
        return (("", line) for line in read_lines(path))
    return (("", line) for line in (prompted() if interactive else decoded(sys.stdin.buffer, "stdin")))


LAID = ("task", "data", "decoding")  # groups that evaluation may choose anew


def _limited(corpus: Corpus, split: str, batches: int | None) -> Sequence[Record]:
    """All records of a split, or those of its first batches (``debug=batch``)."""
    records = corpus.records(split)
    if batches is None:
        return records
    places = [place for batch in islice(corpus.loader(split), batches) for place in batch.index.tolist()]
    return [records[place] for place in places if place >= 0]


def _seeing(trained: Trained, config: DictConfig) -> Trained:
    """The model as it opens pictures by the data's options, and not by those that it was trained with."""
    shows = "images" in (config.get("data") or {})
    if shows != isinstance(trained.codec, ImageCodec):
        kinds = ("pictures", "text") if shows else ("text", "pictures")
        raise UserError(f"data={config.data.name} is {kinds[0]}, but the model reads {kinds[1]}")
    if not isinstance(trained.codec, ImageCodec):
        return trained
    return dataclasses.replace(trained, codec=dataclasses.replace(trained.codec, images=build_node(config.data.images)))


def _record_sets(trained: Trained, config: DictConfig, asked: Evaluation) -> dict[str, Sequence[Record]]:
    """The records to score: two files, or a split of the run's corpus (or of one laid over it)."""
    if asked.source_file or asked.target_file:
        if not (asked.source_file and asked.target_file):
            raise UserError("source_file and target_file go together; to translate without scoring, use generate.py")
        sources, targets = list(read_lines(asked.source_file)), list(read_lines(asked.target_file))
        if len(sources) != len(targets):
            raise UserError(
                f"{asked.source_file} has {len(sources)} lines but {asked.target_file} {len(targets)}: "
                "line i of one must be the translation of line i of the other"
            )
        pairs = zip(sources, targets, strict=True)
        return {Path(asked.source_file).stem: [Record(source=source, target=target) for source, target in pairs]}
    if asked.split is None:
        return {}
    corpus: Corpus = build_node(config.data)
    corpus.use(trained.codec.tokenizers)
    return {asked.split: corpus.records(asked.split)}


def _search(config: DictConfig) -> Search:
    search = build_node(config.decoding)
    if not isinstance(search, Search):
        raise UserError(f"decoding._target_={config.decoding._target_} is no way to decode")
    return search


def _asked(config: DictConfig, kind: type[T], groups: Iterable[str]) -> T:
    """A command's own options."""
    own = {key: value for key, value in plain(config).items() if key not in groups}
    schema.check_options("", own, kind, beside=groups)
    return kind(**own)


def _laid(stored: DictConfig, typed: DictConfig, groups: Iterable[str]) -> DictConfig:
    """The run's config with what was typed: a group chosen anew takes the place of the run's, options are changed."""
    config = stored.copy()
    for group in groups:
        if (node := typed.get(group)) is None:
            continue
        if not OmegaConf.is_dict(node):
            raise UserError(f"{group}={node}: choose one of the group's files (--help lists them)")
        config[group] = node if "_target_" in node else OmegaConf.merge(config.get(group) or {}, node)
        schema.check_nodes(group, plain(config[group]))
    return config


def _resumed(config: DictConfig) -> tuple[Path, DictConfig]:
    """The checkpoint to go on from, and its config with the trainer and logger options that were typed."""
    for key in map(str, config):
        if key not in ("resume", *RESUMABLE):
            raise UserError(
                f"{key} is fixed by the run: with resume=, only {' and '.join(RESUMABLE)} options can change"
            )
    path = checkpoint.find(config.resume, ("last.ckpt", "best.ckpt"))
    if (checkpoint.run_of(path) / report.RESULTS).exists():
        raise UserError(f"{checkpoint.run_of(path)} is finished (it has results.json); start a new run instead")
    stored = OmegaConf.create(checkpoint.read(path)["config"])
    return path, _laid(stored, config, RESUMABLE)


RESUMABLE = ("trainer", "logger")


def _groups(inputs: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """(place of the first, inputs), ``size`` at a time."""
    remaining, first = iter(inputs), 0
    while group := list(islice(remaining, size)):
        yield first, group
        first += len(group)
