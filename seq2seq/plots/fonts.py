"""Which fonts draw which text, and how a token becomes a label.

matplotlib (3.11 and later) shapes and orders any script by itself, HarfBuzz and FriBidi inside, but brings fonts for
the European scripts, Arabic and Hebrew only. Others come from the fonts of the machine, or from the package
``noto-cjk-sans-otc``; what none of them holds is drawn as a box that shows its script, and logged once.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontPath
from matplotlib.ft2font import FT2Font

log = logging.getLogger(__name__)

BASE = "DejaVu Sans"  # comes with matplotlib
_CJK_PACKAGE = "noto_cjk_sans_otc"
_UNUSABLE = ("Last Resort", "cm", "STIX", "DejaVu", "Noto Color")  # boxes, mathematics, faces of the base, bitmaps
_UNDRAWABLE = ("Cc", "Cs", "Zl", "Zp")  # controls, half surrogate pairs, line ends
_VISIBLE = {"\n": "⏎", "\r": "⏎", "\t": "⇥"}
_boxed: set[str] = set()  # characters that no font here holds: looked for once, logged once


def families(texts: Iterable[str]) -> list[str]:
    """Font families that together hold the characters of ``texts``, in the order matplotlib should try them.

    Logs each script that no font of this machine holds, once.
    """
    wanted = set().union(*texts) - _boxed
    missing = wanted - _held(font_manager.fontManager.findfont(BASE), wanted)
    chosen = [BASE]
    for entry in _installed() if missing else ():
        if held := _held(FontPath(entry.fname, entry.index), missing):
            chosen.append(entry.name)
            missing -= held
        if not missing:
            break
    if scripts := {_script(c) for c in missing} - {_script(c) for c in _boxed}:
        log.warning(
            "no font for %s: plots show boxes there. For Chinese, Japanese and Korean, pip install noto-cjk-sans-otc; "
            "for others, install a font of the script (on Debian: apt install fonts-noto-core)",
            ", ".join(sorted(scripts)),
        )
    _boxed.update(missing)
    return chosen


def label(token: str, limit: int = 24) -> str:
    """A token as it can be drawn on one line: controls made visible, a lone mark on a circle, a long one cut."""
    text = "".join(_VISIBLE.get(c) or ("\ufffd" if unicodedata.category(c) in _UNDRAWABLE else c) for c in token)
    if not text.strip():
        return "␣" * len(text) or "∅"
    if _is_mark(text[0]):
        text = "◌" + text
    if width(text) <= limit:
        return text
    end = next(n for n in range(len(text), 0, -1) if width(text[:n]) < limit and not _is_mark(text[n]))
    return text[:end] + "…"


def width(text: str) -> int:
    """Columns that ``text`` takes in a terminal: 2 for the wide characters of East Asia, 0 for marks that combine."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


@cache
def _installed() -> list[FontEntry]:
    """The upright, regular fonts of this machine, those made for reading on screens first."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    found = set(font_manager.findSystemFonts()) | _packaged()
    for path in sorted(found - known):  # installed after matplotlib made its list
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError) as error:
            log.debug("%s is not a font that matplotlib reads: %s", path, error)
    regular = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal") and not entry.name.startswith(_UNUSABLE)
    ]
    return sorted(regular, key=lambda entry: (not entry.name.startswith("Noto Sans"), entry.name))


def _packaged() -> set[str]:
    spec = find_spec(_CJK_PACKAGE)
    if spec is None or spec.origin is None:
        return set()
    return {str(path) for path in Path(spec.origin).parent.glob("*.tt[cf]")}


def _held(path: FontPath, characters: set[str]) -> set[str]:
    """Those of ``characters`` that a font holds."""
    font = FT2Font(path.path, face_index=path.face_index)
    return {c for c in characters if font.get_char_index(ord(c))}


def _script(character: str) -> str:
    """The script, as the first word of a character's name says it: DEVANAGARI, THAI, CJK."""
    return unicodedata.name(character, "unnamed").split()[0]


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
