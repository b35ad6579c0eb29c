"""What a drawing shows of a document that is longer than it has room for, and what it says of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seq2seq.plots.shading import Array, Shading, percent

Lines = list[list[int]]  # the places of the words on each line


@dataclass(frozen=True)
class Block:
    """A sentence and what is shown of it, or (None) a note in the place of sentences left out."""

    sentence: int | None
    lines: list[list[int] | str]  # places of words, or a note on words left out


def excerpt(shading: Shading, wrapped: Mapping[int, Lines], room: int, longest: int) -> list[Block]:
    """At most ``room`` lines of ``wrapped`` {sentence: its lines}, and notes that count what is left out.

    Gold sentences come first, then those of the largest shares, each as long as there is room for it. A sentence of
    more than ``longest`` lines shows those that hold most.
    """
    weights, shares = shading.mean(shading.weights), shading.mean(shading.shares)
    gold = set() if shading.origins is None else set(shading.origins.tolist())
    kept: dict[int, list[int]] = {}
    for n in sorted(wrapped, key=lambda n: (n not in gold, -shares[n])):
        lines = wrapped[n]
        heaviest = sorted(range(len(lines)), key=lambda line: -weights[lines[line]].sum())[:longest]
        if len(heaviest) <= room:
            kept[n] = sorted(heaviest)
            room -= len(heaviest)

    blocks: list[Block] = []
    missing: list[int] = []
    for sentence in [*wrapped, None]:
        if missing and (sentence is None or sentence in kept):
            first, last = missing[0] + 1, missing[-1] + 1
            which = f"sentence {first}" if first == last else f"{len(missing)} sentences, {first} to {last}"
            blocks.append(Block(None, [f"left out: {which}, {percent(shares[missing].sum())} of the attention"]))
            missing = []
        if sentence is None:
            break
        if sentence in kept:
            blocks.append(Block(sentence, _shown(wrapped[sentence], kept[sentence], weights)))
        else:
            missing.append(sentence)
    return blocks


def _shown(lines: Lines, kept: list[int], weights: Array) -> list[list[int] | str]:
    """The lines kept, and a note in the place of each stretch of others."""
    shown: list[list[int] | str] = []
    missing: list[int] = []
    for n, line in enumerate([*lines, None]):
        if missing and (line is None or n in kept):
            count = f"{len(missing)} word{'s' * (len(missing) > 1)}"
            shown.append(f"left out: {count}, {percent(weights[missing].sum())} of the attention")
            missing = []
        if line is not None and n in kept:
            shown.append(line)
        elif line is not None:
            missing += line
    return shown
