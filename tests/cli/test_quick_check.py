"""Check that evaluation and generation refuse wrong options before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from seq2seq.cli import commands, hydra_app
from seq2seq.errors import UserError

ROOT = Path(__file__).parents[2]
STORED = {
    "decoding": {"_target_": "seq2seq.search.Beam", "beam_size": 5},
    "task": {"_target_": "seq2seq.tasks.translation.Translation", "metrics": ["bleu"], "max_length": 9},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a model of which only the config exists."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "config.yaml").write_text(yaml.safe_dump(STORED), encoding="utf-8")
    return tmp_path


def check(command: str, *typed: str) -> None:
    """Check a command line of ``evaluate`` or ``generate``."""
    (config,) = hydra_app.compose(command, [hydra_app.as_override(word, command) for word in typed])
    checks = {"evaluate": commands.EVALUATE.check, "generate": commands.GENERATE.check}
    checks[command](config, [])


@pytest.mark.parametrize(
    ("command", "typed", "message"),
    [
        ("evaluate", "decoding.beam_sise=3", r"decoding\.beam_sise: Beam has no option .*did you mean beam_size\?"),
        ("generate", "decoding.n_best=x", r"decoding\.n_best=x: must be int at least 1"),
        ("evaluate", "task.metrcs=[bleu]", r"task\.metrcs has no effect here; did you mean metrics\?; there are: "),
        ("evaluate", "splt=test", r"unknown option splt; did you mean split\?"),
        ("generate", "inptu=x", r"unknown option inptu; did you mean input\?"),
    ],
)
def test_wrong_options_are_refused_with_a_suggestion(model: Path, command: str, typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(command, f"checkpoint={model}", typed)


def test_right_options_pass(model: Path) -> None:
    check("evaluate", f"checkpoint={model}", "decoding.beam_size=3", "task.max_length=5", "data=toy_captioning")
    check("evaluate", f"checkpoint={model / 'checkpoints' / 'model.safetensors'}", "decoding=greedy")
    check("generate", f"checkpoint={model / 'missing'}", "decoding.anything=3")  # the command reports the path


def test_a_misspelt_name_comes_before_the_option_that_it_leaves_out() -> None:
    with pytest.raises(UserError, match=r"unknown option checkpiont; did you mean checkpoint\?"):
        check("evaluate", "checkpiont=x")


def test_the_check_imports_no_torch(model: Path) -> None:
    arguments = ["evaluate.py", f"checkpoint={model}", "decoding.beam_sise=3"]
    code = f"import sys, runpy; sys.modules['torch'] = None; sys.argv = {arguments}; "
    code += "runpy.run_path('evaluate.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("evaluate.py: decoding.beam_sise: ") and done.stderr.count("\n") == 1
