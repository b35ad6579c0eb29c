"""Check that docs/reference/options.md agrees with the files of conf/."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from seq2seq.config import option_text
from tests.catalogue import CONF

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/config_reference.py` does the same

import config_reference

PAGE = config_reference.PAGE.read_text(encoding="utf-8")
FILES = [file for file in sorted(CONF.rglob("*.yaml")) if "hydra" not in file.relative_to(CONF).parts]


def test_the_page_is_current() -> None:
    assert config_reference.page() == PAGE, "run python scripts/config_reference.py"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CONF).as_posix())
def test_every_file_and_every_value_is_on_the_page(file: Path) -> None:
    group = file.parent.relative_to(CONF).as_posix()
    if not {"base", "tuned"} & set(file.parts) and group != ".":
        assert f"\n| `{group}={file.stem}` |" in PAGE
    values = leaves(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    options = {option.key.rpartition(".")[2] for option in config_reference.read(file).options}
    assert values <= options
    assert all(f"`{option.key}` |" in PAGE for option in config_reference.read(file).options)


def leaves(node: dict[str, object]) -> set[str]:
    """Return the names of all values below a node, except those of Hydra."""
    found: set[str] = set()
    for key, value in node.items():
        if key in ("defaults", "hydra", "_target_", "_partial_"):
            continue
        found |= leaves(value) if isinstance(value, dict) and value and not flow(value) else {key}
    return found


def flow(value: dict[str, object]) -> bool:
    """Return whether the file writes this mapping in one line, which the page shows as one value."""
    return value == {"updates": None, "tokens": None, "seconds": None}


def test_a_config_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "attention"
    folder.mkdir()
    (folder / "a.yaml").write_text("# A: |x| (Somebody 2015)\n# For: tests\npart:\n  _target_: torch.nn.Linear\n")
    monkeypatch.setattr(config_reference, "CONF", tmp_path)
    monkeypatch.setattr(option_text, "CONF", tmp_path)
    section = config_reference.group_section("attention")
    assert r"| `attention=a` | A: \|x\| (Somebody 2015). For: tests |" in section
    assert "| `attention.part` | class `Linear` |  |" in section


def test_markdown_is_escaped() -> None:
    assert config_reference.cell("a_b [c] <s> | `d_e`") == r"a\_b \[c] &lt;s> \| `d_e`"
    assert config_reference.cell("a|b", code=True) == "<code>a&#124;b</code>"


def test_check_reports_an_outdated_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "options.md"
    page.write_text("old", encoding="utf-8")
    monkeypatch.setattr(config_reference, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["config_reference.py", "--check"])
    assert config_reference.main() == 1 and page.read_text(encoding="utf-8") == "old"
    monkeypatch.setattr(sys, "argv", ["config_reference.py"])
    assert config_reference.main() == 0
    assert page.read_text(encoding="utf-8") == PAGE and not re.search(r"\n\n\n", PAGE)
