"""Trust in packages of the user: which classes a config may name, and when."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seq2seq.config import extensions
from seq2seq.config.extensions import Extensions, command, hint, is_trusted, trusting, using
from seq2seq.config.instantiate import build_node, config_files, locate, signature_of
from seq2seq.errors import UserError

CODE = '''
import subprocess
from typing import Annotated
from collections import OrderedDict
from seq2seq.config.ranges import Range
from seq2seq.search.greedy import Greedy

class Mine(Greedy):
    """A search of the user."""
    def __init__(self, *, share: Annotated[float, Range(0, 1)] = 0.5, **options) -> None:
        super().__init__(**options)
        self.share = share

class _Hidden(Greedy):
    """A class that is not for configs."""
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of the user, which Python can find."""
    (tmp_path / "own_parts").mkdir()
    (tmp_path / "own_parts" / "__init__.py").write_text("raise_at_import = None\n")
    (tmp_path / "own_parts" / "searches.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("own_parts")]:
        monkeypatch.delitem(sys.modules, name)
    return "own_parts"


def test_a_class_counts_only_while_its_package_is_trusted(package: str) -> None:
    node = {"_target_": "own_parts.searches.Mine", "share": 0.25, "max_length": 7}
    for _ in range(2):  # nothing is left of the trust
        with pytest.raises(UserError, match=r"own package, add trust=\[own_parts\]$"):
            build_node(node)
        with trusting(package):
            built = build_node(node)
        assert (type(built).__name__, built.share, built.max_length) == ("Mine", 0.25, 7)


def test_the_signature_is_read_without_an_import(package: str) -> None:
    with trusting(package):
        found = signature_of("own_parts.searches.Mine")
    assert {"share", "max_length"} <= found.parameters.keys() and not found.open_ended
    assert "own_parts" not in sys.modules


@pytest.mark.parametrize("name", ["subprocess.Popen", "OrderedDict", "_Hidden", "Greedy.__call__", "Missing"])
def test_only_public_classes_of_the_package_itself_count(package: str, name: str) -> None:
    with trusting(package), pytest.raises(UserError, match=r"is refused|does not exist"):
        locate(f"own_parts.searches.{name}")


def test_trust_holds_for_a_package_and_not_for_names_that_begin_alike(package: str) -> None:
    with trusting(["own_parts.searches"]):
        assert is_trusted("own_parts.searches.Mine") and is_trusted("own_parts.searches")
        assert not any(map(is_trusted, ("own_parts.other.Mine", "own_parts", "own_parts.searches2.Mine", 5, None)))
        with trusting([]):
            assert is_trusted("own_parts.searches.Mine")
    assert not is_trusted("own_parts.searches.Mine")


@pytest.mark.parametrize(
    "name", ["os", "builtins", "seq2seq", "torch.hub", "no_such_package", "a b", "", "../x", "class"]
)
def test_other_names_can_t_be_trusted(name: str) -> None:
    with pytest.raises(UserError, match=r"^trust="), trusting([name]):
        pass


def test_the_remedy_is_offered_for_packages_of_a_user_alone() -> None:
    assert hint("own_parts.Mine") == "; if own_parts is your own package, add trust=[own_parts]"
    assert {hint(name) for name in ("os.system", "torch.hub.load", "seq2seq.loss.No", "alone", "a b.c", 5)} == {""}


def test_a_command_is_named_as_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/env/bin/seq2seq-evaluate"])
    assert command("train") == "seq2seq-train"
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert command("train") == "python train.py"
    with using(Extensions(Path("my conf"), ("own",))):
        assert command("train") == "python train.py --config-dir 'my conf' 'trust=[own]'"
    monkeypatch.setattr(extensions, "__file__", "/env/lib/seq2seq/config/extensions.py")
    assert command("train") == "seq2seq-train"


def test_files_of_the_user_are_those_of_config_groups(tmp_path: Path) -> None:
    for name in ("attention/mine.yaml", "attention/score/own.yaml", "runs/1/config.yaml", ".venv/x/attention/no.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    usual = config_files()
    with using(Extensions(tmp_path)):
        own = [place.as_posix() for place, _ in config_files()[len(usual) :]]
    assert own == ["attention/mine.yaml", "attention/score/own.yaml"] and config_files() == usual
