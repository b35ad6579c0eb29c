"""``generate.py``: generate an output for each new input, one group of inputs at a time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from omegaconf import DictConfig

from seq2seq.cli.merge_overrides import merge_overrides, own_options, search_of
from seq2seq.config.instantiate import build_node
from seq2seq.errors import UserError
from seq2seq.files.writing import is_same
from seq2seq.generation.generator import Generation, TrainedModel
from seq2seq.generation.writer import OutputWriter, check_outputs, format_of
from seq2seq.metrics.links import Link
from seq2seq.run_directory import EVALUATIONS, KEPT, REMADE
from seq2seq.runtime import interrupts
from seq2seq.runtime.memory import keep_freed
from seq2seq.runtime.torch_kernels import avoid_wrong_ones
from seq2seq.stored import tuned_decoding
from seq2seq.stored.config import with_name
from seq2seq.tasks.base import Task

T = TypeVar("T")
Told = tuple[Generation, dict[str, float], frozenset[Link]]  # output, statistics of its attention, links of its words
DRAWN = re.compile(r"\d{5,}_.*\.(png|npz|html|pdf|svg)")  # names of the files that ``plots`` writes
MODEL = (".ckpt", ".safetensors", ".model")  # suffixes of the files of a model
OF_A_RUN = (*KEPT, *REMADE, EVALUATIONS, tuned_decoding.FILE)
"""Names of files and directories in the directory of a run, which no output may overwrite."""


@dataclass(frozen=True)
class Generating:
    """Options of ``generate.py`` outside the config groups; ``conf/generate.yaml`` explains them."""

    checkpoint: str
    input: str | None
    output: str | None
    format: Literal["text", "jsonl"] | None
    alignments: str | None
    plots: str | None
    plot_format: Literal["png", "pdf", "svg"]
    plot_pieces: bool
    mark_copied: bool
    max_tokens: int
    device: str


def generate(config: DictConfig) -> None:
    """Generate an output for each sentence, document or image of the input.

    Args:
        config: Options of the command, as in ``conf/generate.yaml``.
    """
    interrupts.unwind()
    keep_freed()
    avoid_wrong_ones()
    # Load the model, and check the options.
    settings = own_options(config, Generating, ("decoding",))
    trained = TrainedModel.load(settings.checkpoint, settings.device)
    search = search_of(merge_overrides(trained.config, config, ("decoding",)))
    task: Task = with_name(str(trained.path), build_node, trained.config.task)
    if settings.alignments and not task.has_source_words:
        raise UserError(
            f"alignments={settings.alignments} has no effect: an image has no words to link; plots=DIR draws attention"
        )
    _check_effects(config, settings, trained)
    task.draw_as(settings.plot_format, pieces=settings.plot_pieces)
    _check_outputs(settings, trained, task)
    # Generate and write the outputs of one group after another.
    interactive = settings.input is None and sys.stdin.isatty()
    inputs = task.inputs(settings.input, trained.config.data, interactive=interactive)
    size = 1 if interactive else task.group_size
    with OutputWriter(settings.output, settings.format, settings.alignments, settings.mark_copied) as writer:
        wants_attention = writer.wants_attention or settings.plots is not None
        for first, group in _groups(inputs, size):
            # Outputs arrive sorted by length: put each of them at the place of its input.
            texts = [text for _, text in group]
            written: list[Told] = [(Generation(text, []), {}, frozenset()) for text in texts]
            stream = trained.stream(
                texts, search, return_attention=wants_attention, max_tokens=settings.max_tokens, first=first
            )
            for index, one in stream:
                if one.attention is not None and settings.plots is not None:
                    task.plot(one.attention, settings.plots, first + index)
                written[index] = _told(one)
            # Write the outputs in the order of the inputs.
            for (name, _), (one, statistics, links) in zip(group, written, strict=True):
                writer.write(one, statistics, links, **({"file": name} if name else {}))
            writer.flush()


def _told(one: Generation) -> Told:
    """Return what is written of a generation: all but its attention weights, which need much memory."""
    if (attention_map := one.attention) is None:
        return one, {}, frozenset()
    return (
        replace(one, attention=replace(attention_map, weights={}, layers=[])),
        attention_map.statistics(),
        attention_map.links(),
    )


def _check_outputs(settings: Generating, trained: TrainedModel, task: Task) -> None:
    """Refuse an output that would overwrite an input, a file of the model or another output."""
    # Compare the outputs with the inputs, the files of the model, and each other.
    outputs = {name: path for name in ("output", "alignments", "plots") if (path := getattr(settings, name))}
    if not settings.output and os.path.isfile("/dev/stdout"):
        outputs["stdout"] = "/dev/stdout"
    read = list(task.input_files(settings.input))
    model = (file for file in trained.path.parent.iterdir() if file.suffix in MODEL or file.stem == "config")
    check_outputs(outputs, [*(("input", file) for file in read), *(("checkpoint", file) for file in model)])
    # Refuse an output among the files of the run, or in the folder of the inputs.
    run = Path(os.path.realpath(trained.run))
    for option, path in outputs.items():
        real = Path(os.path.realpath(path))
        if real.is_relative_to(run) and real != run and real.relative_to(run).parts[0] in OF_A_RUN:
            raise UserError(f"{option}={path} is among the files of the run; choose another file")
        if real.suffix in task.suffixes and settings.input and is_same(real.parent, settings.input):
            raise UserError(
                f"{option}={path} is in the folder that is read (input={settings.input}); choose another file"
            )
    # Refuse plots that would overwrite an image of the input.
    for file in read if settings.plots else ():
        if is_same(Path(file).parent, str(settings.plots)) and DRAWN.fullmatch(Path(file).name):
            raise UserError(f"plots={settings.plots} would overwrite the input {file}; choose another directory")


def _check_effects(config: DictConfig, settings: Generating, trained: TrainedModel) -> None:
    """Refuse options that have no effect."""
    is_text = format_of(settings.output, settings.format) == "text"
    if settings.mark_copied and not trained.config.decoder.get("copy"):
        raise UserError("mark_copied=true has no effect: this model does not copy (decoder.copy=false)")
    if settings.mark_copied and not is_text:
        raise UserError("mark_copied=true has no effect with format=jsonl, which lists the copied words")
    if settings.plots is None and (settings.plot_format != "png" or settings.plot_pieces):
        raise UserError("plot_format and plot_pieces have no effect without plots=DIR, the directory of the plots")
    for name in ("n_best", "samples"):
        if is_text and (number := (config.get("decoding") or {}).get(name) or 1) > 1:
            raise UserError(
                f"decoding.{name}={number} has no effect with format=text, one output for each input; set format=jsonl"
            )


def _groups(inputs: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """Yield groups of ``size`` inputs as (index of the first input, inputs)."""
    remaining, first = iter(inputs), 0
    while group := list(islice(remaining, size)):
        yield first, group
        first += len(group)
