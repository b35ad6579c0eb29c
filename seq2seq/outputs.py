"""What generation leaves: lines of text or JSON, word links, pictures; in the order of the inputs."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from seq2seq.errors import UserError
from seq2seq.inference import Generation
from seq2seq.metrics.gold import Gold
from seq2seq.metrics.links import Link, to_pharaoh


def format_of(output: str | Path | None, format: str | None) -> str:
    """Return the ``format`` that was chosen, or that of ``output``'s name: text or jsonl."""
    return format or ("jsonl" if output is not None and Path(output).suffix == ".jsonl" else "text")


class Writer:
    """Writes each generation to ``output`` (stdout if None), its links to ``alignments``, its pictures to ``plots``.

    ``format`` is text (the best output, a line an input) or jsonl (see ``json_line``); None goes by ``output``'s name.
    ``mark_copied`` puts the words of a text that were copied in [brackets].
    """

    def __init__(
        self,
        output: str | Path | None = None,
        format: str | None = None,
        alignments: str | Path | None = None,
        plots: str | Path | None = None,
        mark_copied: bool = False,
    ) -> None:
        self.format = format_of(output, format)
        self.mark_copied = mark_copied
        wanted = self.format == "jsonl", mark_copied, alignments is not None, plots is not None
        self.wants_attention = any(wanted)
        self.plots = None if plots is None else Path(plots)
        self._stack = ExitStack()
        self._output = sys.stdout if output is None else self._open(output)
        self._alignments = None if alignments is None else self._open(alignments)

    def write(
        self, generation: Generation, statistics: Mapping[str, float], links: Collection[Link], **more: Any
    ) -> None:
        """Writes one; they come in the inputs' order. ``more`` goes into the JSON."""
        if self.format == "jsonl":
            self._output.write(json_line(generation, statistics, links, **more))
        else:
            words = " ".join(generation.text.splitlines()).split(" ")
            if self.mark_copied and generation.copied:
                words = [f"[{w}]" if p > 0.5 else w for w, p in zip(words, generation.copied, strict=True)]
            self._output.write(" ".join(words) + "\n")
        if self._alignments is not None:
            self._alignments.write(to_pharaoh(links) + "\n")

    def draw(
        self,
        place: int,
        generation: Generation,
        gold: Gold | None = None,
        origins: Sequence[int] | None = None,
        regions: Sequence[Sequence[float]] | None = None,
    ) -> None:
        """Draws the attention of one output, if it was kept and pictures are wanted."""
        if generation.attention is not None and self.plots is not None:
            generation.attention.save(self.plots, place, gold, origins, regions)

    def flush(self) -> None:
        """Hands over what was written so far."""
        self._output.flush()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self, path: str | Path) -> IO[str]:
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return self._stack.enter_context(path.open("w", encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path} can't be written: {error.strerror or error}") from error


def json_line(generation: Generation, statistics: Mapping[str, float], links: Collection[Link], **more: Any) -> str:
    """A generation as a JSON object: the best hypothesis, all of them, word links, how attention behaved."""
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
