"""Check that the notebooks are valid, small and run: quick cells in this process, all cells with ``-m slow``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_CELLS, MAX_BYTES = 25, 350_000
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook from its file."""
    return nbformat.read(path, as_version=4)


def code(cell: nbformat.NotebookNode) -> str:
    """Return the source of a cell without IPython's magic commands."""
    return "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["bring_your_own_data", "see_what_attention_does"]


@every_notebook
def test_notebook_is_valid_and_names_existing_files(path: Path) -> None:
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
def test_quick_cells_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells run, except those with the tag ``slow``: they train, or need a trained model."""
    monkeypatch.chdir(FOLDER)
    names: dict[str, object] = {"__name__": path.stem}
    quick = [c for c in read(path).cells if c.cell_type == "code" and "slow" not in c.metadata.get("tags", [])]
    assert len(quick) >= 3
    for cell in quick:
        exec(compile(code(cell), f"{path.name}, cell {cell.id}", "exec"), names)


@pytest.mark.slow
@every_notebook
def test_all_cells_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells run in a new kernel; BLEU and the number of pictures are as expected."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    notebook = read(path)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    printed = "".join(o.get("text", "") for c in notebook.cells if c.cell_type == "code" for o in c.outputs)
    pictures = [
        o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})
    ]
    if path.stem == "see_what_attention_does":
        bleu = {line.split()[0]: float(line.split()[2]) for line in printed.splitlines() if " BLEU " in line}
        assert bleu["additive"] > bleu["local_m"] + 30
        assert len(pictures) == 6
    else:
        (bleu,) = (float(line.split()[1]) for line in printed.splitlines() if line.startswith("bleu "))
        assert bleu > 90
        assert len(pictures) == 2
