"""Output files of generation: texts or JSON, and word links, in the order of the inputs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from seq2seq.errors import UserError
from seq2seq.files.writing import FULL, growing, is_same
from seq2seq.generation.generator import Generation
from seq2seq.metrics.links import Link, to_pharaoh


def format_of(output: str | Path | None, format: str | None) -> str:
    """Return the format of the outputs, text or jsonl.

    Args:
        output: The output file; None is stdout.
        format: The chosen format; None chooses by the name of ``output``.
    """
    return format or ("jsonl" if output is not None and Path(output).suffix == ".jsonl" else "text")


class OutputWriter:
    """Writer of generations and of their word links; a context manager that opens the files.

    Args:
        output: File for the generations; None is stdout.
        format: text (the best output, one line per input) or jsonl (``json_line``); None chooses by ``output``.
        alignments: File for the word links; None writes none.
        mark_copied: Whether to put copied words in [brackets]; for text only.
    """

    def __init__(
        self,
        output: str | Path | None = None,
        format: str | None = None,
        alignments: str | Path | None = None,
        mark_copied: bool = False,
    ) -> None:
        self.format = format_of(output, format)
        self.mark_copied = mark_copied
        self.wants_attention = self.format == "jsonl" or mark_copied or alignments is not None
        self._paths = output, alignments
        self._stack = ExitStack()
        self._files: list[IO[str] | None] = [None, None]

    def write(
        self, generation: Generation, statistics: Mapping[str, float], links: Collection[Link], **more: Any
    ) -> None:
        """Write one generation and its word links.

        Args:
            generation: The next generation, in the order of the inputs.
            statistics: Statistics of its attention.
            links: Its word links.
            **more: More fields of the JSON object.

        Raises:
            UserError: The disk is full.
        """
        # Format the line.
        if self.format == "jsonl":
            line = json_line(generation, statistics, links, **more)
        else:
            text = generation.text
            if self.mark_copied and generation.copied:
                words = generation.attention.words if generation.attention else text.split(" ")
                pairs = zip(words, generation.copied, strict=True)
                text = " ".join(f"[{word}]" if share > 0.5 else word for word, share in pairs)
            line = " ".join(text.splitlines()) + "\n"
        # Write the line and the links, where there are files for them.
        for place, text in enumerate((line, to_pharaoh(links) + "\n")):
            if (file := self._files[place]) is not None:
                with self._told(place):
                    file.write(text)

    def flush(self) -> None:
        """Flush all open files."""
        for place, file in enumerate(self._files):
            if file is not None:
                with self._told(place):
                    file.flush()

    def __enter__(self) -> OutputWriter:
        """Open the files: both or none."""
        with ExitStack() as stack:
            self._files = [None if path is None else stack.enter_context(growing(path)) for path in self._paths]
            self._stack = stack.pop_all()
        if self._paths[0] is None:
            self._files[0] = sys.stdout
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all open files."""
        self._stack.__exit__(kind, error, trace)

    @contextmanager
    def _told(self, place: int) -> Iterator[None]:
        """Name the file in the error of a full disk."""
        try:
            yield
        except OSError as error:
            if self._paths[place] is None or error.errno not in FULL:
                raise
            raise UserError(f"{self._paths[place]} can't be written ({error.strerror})") from error


def check_outputs(outputs: Mapping[str, str | Path], inputs: Iterable[tuple[str, str | Path]]) -> None:
    """Refuse to overwrite an input, or to write two outputs to one file, also under different names of a file.

    Args:
        outputs: {option: the file or the directory that it names}.
        inputs: (option, file) for each input.

    Raises:
        UserError: Two of them are the same file. No file has been opened.
    """
    # Compare the outputs with each other, and then with the inputs.
    for (option, path), (other, beside) in combinations(outputs.items(), 2):
        if is_same(path, beside) and not _is_device(path):
            raise UserError(f"{option}={path} is also {other}={beside}; choose another file for one of them")
    for name, file in inputs:
        for option, path in outputs.items():
            if is_same(path, file) and not _is_device(file):
                raise UserError(f"{option}={path} is also read ({name}={file}); choose another file")


def _is_device(path: str | Path) -> bool:
    """Return whether a path is a terminal, a pipe or the like, which can be an input and an output at the same time."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def json_line(generation: Generation, statistics: Mapping[str, float], links: Collection[Link], **more: Any) -> str:
    """Return a generation as a line with a JSON object.

    Args:
        generation: The outputs for one input.
        statistics: Statistics of the attention.
        links: Word links of the best output.
        **more: More fields.
    """
    best = generation.outputs[0] if generation.outputs else None
    copied = {"copied": generation.copied} if generation.copied else {}
    entry = {
        "source": generation.source,
        **more,
        "hypothesis": generation.text,
        "score": best and best.score,
        "n_best": [vars(output) for output in generation.outputs],
        "alignment": to_pharaoh(links),
        **copied,
        "attention": dict(statistics),
    }
    return json.dumps(entry, ensure_ascii=False) + "\n"
