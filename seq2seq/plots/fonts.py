"""Fonts for texts of any script, and labels of tokens.

matplotlib (3.11 and later) shapes and orders any script, with HarfBuzz and FriBidi inside. It brings fonts only for the
European scripts, Arabic and Hebrew. Other fonts come from the machine, or from the package ``noto-cjk-sans-otc``. A
character without a font is drawn as a box that shows its script; this is logged once.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontPath
from matplotlib.ft2font import FT2Font

log = logging.getLogger(__name__)

BASE = "DejaVu Sans"  # comes with matplotlib
_CJK_PACKAGE = "noto_cjk_sans_otc"
# Fonts of boxes, of mathematics, of the base and of bitmaps.
_UNUSABLE = ("Last Resort", "cm", "STIX", "DejaVu", "Noto Color")
_UNDRAWABLE = ("Cc", "Cs", "Zl", "Zp")  # categories: controls, half surrogate pairs, line ends
_VISIBLE = {"\n": "⏎", "\r": "⏎", "\t": "⇥"}
_boxed: set[str] = set()  # characters without a font, which were looked for and logged


def families(texts: Iterable[str]) -> list[str]:
    """Return font families that together have the characters of some texts, in the order that matplotlib should try.

    Each script without a font on this machine is logged once.

    Args:
        texts: Texts to draw.
    """
    # Add fonts until they have all characters.
    wanted = set().union(*texts) - _boxed
    missing = wanted - _held(font_manager.fontManager.findfont(BASE), wanted)
    chosen = [BASE]
    for entry in _installed() if missing else ():
        if held := _held(FontPath(entry.fname, entry.index), missing):
            chosen.append(entry.name)
            missing -= held
        if not missing:
            break
    # Log scripts for the first time.
    if scripts := {_script(c) for c in missing} - {_script(c) for c in _boxed}:
        log.warning(
            "no font for %s: plots show boxes. For Chinese, Japanese and Korean, pip install noto-cjk-sans-otc. "
            "For other scripts, install a font of the script (on Debian: apt install fonts-noto-core)",
            ", ".join(sorted(scripts)),
        )
    _boxed.update(missing)
    return chosen


def is_cff(family: str) -> bool:
    """Return whether the outlines of a font are CFF, which matplotlib embeds in a PDF only as Type 3.

    Args:
        family: Name of the font family.
    """
    with open(font_manager.findfont(font_manager.FontProperties(family=[family])), "rb") as file:
        head = file.read(16)
        # A collection begins with the places of its fonts.
        if head.startswith(b"ttcf"):
            file.seek(int.from_bytes(head[12:16], "big"))
            head = file.read(4)
    return head.startswith(b"OTTO")


def label(token: str, limit: int = 24) -> str:
    """Return a token as it can be drawn in one line.

    Control characters become visible, a combining mark alone stands on a circle, and a long token is cut.

    Args:
        token: Token to draw.
        limit: Largest number of columns.
    """
    # Make every character visible.
    text = "".join(_VISIBLE.get(c) or ("\ufffd" if unicodedata.category(c) in _UNDRAWABLE else c) for c in token)
    if not text.strip():
        return "␣" * len(text) or "∅"
    if _is_mark(text[0]):
        text = "◌" + text
    # Cut a long text, but not between a letter and its marks.
    if width(text) <= limit:
        return text
    end = next(n for n in range(len(text), 0, -1) if width(text[:n]) < limit and not _is_mark(text[n]))
    return text[:end] + "…"


def width(text: str) -> int:
    """Return the number of columns of a text in a terminal: 2 for wide characters of East Asia, 0 for combining marks.

    Args:
        text: Text in one line.
    """
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def lines(text: str, columns: int) -> list[str]:
    """Return a text in lines, broken between words, or inside a word that is too long for a line.

    Args:
        text: Text to break; a line end in it is kept.
        columns: Largest width of a line, as ``width`` counts it.
    """
    wide = "\N{ZERO WIDTH SPACE}"  # stands beside a letter of double width
    spread = ["".join(c + wide * (unicodedata.east_asian_width(c) in "WF") for c in line) for line in text.split("\n")]
    return [part.replace(wide, "") for line in spread for part in wrap(line, max(1, columns))]


@cache
def _installed() -> list[FontEntry]:
    """Return the upright, regular fonts of this machine, with the Noto Sans fonts first."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    found = set(font_manager.findSystemFonts()) | _packaged()
    # Add fonts that were installed after matplotlib made its list.
    for path in sorted(found - known):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError) as error:
            log.debug("%s: matplotlib cannot read this font: %s", path, error)
    # Keep upright, regular fonts that can be used.
    regular = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal") and not entry.name.startswith(_UNUSABLE)
    ]
    return sorted(regular, key=lambda entry: (not entry.name.startswith("Noto Sans"), entry.name))


def _packaged() -> set[str]:
    """Return the font files of the package for Chinese, Japanese and Korean, if it is installed."""
    spec = find_spec(_CJK_PACKAGE)
    if spec is None or spec.origin is None:
        return set()
    return {str(path) for path in Path(spec.origin).parent.glob("*.tt[cf]")}


def _held(path: FontPath, characters: set[str]) -> set[str]:
    """Return the characters that a font has."""
    font = FT2Font(path.path, face_index=path.face_index)
    return {c for c in characters if font.get_char_index(ord(c))}


def _script(character: str) -> str:
    """Return the script of a character, which is the first word of its name: DEVANAGARI, THAI, CJK."""
    return unicodedata.name(character, "unnamed").split()[0]


def _is_mark(character: str) -> bool:
    """Return whether a character is a combining mark."""
    return unicodedata.category(character).startswith("M")
