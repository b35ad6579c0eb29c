"""Tests of ``scripts/mutate.py``: which lines it changes, which it skips, and whether tests catch the changes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/mutate.py` does the same

import mutate
from mutate import mutants

SOURCE = '''"""Not 1 < 2 here."""

import logging

from somewhere import one

log = logging.getLogger(__name__)
SIZE = 3


class Thing(Base[1]):
    """Nor 1 + 1 here."""

    count: int = 4

    @decorated(1)
    def works(self, a: int = 5, *, b: "1 < 2" = 6) -> "1 + 1":
        """Nor not here."""
        if not a or b < 7:
            raise ValueError(f"{a + b} is wrong" + str(8))
        assert a > 9
        log.info("at %s", a + 10)
        a += 11
        self.keep(a, é, 1.5)
        for x, y in zip(a[1:b], a, strict=True):
            yield x - y if x else -y
        while a:
            max(a, b)
            if b.device.type == "cpu":
                continue
        return ~b if a is None else [x for x in b if x]

    @abstractmethod
    def promises(self) -> int:
        return 12
'''


def lines(source: str) -> set[str]:
    """Return the changed line of each mutant, without its indent."""
    whole = source.splitlines()
    found = set()
    for one in mutants(source):
        broken = one.source.splitlines()
        assert len(broken) == len(whole) and broken != whole
        ((number, line),) = [(n, new) for n, (old, new) in enumerate(zip(whole, broken, strict=True), 1) if old != new]
        assert number == one.line
        compile(one.source, "broken", "exec")
        found.add(line.strip())
    return found


def test_mutants_change_code_and_skip_texts_types_and_logging() -> None:
    assert lines(SOURCE) == {
        "SIZE = 4",
        "count: int = 5",
        "if not a and b < 7:",
        "if a or b < 7:",
        "if not a or b >= 7:",
        "if not a or b < 8:",
        "a -= 11",
        "a += 12",
        "pass",
        "self.keep(é, a, 1.5)",
        "self.keep(a, é, 2.5)",
        "for x, y in zip(a[2:b], a, strict=True):",
        "for x, y in zip(a[1:b + 1], a, strict=True):",
        "yield -y if x else x - y",
        "yield x + y if x else -y",
        "yield x - y if x else y",
        "while not a:",
        "return [x for x in b if x] if a is None else ~b",
        "return b if a is None else [x for x in b if x]",
        "return ~b if a is not None else [x for x in b if x]",
        "return ~b if a is None else [x for x in b if not x]",
    }


@pytest.mark.slow
def test_the_seed_determines_the_mutants() -> None:
    first, again, other = (mutate.drawn(seed, 20) for seed in (1, 1, 2))
    assert first == again != other
    places = [(path, one.line) for path, one in first]
    assert len(set(places)) == 20
    for path, one in first:
        assert one.source != (mutate.ROOT / path).read_text(encoding="utf-8")


def test_every_module_has_tests() -> None:
    for module in mutate.modules():
        files = mutate.tests_of(module)
        assert files and all((mutate.ROOT / file).is_file() for file in files)
    assert mutate.tests_of(Path("seq2seq/search/beam.py"))[0] == "tests/search/test_beam.py"
    assert "tests/golden/test_translation.py" in mutate.tests_of(Path("seq2seq/evaluation/gold_metrics.py"))


@pytest.mark.slow
def test_caught_and_surviving_mutants_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test covers one of two functions: only its mutant is caught. The files are unchanged afterwards."""
    source = "def known(a):\n    return a + 1\n\n\ndef unknown(a):\n    return a * a\n"
    package, tests = tmp_path / "seq2seq" / "inner", tmp_path / "tests" / "inner"
    for folder in (package, tests):
        folder.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "sums.py").write_text(source)
    (tests / "test_sums.py").write_text(
        "from seq2seq.inner.sums import known\n\n\ndef test_known():\n    assert known(2) == 3\n"
    )
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    monkeypatch.setattr(mutate, "CORE", ("inner",))
    monkeypatch.setattr(mutate, "LIBRARIES", ["pytest"])
    mutate.subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert mutate.main(["--seed", "0", "--count", "9", "--allow", "0"]) == 1
    printed = capsys.readouterr().out
    assert "seed 0: 1 of 2 caught, 1 survived" in printed
    assert "-    return a * a\n+    return a / a" in printed and "+    return a - 1" not in printed
    assert mutate.main(["--seed", "0", "--count", "9", "--allow", "1"]) == 0
    assert (package / "sums.py").read_text() == source
    (tests / "test_sums.py").write_text("def test_wrong():\n    assert False\n")
    with pytest.raises(SystemExit, match=r"test_wrong fails without any change"):
        mutate.main(["--seed", "0", "--count", "1"])


@pytest.mark.slow
def test_tests_of_the_core_catch_its_mutants(capsys: pytest.CaptureFixture[str]) -> None:
    """Other mutants: ``MUTATION_SEED=7 MUTATION_COUNT=60 make test ARGS="-m slow tests/scripts/test_mutate.py"``."""
    seed, count = (os.environ.get(name, default) for name, default in (("MUTATION_SEED", "0"), ("MUTATION_COUNT", "4")))
    with capsys.disabled():
        assert mutate.main(["--seed", seed, "--count", count, "--allow", str(int(count) // 20)]) == 0
