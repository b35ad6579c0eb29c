"""``generate.py``: new input to output, a group at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

from omegaconf import DictConfig

from seq2seq.data.codec import ImageCodec
from seq2seq.documents import columns_of, read_documents
from seq2seq.errors import UserError
from seq2seq.inference import Trained
from seq2seq.lines import decoded, prompted, read_lines
from seq2seq.outputs import Writer, format_of
from seq2seq.pictures import read_pictures
from seq2seq.workflows.asking import laid, own_options, search_of

T = TypeVar("T")
GROUP = 1024  # lines of input that are answered together: enough to batch by length, soon enough to watch
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
    _check_effects(config, asked, trained)
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


def _check_effects(config: DictConfig, asked: Generating, trained: Trained) -> None:
    """Refuse options that would do nothing."""
    is_text = format_of(asked.output, asked.format) == "text"
    if asked.mark_copied and not trained.config.decoder.get("copy"):
        raise UserError("mark_copied=true has no effect: this model does not copy (decoder.copy=false)")
    if asked.mark_copied and not is_text:
        raise UserError("mark_copied=true has no effect in jsonl, which says for each word what was copied")
    for name in ("n_best", "samples"):
        if is_text and (number := (config.get("decoding") or {}).get(name) or 1) > 1:
            raise UserError(f"decoding.{name}={number} has no effect in text, a line an input: set format=jsonl")


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


def _groups(inputs: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """(place of the first, inputs), ``size`` at a time."""
    remaining, first = iter(inputs), 0
    while group := list(islice(remaining, size)):
        yield first, group
        first += len(group)
