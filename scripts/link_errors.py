"""Count the gold links that attention misses, by source word, in the right outputs of a run on the toy corpus.

    python scripts/link_errors.py RUN     # a run of data=toy_translation

An output that equals its reference has the gold links of the reference. A link is missed if the word of the output is
linked to other source words only. The second column has the words that the missed words are most often linked to.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.data.toy.translation import ToyTranslation
from seq2seq.metrics.links import Link, from_pharaoh

SHOWN = 12
"""Number of words in the table."""


@dataclass
class Misses:
    """Gold links of some outputs, and those that are missed.

    Args:
        links: Number of target words with gold links, by their source words.
        missed: Number of these that are linked to other words only.
        instead: Number of missed ones by (gold words, word that they are linked to).
    """

    links: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    instead: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, source: list[str], gold: Iterable[Link], found: Iterable[Link]) -> None:
        """Count the links of one output.

        Args:
            source: Source words.
            gold: Gold links (source word, target word), numbered from 0.
            found: Links of the output.
        """
        right, linked = _by_target(gold), _by_target(found)
        for target in right.keys() & linked.keys():
            name = " ".join(source[word] for word in sorted(right[target]))
            self.links[name] += 1
            if not right[target] & linked[target]:
                self.missed[name] += 1
                self.instead[name, " ".join(source[word] for word in sorted(linked[target]))] += 1

    def table(self) -> str:
        """Return the words with the most missed links."""
        lines = [f"{self.missed.total():,} of {self.links.total():,} links are missed", ""]
        for name, count in self.missed.most_common(SHOWN):
            instead = [word for (gold, word), _ in self.instead.most_common() if gold == name][:3]
            lines.append(f"{name:16} {count:5} of {self.links[name]:5}   linked to: {', '.join(instead)}")
        return "\n".join(lines)


def _by_target(links: Iterable[Link]) -> dict[int, set[int]]:
    """Return {target word: its source words}."""
    found: dict[int, set[int]] = {}
    for source, target in links:
        found.setdefault(target, set()).add(source)
    return found


def misses(records: Iterable[Mapping[str, Any]], outputs: Iterable[Mapping[str, Any]]) -> Misses:
    """Count the missed links of the outputs that equal their reference.

    Args:
        records: Records with gold links.
        outputs: Objects of ``outputs/test.jsonl``, in the same order.
    """
    counted = Misses()
    for record, output in zip(records, outputs, strict=True):
        if output["hypothesis"] == record["target"]:
            counted.add(record["source"].split(), record["alignment"], from_pharaoh(output["alignment"]))
    return counted


def main() -> None:
    """Print the table of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of a finished run of data=toy_translation")
    lines = (parser.parse_args().run / "outputs" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    print(misses(ToyTranslation().generate()["test"], map(json.loads, lines)).table())


if __name__ == "__main__":
    main()
