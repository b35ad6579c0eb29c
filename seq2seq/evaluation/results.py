"""Files of an evaluation, and the table of results for the terminal.

frequencies.json          {word of training targets: its number of occurrences}
results.json              {SPLIT: {METRIC: {"score": 34.1, "signature": "..."}}, "run": {...}}
outputs/SPLIT.jsonl       one object for each record: source, references, hypothesis, score, attention statistics, and
                          under "sums" the numbers that it adds to each metric (``seq2seq.metrics.resampling``)
outputs/SPLIT.pharaoh     word links i-j of each output, one line for each record
attention/SPLIT.npz       all cross-attention of the first outputs, for comparison (``seq2seq.attention_store``)
attention/SPLIT/*.png     plots, with their arrays in *.npz; for documents also a page, *.html
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from seq2seq import attention_store
from seq2seq.data.corpus import Corpus
from seq2seq.data.letters import features_in
from seq2seq.data.records import Record
from seq2seq.evaluation.evaluate import EvaluationResult
from seq2seq.files.writing import growing, write_text
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.generator import TrainedModel
from seq2seq.generation.writer import OutputWriter
from seq2seq.metrics import MetricResult
from seq2seq.metrics.gold import GoldLinks
from seq2seq.metrics.links import Link, to_pharaoh
from seq2seq.metrics.resampling import by_record
from seq2seq.metrics.table import described, rounded
from seq2seq.metrics.words import spoken
from seq2seq.run_directory import digests
from seq2seq.tasks.annotations import Annotations, annotations_of
from seq2seq.tasks.base import Task

MAX_COUNTED_RECORDS = 1_000_000  # training records whose words are counted
PACKAGES = ("torch", "lightning", "datasets", "sentencepiece", "sacrebleu", "numpy")


def save_split(directory: Path, split: str, records: Sequence[Record], scored: EvaluationResult, task: Task) -> None:
    """Write the outputs, links and plots of a split.

    Args:
        directory: Directory of the run.
        split: Name of the split.
        records: Records of the split.
        scored: Result of the evaluation.
        task: Task, which draws attention.
    """
    stem = directory / "outputs" / split
    with OutputWriter(f"{stem}.jsonl", "jsonl", f"{stem}.pharaoh") as writer:
        for record_index, (record, scored_output) in enumerate(zip(records, scored.generations, strict=True)):
            references = list(record.get("references") or [record["target"]])
            more: dict[str, Any] = {"references": references, "sums": scored.record_sums[record_index]}
            more |= {name: value for name, value in _slices_of(record).items() if value}
            writer.write(scored_output, scored.attention_statistics[record_index], scored.links[record_index], **more)
            # Only the first outputs keep their attention.
            if scored_output.attention is None:
                continue
            plots = directory / "attention" / split
            task.plot(scored_output.attention, plots, record_index, annotations_of(record, scored_output.text))
    if scored.attention_records:
        attention_store.save(directory / "attention" / f"{split}.npz", scored.attention_records)


def _slices_of(record: Record) -> dict[str, Any]:
    """Return the group and the features of a record, by which a comparison resamples and slices."""
    return {"group": record.get("group"), "features": features_in(record["source"])}


def save_gold(
    directory: Path,
    name: str,
    gold: Sequence[GoldLinks],
    maps: Sequence[AttentionMap],
    links: Sequence[frozenset[Link]],
    metrics: Mapping[str, MetricResult],
    task: Task,
    *,
    plots: int,
    examples: int,
) -> None:
    """Write the links and the attention of the sentence pairs of a gold file.

    Args:
        directory: Directory of the run.
        name: Name of the gold file in the run, instead of a split.
        gold: Sentence pairs with gold links.
        maps: Attention of each pair while its target was forced on the model.
        links: Predicted links of each pair.
        metrics: Results by name of the metric.
        task: Task, which draws attention.
        plots: Number of first pairs to draw.
        examples: Number of first pairs whose cross-attention is stored.
    """
    # Write one line for each pair.
    with growing(directory / "outputs" / f"{name}.jsonl") as file:
        for pair, scored_output, sums in zip(gold, links, by_record(metrics, len(gold)), strict=True):
            words = {"source": " ".join(pair.source), "target": " ".join(pair.target)}
            entry = {**words, "alignment": to_pharaoh(scored_output), "sums": sums}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    # Draw the attention of the first pairs.
    for record_index, (pair, scored_map) in enumerate(zip(gold[:plots], maps, strict=False)):
        task.plot(scored_map, directory / "attention" / name, record_index, Annotations(pair))

    # Store the cross-attention of the first pairs.
    kept = [
        scored_map.crossing().to_record(record_index, scored_map.between_words(pair.source, pair.target))
        for record_index, (scored_map, pair) in enumerate(zip(maps[:examples], gold, strict=False))
    ]
    attention_store.save(directory / "attention" / f"{name}.npz", kept)


def save_results(path: Path, splits: Mapping[str, Mapping[str, MetricResult]], run: Mapping[str, Any]) -> None:
    """Write results.json, the last file of a run, with the digests of the files written before.

    Args:
        path: Path of results.json in the directory of the run.
        splits: Results by name of the metric, for each split.
        run: Metadata of the run (``run_metadata``).
    """
    scores = {split: {name: score.to_dict() for name, score in metrics.items()} for split, metrics in splits.items()}
    content: dict[str, Any] = {**scores, "run": dict(run)}
    content["run"]["digests"] = digests(path.parent, content)
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def save_frequencies(directory: Path, corpus: Corpus) -> None:
    """Write frequencies.json: the number of occurrences of each word in the targets of the training split.

    Of a large split, the first million records are counted.

    Args:
        directory: Directory of the run.
        corpus: Corpus; one that streams its training records gets no file.
    """
    # A streaming corpus does not hold its training records.
    if corpus.streaming:
        return
    counts: Counter[str] = Counter()
    for record in islice(corpus.records("train"), MAX_COUNTED_RECORDS):
        for text in record.get("references") or [record["target"]]:
            counts.update(spoken(text))
    text = json.dumps(dict(counts.most_common()), ensure_ascii=False)
    write_text(directory / "frequencies.json", text + "\n")


def run_metadata(trained: TrainedModel, seconds: float, **costs: Any) -> dict[str, Any]:
    """Return the entry "run" of results.json: command, versions, hardware, model and costs.

    Args:
        trained: Trained model.
        seconds: Duration of the command.
        costs: Further entries, such as the costs of training and decoding.
    """
    gpu = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "command": shlex.join(sys.argv),
        "checkpoint": str(trained.path),
        "seed": trained.config.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": {"machine": platform.machine(), "cpu": _cpu(), "cores": os.cpu_count(), "gpu": gpu},
        "seconds": round(seconds, 1),
        "model": OmegaConf.to_container(trained.config.model),  # with widths that a parameter budget chose
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        **costs,
    }


def _cpu() -> str:
    """Return the name of the processor, if the system knows it."""
    # Only Linux has this file.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def format_main(metrics: Mapping[str, MetricResult], task: Task) -> str:
    """Return a table of the metrics that matter most for a task: names, values with units, and descriptions.

    Args:
        metrics: Results by name of the metric.
        task: Task, which knows its main metrics.
    """
    names = task.main_metrics(list(metrics))
    values = [rounded(name, metrics[name].score) for name in names]
    rows = [(name, value, "%" * (unit == "%")) for name, (value, unit) in zip(names, values, strict=True)]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:{wide[0]}}  {value:>{wide[1]}} {unit:1}  {described(name)}" for name, value, unit in rows)


def format_table(metrics: Mapping[str, MetricResult]) -> str:
    """Return a table of names, values and signatures of metrics.

    Args:
        metrics: Results by name of the metric.
    """
    # Large values have fewer digits after the point.
    rows = [
        (name, f"{score.score:.{2 if score.score >= 10 else 4}f}", score.signature) for name, score in metrics.items()
    ]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:{wide[0]}}  {figure:>{wide[1]}}  {signature}" for name, figure, signature in rows)
