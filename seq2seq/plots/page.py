"""Interactive page of one document: a reader chooses a summary word and sees its attention.

The page is a single file that loads nothing else.

Letters: J words of the summary, I words and N sentences of the document.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from seq2seq.attention_store import quantised
from seq2seq.plots.fonts import label
from seq2seq.plots.shading import Array, ShadedWord, Shading, backwards, full, percent

_TEMPLATE = Path(__file__).with_suffix(".html")
_NAMED = 3  # number of sentences, and of words, in the table's row of a summary word


def page(shading: Shading, title: str, reference: str | None = None) -> str:
    """Return the page as HTML.

    It first shows the mean over the summary; its script shows the attention of a single word.

    Args:
        shading: Document with its attention.
        title: Title of the page.
        reference: Reference summary; None = there is none.
    """
    # Pack the attention for the script.
    weights, shares = _with_mean(shading, shading.weights), _with_mean(shading, shading.shares)
    data = {
        "words": pack(weights),
        "sentences": pack(shares, 16),
        "copied": None if shading.copied is None else np.round(shading.copied, 4).tolist(),
        "origins": None if shading.origins is None else shading.origins.tolist(),
        "rest": np.round(_with_mean(shading, shading.rest[:, None])[:, 0], 4).tolist(),
    }
    # Fill the template.
    kinds = {"divided": shading.divided, "copying": shading.copied is not None, "golden": shading.origins is not None}
    text = "" if reference is None else f'<h2>Reference</h2>\n<p dir="auto">{escape(reference)}</p>'
    parts = {
        "title": escape(label(title, 200)),
        "facts": _facts(shading),
        "kind": " ".join(name for name, holds in kinds.items() if holds),
        "summary": _summary(shading),
        "reference": text,
        "document": _document(shading, weights[0], shares[0]),
        "weight": percent(full(weights[0])),
        "share": percent(full(shares[0])),
        "table": _table(shading),
        "data": json.dumps(data, separators=(",", ":")),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _TEMPLATE.read_text(encoding="utf-8"))


def pack(rows: Array, bits: int = 8) -> dict[str, object]:
    """Return rows of weights as compressed steps: bytes, zlib, base64.

    Each row has steps of its largest weight / (2^bits - 1).

    Args:
        rows: Weights (rows, X).
        bits: Bits of a step, 8 or 16.
    """
    steps, largest = quantised(rows, bits)
    packed = base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()
    return {"steps": packed, "bits": bits, "largest": [float(f"{x:.5g}") for x in largest]}


def _with_mean(shading: Shading, rows: Array) -> Array:
    """Return rows (1 + J, X) with the mean before the rows (J, X)."""
    return np.concatenate([shading.mean(rows)[None], rows])


def _facts(shading: Shading) -> str:
    """Return the sizes of the document and the summary."""
    counted = (len(shading.document), "word"), (shading.shares.shape[1], "sentence"), (len(shading.summary), "word")
    words, sentences, summary = (f"{n:,} {name}{'s' * (n != 1)}" for n, name in counted)
    return f"{words} in {sentences}, summarised in {summary}"


def _direction(words: Sequence[ShadedWord]) -> str:
    """Return the direction of a text as HTML names it."""
    return "rtl" if backwards(words) else "ltr"


def _text(word: ShadedWord, limit: int = 200) -> str:
    """Return a word as HTML."""
    return escape(label(word.text, limit))


def _summary(shading: Shading) -> str:
    """Return the summary as a group of buttons, of which one is chosen."""
    buttons = []
    for n, word in enumerate(shading.summary):
        copied = "" if shading.copied is None else f' style="--c:{shading.copied[n]:.2f}"'
        spoken = "" if shading.copied is None else f' aria-label="{_text(word)}, copied {percent(shading.copied[n])}"'
        space = "" if word.joined or n == 0 else " "
        buttons.append(f'{space}<button type="button" role="radio" aria-checked="false" tabindex="-1"{copied}{spoken}>')
        buttons.append(f"{_text(word)}</button>")
    return f'<div id="words" dir="{_direction(shading.summary)}">{"".join(buttons) or "<em>empty</em>"}</div>'


def _document(shading: Shading, weights: Array, shares: Array) -> str:
    """Return the document as a list of sentences, with their shares and their words."""
    gold = set() if shading.origins is None else set(shading.origins.tolist())
    # Shade the words of each sentence, and the sentence.
    top, topmost = full(weights), full(shares)
    items = []
    for sentence, share in enumerate(shares.tolist()):
        places = np.flatnonzero(shading.sentences == sentence).tolist()
        words = [shading.document[place] for place in places]
        spans = "".join(
            ("" if word.joined or n == 0 else " ") + f"<span{_shade('w', weights[place] / top)}>{_text(word)}</span>"
            for n, (place, word) in enumerate(zip(places, words, strict=True))
        )
        golden = ' class="gold"' if sentence in gold else ""
        items.append(
            f'<li dir="{_direction(words)}"{golden}{_shade("s", share / topmost)}>'
            f"<b>{sentence + 1}</b><small>{percent(share)}</small><p>{spans}</p></li>"
        )
    return "\n".join(items)


def _shade(name: str, level: float) -> str:
    """Return the style of a shade, or nothing if the shade cannot be seen."""
    return f' style="--{name}:{level:.2f}"' if level >= 0.005 else ""


def _table(shading: Shading) -> str:
    """Return the table of the words and sentences with most attention, for each summary word."""
    rows = []
    for n, word in enumerate(shading.summary):
        cells = [_text(word)]
        if shading.copied is not None:
            cells.append(percent(shading.copied[n]))
        if shading.origins is not None:
            cells.append(str(shading.origins[n] + 1) if shading.origins[n] >= 0 else "none")
        # Name those with the largest shares and weights.
        sentences, words = (np.argsort(-row, kind="stable")[:_NAMED] for row in (shading.shares[n], shading.weights[n]))
        cells.append(", ".join(f"{place + 1} ({percent(shading.shares[n, place])})" for place in sentences))
        cells.append(
            ", ".join(f"{_text(shading.document[place])} ({percent(shading.weights[n, place])})" for place in words)
        )
        rows.append(f'<tr><th scope="row" dir="auto">{cells[0]}</th>')
        rows.append("".join(f'<td dir="auto">{cell}</td>' for cell in cells[1:]) + "</tr>\n")
    # Name the columns.
    heads = ["word"] + ["copied"] * (shading.copied is not None) + ["gold sentence"] * (shading.origins is not None)
    heads += ["sentences with most attention", "words with most attention"]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table>"
