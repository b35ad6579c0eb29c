"""Helper that damages files at random, like faulty disks, interrupted copies and mistakes of users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

KINDS = ("flip", "truncate", "zero", "swap", "empty", "append", "remove")


def damage(file: Path, others: Sequence[Path], random: Random) -> str:
    """Damage ``file`` and return the kind of damage.

    Args:
        file: File to change.
        others: Files whose content may replace that of ``file``; if empty, its own reversed bytes do.
        random: Source of the kind and the place of the damage.
    """
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
        if content == before:  # the bytes were zero before
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
