"""``generate.py``: new input to output, a group at a time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from omegaconf import DictConfig

from seq2seq.cli.merge_overrides import merge_overrides, own_options, search_of
from seq2seq.data.codec import ImageCodec
from seq2seq.data.images import SUFFIXES
from seq2seq.errors import UserError
from seq2seq.files.text import prompted, read_lines, stdin_lines, usable
from seq2seq.files.writing import is_same
from seq2seq.generation.documents import columns_of, read_documents
from seq2seq.generation.generator import Generation, TrainedModel
from seq2seq.generation.pictures import read_pictures
from seq2seq.generation.writer import OutputWriter, check_outputs, format_of
from seq2seq.metrics.links import Link
from seq2seq.run_directory import KEPT, REMADE
from seq2seq.runtime import interrupts
from seq2seq.runtime.kernels import avoid_wrong_ones
from seq2seq.runtime.memory import keep_freed

T = TypeVar("T")
GROUP = 1024  # lines of input that are answered together: enough to batch by length, soon enough to watch
Told = tuple[Generation, dict[str, float], frozenset[Link]]  # an output, statistics of its attention, its word links
DOCUMENTS = 64  # documents likewise, which are longer
DRAWN = re.compile(r"\d{5,}_.*\.(png|npz|html)")  # what ``plots`` writes
MODEL = (".ckpt", ".safetensors", ".model")  # of the files beside a model's that belong to it
OF_A_RUN = (*KEPT, *REMADE, "evaluations")


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
    interrupts.unwind()
    keep_freed()
    avoid_wrong_ones()
    asked = own_options(config, Generating, ("decoding",))
    trained = TrainedModel.load(asked.checkpoint, asked.device)
    search = search_of(merge_overrides(trained.config, config, ("decoding",)))
    if asked.alignments and isinstance(trained.codec, ImageCodec):
        raise UserError("alignments= are links between words, which a picture has none of; plots=DIR draws attention")
    _check_effects(config, asked, trained)
    _check_outputs(asked, trained)
    interactive = asked.input is None and sys.stdin.isatty()
    inputs = _inputs(trained, asked.input, interactive)
    size = 1 if interactive else DOCUMENTS if trained.codec.documents else GROUP
    with OutputWriter(asked.output, asked.format, asked.alignments, asked.plots, asked.mark_copied) as writer:
        for first, group in _groups(inputs, size):
            texts = [text for _, text in group]
            found: list[Told] = [(Generation(text, []), {}, frozenset()) for text in texts]
            stream = trained.stream(
                texts, search, return_attention=writer.wants_attention, max_tokens=asked.max_tokens, first=first
            )
            for place, one in stream:
                writer.draw(first + place, one)
                found[place] = _told(one)
            for (name, _), (one, statistics, links) in zip(group, found, strict=True):
                writer.write(one, statistics, links, **({"file": name} if name else {}))
            writer.flush()


def _told(one: Generation) -> Told:
    """Return what is written of a generation; its weights, which are large, go."""
    if (seen := one.attention) is None:
        return one, {}, frozenset()
    return replace(one, attention=replace(seen, weights={}, layers=[])), seen.statistics(), seen.links()


def _check_outputs(asked: Generating, trained: TrainedModel) -> None:
    """Refuses an output that is an input, a file of the model, or another output."""
    outputs = {name: path for name in ("output", "alignments", "plots") if (path := getattr(asked, name))}
    if not asked.output and os.path.isfile("/dev/stdout"):
        outputs["stdout"] = "/dev/stdout"
    suffixes = SUFFIXES if isinstance(trained.codec, ImageCodec) else (".txt",)
    read = list(_files_read(trained, asked.input, suffixes))
    model = (file for file in trained.path.parent.iterdir() if file.suffix in MODEL or file.stem == "config")
    check_outputs(outputs, [*(("input", file) for file in read), *(("checkpoint", file) for file in model)])
    run = Path(os.path.realpath(trained.run))
    for option, path in outputs.items():
        place = Path(os.path.realpath(path))
        if place.is_relative_to(run) and place != run and place.relative_to(run).parts[0] in OF_A_RUN:
            raise UserError(f"{option}={path} is among the files of the run; choose another file")
        if place.suffix in suffixes and asked.input and is_same(place.parent, asked.input):
            raise UserError(f"{option}={path} is in the folder that is read (input={asked.input}); choose another file")
    for file in read if asked.plots else ():
        if is_same(Path(file).parent, str(asked.plots)) and DRAWN.fullmatch(Path(file).name):
            raise UserError(f"plots={asked.plots} would write over {file}; choose another directory")


def _files_read(trained: TrainedModel, path: str | None, suffixes: Collection[str]) -> Iterator[str | Path]:
    """The files that are read, and of pictures the folder, in which those of ``plots`` would be read the next time."""
    pictures = isinstance(trained.codec, ImageCodec)
    if path is None:
        if os.path.isfile("/dev/stdin"):
            yield "/dev/stdin"
    elif not os.path.isdir(path):
        yield path
        if pictures:
            yield from read_pictures(path)
    else:
        yield from (file for file in Path(path).iterdir() if file.suffix.lower() in suffixes)
        if pictures:
            yield path


def _check_effects(config: DictConfig, asked: Generating, trained: TrainedModel) -> None:
    """Refuse options that would do nothing."""
    is_text = format_of(asked.output, asked.format) == "text"
    if asked.mark_copied and not trained.config.decoder.get("copy"):
        raise UserError("mark_copied=true has no effect: this model does not copy (decoder.copy=false)")
    if asked.mark_copied and not is_text:
        raise UserError("mark_copied=true has no effect in jsonl, which says for each word what was copied")
    for name in ("n_best", "samples"):
        if is_text and (number := (config.get("decoding") or {}).get(name) or 1) > 1:
            raise UserError(f"decoding.{name}={number} has no effect in text, a line an input: set format=jsonl")


def _inputs(trained: TrainedModel, path: str | None, interactive: bool) -> Iterator[tuple[str, str]]:
    """(name, text) of what there is to answer: lines, or documents."""
    if isinstance(trained.codec, ImageCodec):
        return ((name, name) for name in (prompted() if interactive else read_pictures(path)))
    if trained.codec.documents:
        columns = columns_of(trained.config.data)
        if interactive:
            return (("", columns.document(line)) for line in prompted())
        return read_documents(path, columns)
    lines = prompted() if interactive else stdin_lines() if path is None else read_lines(path)
    return (("", usable(line, f"{path or 'stdin'}:{number}")) for number, line in enumerate(lines, 1))


def _groups(inputs: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """(place of the first, inputs), ``size`` at a time."""
    remaining, first = iter(inputs), 0
    while group := list(islice(remaining, size)):
        yield first, group
        first += len(group)
