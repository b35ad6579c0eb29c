"""Excerpt of a document that is too long for a drawing, with notes on the parts that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seq2seq.plots.shading import Array, Shading, percent

Lines = list[list[int]]  # places of the words of each line


@dataclass(frozen=True)
class Block:
    """Shown part of a sentence, or (with ``sentence`` None) a note on sentences that are left out."""

    sentence: int | None
    lines: list[list[int] | str]  # places of words, or a note on words left out


def excerpt(shading: Shading, wrapped: Mapping[int, Lines], room: int, longest: int) -> list[Block]:
    """Return the blocks that a drawing shows, with at most ``room`` lines of the document.

    Gold sentences come first, then the sentences with the largest shares, as long as there is room for their lines.
    Notes count what is left out.

    Args:
        shading: Document with its attention.
        wrapped: Lines of each sentence.
        room: Largest number of lines of the document.
        longest: Largest number of lines of a sentence; a longer sentence shows the lines with the most attention.
    """
    # Choose the lines of each sentence, the most important sentence first.
    weights, shares = shading.mean(shading.weights), shading.mean(shading.shares)
    gold = set() if shading.origins is None else set(shading.origins.tolist())
    kept: dict[int, list[int]] = {}
    for n in sorted(wrapped, key=lambda n: (n not in gold, -shares[n])):
        lines = wrapped[n]
        heaviest = sorted(range(len(lines)), key=lambda line: -weights[lines[line]].sum())[:longest]
        if len(heaviest) <= room:
            kept[n] = sorted(heaviest)
            room -= len(heaviest)

    # Put the sentences in order, with a note for each gap.
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
    """Return the kept lines of a sentence, with a note for each gap."""
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
