"""Write a small trained model into a folder that ships with the project.

    python scripts/ship_model.py                             # train, then write models/toy_translation
    python scripts/ship_model.py --run RUN --folder FOLDER   # write the model of a finished run

The folder has the weights, the config and the tokenizers of the best model of the run, and a README.md with the
command, the data and the scores. It has no training state, so that training cannot be resumed from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from seq2seq.files.writing import write_text
from seq2seq.run_directory import HYDRA, RESULTS
from seq2seq.stored import model_file
from seq2seq.stored.plain import read_yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "models" / "toy_translation"
OPTIONS = (
    *("data=toy_translation", "model=rnn", "attention=additive", "model.dim=84", "model.embedding_dim=42"),
    *("model.dropout=0.2", "trainer.max_epochs=60", "logger=csv", "seed=1"),
)
"""Options of ``train.py`` for the model in ``FOLDER``."""
MAX_BYTES = 1_000_000  # largest size of a folder, README.md included
README = """# {name}

A small trained model for notebooks, examples and tests. Open it from Python:

```python
import seq2seq

model = seq2seq.load("{folder}")
```

It was trained with this command, on one thread of a CPU:

```
{command}
```

| property | value |
|---|---|
| data | `{data}`; its sentences are generated, none is taken from anywhere |
| seed | {seed} |
| parameters | {parameters:,} (float32) |
| updates | {steps:,}; the best validation was at update {best_step:,} |
| BLEU on the test split | {bleu} |
| AER on the test split | {aer} |
| torch | {torch} |
| licence | that of the project (MIT) |

`python scripts/ship_model.py` trains a model with the default command and writes `models/toy_translation`.

BLEU has the signature `{signature}`,
with the decoding of `config.yaml`. AER is the alignment error rate of the attention against the gold links. Training
does not use the gold links.
"""


def train(run: Path) -> None:
    """Train the model of ``OPTIONS`` on one thread.

    Args:
        run: Directory of the run.
    """
    command = [sys.executable, str(ROOT / "train.py"), *OPTIONS, f"hydra.run.dir={run}"]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def ship(run: Path, folder: Path) -> int:
    """Write the best model of a finished run into a folder.

    Args:
        run: Directory of the run.
        folder: The folder; its files of an earlier model are replaced.

    Returns:
        Size of the folder in bytes.

    Raises:
        ValueError: The folder would be larger than ``MAX_BYTES``.
    """
    # Find the files of the model; ``about`` verifies them.
    path = run / "checkpoints" / model_file.NAME
    files = [path, *(path.parent / name for name in model_file.about(path).files)]
    text = readme(run, folder)
    size = sum(file.stat().st_size for file in files) + len(text.encode())
    if size > MAX_BYTES:
        raise ValueError(f"{run}: its model has {size:,} bytes, more than {MAX_BYTES:,}; set a smaller model.dim")

    # Copy them, and write the README.
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    write_text(folder / "README.md", text)
    return size


def readme(run: Path, folder: Path) -> str:
    """Return the text of README.md.

    Args:
        run: Directory of the finished run.
        folder: Folder of the shipped model.
    """
    results: dict[str, Any] = json.loads((run / RESULTS).read_text(encoding="utf-8"))
    typed = run / HYDRA / "overrides.yaml"
    options = [str(option) for option in read_yaml(typed)] if typed.is_file() else []
    about, scores = results["run"], results["test"]
    data = next((option.partition("=")[2] for option in options if option.startswith("data=")), "toy_translation")
    return README.format(
        name=folder.name,
        folder=folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder.name,
        command=shlex.join(["python", "train.py", *(option.lstrip("+") for option in options)]),
        data=data,
        seed=about["seed"],
        parameters=about["parameters"],
        steps=about["training"]["steps"],
        best_step=about["training"]["best_step"] or about["training"]["steps"],
        bleu=f"{scores['bleu']['score']:.1f}",
        aer=f"{scores['aer']['score']:.3f}",
        torch=about["versions"]["torch"],
        signature=scores["bleu"]["signature"],
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="directory of a finished run; without it, the model is trained")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the shipped model")
    options = parser.parse_args()

    # Train the model if there is no run.
    with tempfile.TemporaryDirectory() as temporary:
        run = options.run or Path(temporary) / "run"
        if options.run is None:
            train(run)
        size = ship(run, options.folder)
    print(f"{options.folder}: {size:,} bytes")


if __name__ == "__main__":
    main()
