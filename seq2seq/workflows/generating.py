"""``generate.py``: new input to output, a group at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, TypeVar

from omegaconf import DictConfig

from seq2seq.data.codec import ImageCodec
from seq2seq.documents import columns_of, read_documents
from seq2seq.errors import UserError
from seq2seq.inference import Generation, Trained
from seq2seq.lines import prompted, read_lines, stdin_lines, usable
from seq2seq.metrics.links import Link
from seq2seq.outputs import Writer
from seq2seq.pictures import read_pictures
from seq2seq.workflows.asking import laid, own_options, search_of

T = TypeVar("T")
GROUP = 1024  # lines of input that are answered together: enough to batch by length, soon enough to watch
Told = tuple[Generation, dict[str, float], frozenset[Link]]  # an output, statistics of its attention, its word links
DOCUMENTS = 64  # documents likewise, which are longer


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
    asked = own_options(config, Generating, ("decoding",))
    trained = Trained.load(asked.checkpoint, asked.device)
    search = search_of(laid(trained.config, config, ("decoding",)))
    if asked.alignments and isinstance(trained.codec, ImageCodec):
        raise UserError("alignments= are links between words, which a picture has none of; plots=DIR draws attention")
    interactive = asked.input is None and sys.stdin.isatty()
    inputs = _inputs(trained, asked.input, interactive)
    size = 1 if interactive else DOCUMENTS if trained.codec.documents else GROUP
    with Writer(asked.output, asked.format, asked.alignments, asked.plots, asked.mark_copied) as writer:
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


def _inputs(trained: Trained, path: str | None, interactive: bool) -> Iterator[tuple[str, str]]:
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
