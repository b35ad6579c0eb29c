"""Draw the weights of every mechanism on the same sentence, for the explanation of mechanisms.

    python scripts/mechanism_pictures.py multirun/toy     # docs/explanation/weights/MODEL-NAME.png

The runs are trained with the common recipe on data=toy_translation. Each picture shows the attention of a forced
decoding of the reference: rows are words of the reference, columns words of the source, and the gold links are
outlined. So all pictures have the same axes.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from catalogue import MODELS, RECIPE, placed
from PIL import Image

from seq2seq.attention_store import AttentionRecord, load
from seq2seq.comparison.runs import find
from seq2seq.config.instantiate import CONF
from seq2seq.data.toy.translation import ToyTranslation
from seq2seq.files.writing import writing
from seq2seq.plots import heatmap

FOLDER = CONF.parent / "docs" / "explanation" / "weights"
PLACE = 1  # index of the sentence in the test split
COLOURS = 96  # of the palette of a picture: a picture stays small, and gold links keep their colours


def pictures(directories: Sequence[Path], seed: int) -> Iterator[tuple[str, AttentionRecord]]:
    """Yield the name of each picture with the attention that it shows, for the attention to the source.

    Args:
        directories: Directories of runs, or folders of such directories.
        seed: Seed of the runs that are shown.
    """
    for run in find(directories, "test"):
        # Leave out runs with other options or seeds, and those of a mechanism of self-attention.
        if run.seed != seed or not {"model", "attention"} <= run.facets.keys() <= RECIPE:
            continue
        model = run.facets["model"]
        slots = placed(model, run.facets["attention"], run.facets.get("self_attention"))
        if "attention" not in slots:
            continue
        by_place = {record.place: record for record in load(run.path / "attention" / "test.npz")}
        if PLACE in by_place:
            yield f"{model}-{slots['attention']}", by_place[PLACE]


def draw(record: AttentionRecord, file: Path) -> None:
    """Draw the attention between the words of the reference and of the source.

    Args:
        record: Attention of the sentence ``PLACE``.
        file: The picture, a PNG.

    Raises:
        ValueError: The record has no attention in teacher forcing, or is of other data.
    """
    # The data are generated again, because a run does not keep their links.
    gold = ToyTranslation().generate()["test"][PLACE]
    target, source = str(gold["target"]).split(), str(gold["source"]).split()
    if record.reference is None or record.reference.shape != (len(target), len(source)):
        raise ValueError(f"{file.stem}: the attention is not that of sentence {PLACE} of the toy corpus")
    links = [(int(i), int(j)) for i, j in gold.get("alignment", ())]
    possible = [(int(i), int(j)) for i, j in gold.get("possible", ())]
    figure = heatmap.draw(record.reference, target, source, gold=links, possible=possible)

    # A palette of few colours makes the file small.
    content = io.BytesIO()
    figure.savefig(content, format="png", bbox_inches="tight", dpi=80)
    with writing(file) as temporary:
        Image.open(content).convert("RGB").quantize(COLOURS).save(temporary, format="png", optimize=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="directories of runs, or folders of such directories")
    parser.add_argument("--seed", type=int, default=1, help="seed of the runs that are shown")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the pictures")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    names = set()
    for name, record in pictures(options.runs, options.seed):
        draw(record, options.folder / f"{name}.png")
        names.add(name)
    print(f"{len(names)} pictures in {options.folder}", file=sys.stderr)
    if missing := [model for model in MODELS if not any(name.startswith(f"{model}-") for name in names)]:
        print(f"no run of model={' or '.join(missing)} follows the common recipe", file=sys.stderr)


if __name__ == "__main__":
    main()
