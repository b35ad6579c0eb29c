"""``--config-dir`` and ``trust=``: how they are read, and a run with classes of the user."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

import seq2seq
from seq2seq.cli import evaluate
from seq2seq.cli.extension_flags import taken
from seq2seq.comparison.known_figures import known_figures
from seq2seq.comparison.run_config import config_of
from seq2seq.config.extensions import trusting
from seq2seq.config.instantiate import CONF
from seq2seq.errors import UserError
from seq2seq.metrics import table, text
from tests.cli.test_training_and_use import composed
from tests.commands import train_here
from tests.conftest import TINY

CODE = '''
from seq2seq.attention.composed import ComposedAttention
from seq2seq.encoders.rnn import RNNEncoder
from seq2seq.metrics.metric import Metric, MetricResult

class Sharp(ComposedAttention):
    """A mechanism."""
    def __init__(self, query_dim, source, *, power: int = 1, **options):
        super().__init__(query_dim, source, **options)

class Reader(RNNEncoder):
    """An encoder."""

def length(hypotheses, references):
    """Mean number of words of the outputs."""
    return MetricResult.mean([len(one.split()) for one in hypotheses], "words")

class Length(Metric):
    """A metric."""
    def __init__(self):
        super().__init__("own_length", "outputs", "words of the output", higher_is_better=None, scorer=length)
'''
ENCODER = (CONF / "encoder" / "rnn.yaml").read_text(encoding="utf-8")
MECHANISM = (CONF / "attention" / "dot.yaml").read_text(encoding="utf-8")
METRICS = "task.metrics=[bleu,{_target_: own_classes.Length}]"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user, who has a module and config files; it is the current directory."""
    (tmp_path / "own_classes.py").write_text(CODE)
    for name, content in {
        "attention/sharp.yaml": f"{MECHANISM}_target_: own_classes.Sharp\npower: 2\n",
        "encoder/reader.yaml": ENCODER.replace("seq2seq.encoders.rnn.RNNEncoder", "own_classes.Reader"),
    }.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True)
        (tmp_path / "conf" / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(table, "_ADDED", {})
    monkeypatch.setattr(text, "SCORERS", dict(text.SCORERS))
    monkeypatch.delitem(sys.modules, "own_classes", raising=False)
    table.find_metric.cache_clear()
    return tmp_path


def test_the_words_are_taken_out_of_the_command_line(own: Path) -> None:
    for words in (["--config-dir", "conf"], ["--config-dir=conf"], ["-cd", "conf"]):
        rest, found = taken(["attention=sharp", *words, "trust=[own_classes]", "seed=1"])
        assert rest == ["attention=sharp", "seed=1", f"hydra.searchpath=['file://{own / 'conf'}']"]
        assert (found.folder, found.packages) == (own / "conf", ("own_classes",))
    assert (
        taken(["trust=own_classes"])[1].packages == taken(["trust=[ 'own_classes' ]"])[1].packages == ("own_classes",)
    )
    assert taken(["a=b"])[0] == ["a=b"] and taken(["trust=[]"])[1].packages == ()


def test_a_folder_without_effect_is_refused(own: Path) -> None:
    with pytest.raises(UserError, match=r"^--config-dir=nowhere is not a folder"):
        taken(["--config-dir", "nowhere"])
    with pytest.raises(UserError, match=r"is not a folder"):
        taken(["--config-dir"])
    (own / "empty").mkdir()
    with pytest.raises(UserError, match=r"^--config-dir=empty has no YAML in a folder of a config group: attention, "):
        taken(["--config-dir", "empty"])
    (own / "other" / "attention").mkdir(parents=True)
    (own / "other" / "attention" / "dot.yaml").write_text("_target_: own_classes.Sharp\n")
    with pytest.raises(UserError, match=r"conf/ has a file attention/dot.yaml too; give yours another name"):
        taken(["--config-dir", "other"])


def test_classes_of_the_user_are_trained_and_used_with_trust_alone(own: Path) -> None:
    words = ["--config-dir=conf", "attention=sharp", "encoder=reader", METRICS, *TINY, "hydra.run.dir=run"]
    # Train: once the package is trusted.
    done = train_here(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "own_classes is your own package, add trust=[own_classes]" in done.stderr
    done = train_here(*words, "trust=[own_classes]", "attention.pwer=3")
    assert "attention.pwer: attention=sharp has no option pwer; did you mean power?" in done.stderr
    done = train_here(*words, "trust=[own_classes]")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((own / "run" / "config.yaml").read_text())
    assert (config["attention"]["power"], config["encoder"]["_target_"]) == (2, "own_classes.Reader")
    # The figure of the metric is the mean of the lengths of the outputs.
    outputs = [json.loads(line)["hypothesis"] for line in (own / "run" / "outputs" / "test.jsonl").open()]
    results = json.loads((own / "run" / "results.json").read_text())["test"]
    mean = sum(len(one.split()) for one in outputs) / len(outputs)
    assert results["own_length"]["score"] == pytest.approx(mean)
    # Load, evaluate and resume: trust is named again, and does not stay.
    for _ in range(2):
        with pytest.raises(UserError, match=r"config.yaml: attention._target_=own_classes.Sharp is refused: .*trust="):
            seq2seq.load("run")
        model = seq2seq.load("run", trust="own_classes")
        assert type(model.model.encoder).__name__ == "Reader"
        assert len(model.generate(["the bird"], beam_size=2)) == 1
    with pytest.raises(UserError, match=r"add trust=\[own_classes\]$"):
        evaluate.evaluate(composed("evaluate", "checkpoint=run", "output=scored"))
    with trusting("own_classes"):
        scored = evaluate.evaluate(composed("evaluate", "checkpoint=run", "output=scored"))
    assert "own_length" in scored["test"]
    done = train_here("resume=run", "trainer.max_steps=5")
    assert done.returncode == 1 and "last.ckpt: attention._target_=own_classes.Sharp is refused" in done.stderr


def test_compare_takes_figures_of_the_user_with_trust_alone(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    (own / "config.yaml").write_text("task:\n  metrics: [bleu, {_target_: own_classes.Length}]\n")
    figures = {"bleu": {"score": 1.0}, "own_length": {"score": 2.0}}
    file = own / "results.json"
    assert known_figures(file, figures, lambda: config_of(own)).keys() == {"bleu"}
    assert "own_length is left out" in caplog.text and "add trust=[own_classes]" in caplog.text
    sys.path.append(str(own))
    with trusting("own_classes"):
        assert known_figures(file, figures, lambda: config_of(own)) == figures


def test_a_metric_has_a_name_of_its_own(own: Path) -> None:
    sys.path.append(str(own))
    with trusting("own_classes"):
        assert text.names_in(["bleu", {"_target_": "own_classes.Length"}]) == ["bleu", "own_length"]
        text.names_in([{"_target_": "own_classes.Length"}])  # again: the same metric
        code = (own / "own_classes.py").read_text().replace('"own_length"', '"bleu"')
        (own / "own_others.py").write_text(code)
    with trusting("own_others"), pytest.raises(UserError, match=r"there is a metric bleu already; rename yours"):
        text.names_in([{"_target_": "own_others.Length"}])
