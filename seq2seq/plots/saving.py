"""Files of a figure: a PNG and, on request, the same figure as PDF or SVG, whose text stays text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from seq2seq.compat.matplotlib import without_glyph_warnings
from seq2seq.files.writing import writing
from seq2seq.plots.fonts import is_cff

DPI = 150


@dataclass(frozen=True)
class Style:
    """Style of the plots of a task, which the user chooses.

    Args:
        format: ``pdf`` or ``svg`` writes each figure in this format too, beside its PNG.
        pieces: Whether heat-maps have a row and a column for each piece of the tokenizer, not for each word.
    """

    format: Literal["png", "pdf", "svg"] = "png"
    pieces: bool = False


PLAIN = Style()


def save_figure(figure: Figure, stem: str | Path, style: Style = PLAIN) -> list[Path]:
    """Write STEM.png, and STEM.pdf or STEM.svg if the style asks for it, and return the paths.

    Args:
        figure: Figure to write.
        stem: Path of the files without suffix.
        style: Style with the format.
    """
    paths = [Path(f"{stem}.{kind}") for kind in dict.fromkeys(("png", style.format))]
    # A PDF embeds its fonts, as TrueType where that is possible; an SVG names them.
    used = {family for text in figure.findobj(Text) for family in text.get_fontfamily()}
    kept: dict[Any, Any] = {"pdf.fonttype": 3 if any(map(is_cff, used)) else 42, "svg.fonttype": "none"}
    for path in paths:
        with without_glyph_warnings(), mpl.rc_context(kept), writing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:])
    return paths
