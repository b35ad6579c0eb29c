"""Seeded damage to files, as disks, copies and people do it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

KINDS = ("flip", "truncate", "zero", "swap", "empty", "append", "remove")


def damage(file: Path, others: Sequence[Path], random: Random) -> str:
    """Change ``file`` in a way that ``random`` draws, and return its kind; ``others`` may take its place."""
    content = bytearray(file.read_bytes())
    kind = random.choice(KINDS)
    place = random.randrange(len(content))
    if kind == "flip":
        content[place] ^= 1 << random.randrange(8)
    elif kind == "truncate":
        del content[place:]
    elif kind == "zero":
        before = bytes(content)
        content[place : place + 512] = bytes(len(content[place : place + 512]))
        if content == before:  # zeros were there
            content[place] = 1
    elif kind == "swap":
        content = bytearray(random.choice(others).read_bytes() if others else content[::-1])
    elif kind == "empty":
        content.clear()
    elif kind == "append":
        content += random.randbytes(random.randint(1, 100))
    if kind == "remove":
        file.unlink()
    else:
        file.write_bytes(content)
    return kind
