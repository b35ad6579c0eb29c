"""The notebooks are valid and small. Their cheap cells run in this process; ``-m slow`` runs all cells in a kernel."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_CELLS, MAX_BYTES = 25, 300_000
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(cell: nbformat.NotebookNode) -> str:
    """The source of a cell without IPython's own lines."""
    return "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["bring_your_own_data", "see_what_attention_does"]


@every_notebook
def test_form(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert len(notebook.cells) < MAX_CELLS and path.stat().st_size <= MAX_BYTES
    for cell in notebook.cells:
        if cell.cell_type == "code":
            ast.parse(code(cell))
            assert not [output for output in cell.outputs if output.output_type == "error"]
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:docs|scripts|models)/\w[\w/]*\.\w+", text))
    assert [name for name in sorted(named) if not (FOLDER.parent / name).exists()] == []
    assert "/home/" not in text and "/root/" not in text and "/tmp/" not in text


@every_notebook
def test_cheap_cells_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells with the tag ``slow`` train, or need a trained model."""
    monkeypatch.chdir(FOLDER)
    names: dict[str, object] = {"__name__": path.stem}
    cheap = [c for c in read(path).cells if c.cell_type == "code" and "slow" not in c.metadata.get("tags", [])]
    assert len(cheap) >= 3
    for cell in cheap:
        exec(compile(code(cell), f"{path.name}, cell {cell.id}", "exec"), names)


@pytest.mark.slow
@every_notebook
def test_all_cells_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel of its own, as a reader runs them."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    notebook = read(path)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    said = "".join(o.get("text", "") for c in notebook.cells if c.cell_type == "code" for o in c.outputs)
    pictures = [
        o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})
    ]
    if path.stem == "see_what_attention_does":
        bleu = {line.split()[0]: float(line.split()[2]) for line in said.splitlines() if " BLEU " in line}
        assert bleu["additive"] > bleu["local_m"] + 30
        assert len(pictures) == 5
    else:
        (bleu,) = (float(line.split()[1]) for line in said.splitlines() if line.startswith("bleu "))
        assert bleu > 90
        assert len(pictures) == 2
