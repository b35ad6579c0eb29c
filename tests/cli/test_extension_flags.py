"""``--config-dir`` and ``trust=``: how they are read, and a run with classes of the user."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

import seq2seq
from seq2seq.cli import evaluate
from seq2seq.cli.extension_flags import overrides, taken
from seq2seq.comparison.known_figures import known_figures
from seq2seq.comparison.run_config import config_of
from seq2seq.config.extensions import Extensions, trusting
from seq2seq.config.instantiate import CONF, build_node
from seq2seq.errors import UserError
from seq2seq.metrics import table, text
from tests.cli.test_training_and_use import composed
from tests.commands import train_here
from tests.conftest import TINY
from tests.pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "use_your_own_classes.md"
(CODE,) = (block.text for block in blocks(PAGE, "python"))
(OPTIONS,) = (block.text for block in blocks(PAGE, "yaml"))
ENCODER = (CONF / "encoder" / "rnn.yaml").read_text(encoding="utf-8")
METRICS = "task.metrics=[bleu,{_target_: mypackage.Length}]"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user, who has a module and config files; it is the current directory."""
    reader = "from seq2seq.encoders.rnn import RNNEncoder\n\nclass Reader(RNNEncoder):\n    pass\n"
    (tmp_path / "mypackage.py").write_text(f"{CODE}\n{reader}")
    for name, content in {
        "attention/normalizer/largest.yaml": OPTIONS,
        "encoder/reader.yaml": ENCODER.replace("seq2seq.encoders.rnn.RNNEncoder", "mypackage.Reader"),
    }.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        (tmp_path / "mine" / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(table, "_ADDED", {})
    monkeypatch.setattr(text, "SCORERS", dict(text.SCORERS))
    monkeypatch.delitem(sys.modules, "mypackage", raising=False)
    table.find_metric.cache_clear()
    return tmp_path


def test_the_words_are_taken_out_of_the_command_line(own: Path) -> None:
    for words in (["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]):
        rest, found = taken(["attention=dot", *words, "trust=[mypackage]", "seed=1"])
        assert (rest, overrides(found)) == (
            ["attention=dot", "seed=1"],
            [f"hydra.searchpath=['file://{own / 'mine'}']"],
        )
        assert (found.folder, found.packages) == (own / "mine", ("mypackage",))
    assert taken(["trust=mypackage"])[1].packages == taken(["trust=[ 'mypackage' ]"])[1].packages == ("mypackage",)
    assert taken(["a=b", "trust=[]"]) == (["a=b"], Extensions()) and overrides(Extensions()) == []


def test_a_folder_without_effect_is_refused(own: Path) -> None:
    with pytest.raises(UserError, match=r"^--config-dir=nowhere is not a folder"):
        taken(["--config-dir", "nowhere"])
    with pytest.raises(UserError, match=r"is not a folder"):
        taken(["--config-dir"])
    (own / "empty").mkdir()
    with pytest.raises(UserError, match=r"^--config-dir=empty has no YAML in a folder of a config group: attention, "):
        taken(["--config-dir", "empty"])
    (own / "other" / "attention").mkdir(parents=True)
    (own / "other" / "attention" / "dot.yaml").write_text("_target_: mypackage.Mine\n")
    with pytest.raises(UserError, match=r"conf/ has a file attention/dot.yaml too; give yours another name"):
        taken(["--config-dir", "other"])


def test_classes_of_the_user_are_trained_and_used_with_trust_alone(own: Path) -> None:
    mechanism = ("attention=dot", "attention/normalizer=largest", "attention.normalizer.count=2")
    words = ["--config-dir=mine", *mechanism, "encoder=reader", METRICS, *TINY, "hydra.run.dir=run"]
    # Train: once the package is trusted.
    done = train_here(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "mypackage is your own package, add trust=[mypackage]" in done.stderr
    for wrong, message in {
        "attention.normalizer.cuont=3": "attention.normalizer.cuont: attention/normalizer=largest has no option cuont",
        "attention.normalizer.count=0": "attention.normalizer.count=0: must be int at least 1",
    }.items():
        assert message in train_here(*words, "trust=[mypackage]", wrong).stderr
    done = train_here(*words, "trust=[mypackage]")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((own / "run" / "config.yaml").read_text())
    assert (
        config["decoder"]["attention"]["normalizer"]["count"] == 2
        and config["encoder"]["_target_"] == "mypackage.Reader"
    )
    # The figure of the metric is the mean of the lengths of the outputs.
    outputs = [json.loads(line)["hypothesis"] for line in (own / "run" / "outputs" / "test.jsonl").open()]
    results = json.loads((own / "run" / "results.json").read_text())["test"]
    mean = sum(len(one.split()) for one in outputs) / len(outputs)
    assert results["length"]["score"] == pytest.approx(mean)
    # Load, evaluate and resume: trust is named again, and does not stay.
    for _ in range(2):
        with pytest.raises(UserError, match=r"config.yaml: .*_target_=mypackage.Largest is refused: .*trust="):
            seq2seq.load("run")
        model = seq2seq.load("run", trust="mypackage")
        weights = model.generate(["the bird chose the cow ."], return_attention=True)[0].attention.alignment
        assert ((weights > 0).sum(-1) <= 2).all()
        assert type(model.model.encoder).__name__ == "Reader"
        assert len(model.generate(["the bird"], beam_size=2)) == 1
    with pytest.raises(UserError, match=r"add trust=\[mypackage\]$"):
        evaluate.evaluate(composed("evaluate", "checkpoint=run", "output=scored"))
    with trusting("mypackage"):
        scored = evaluate.evaluate(composed("evaluate", "checkpoint=run", "output=scored"))
    assert "length" in scored["test"]
    done = train_here("resume=run", "trainer.max_steps=5")
    assert (
        done.returncode == 1 and "last.ckpt: attention.normalizer._target_=mypackage.Largest is refused" in done.stderr
    )


def test_compare_takes_figures_of_the_user_with_trust_alone(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    (own / "config.yaml").write_text("task:\n  metrics: [bleu, {_target_: mypackage.Length}]\n")
    figures = {"bleu": {"score": 1.0}, "length": {"score": 2.0}}
    file = own / "results.json"
    assert known_figures(file, figures, lambda: config_of(own)).keys() == {"bleu"}
    assert "length is left out" in caplog.text and "add trust=[mypackage]" in caplog.text
    sys.path.append(str(own))
    with trusting("mypackage"):
        assert known_figures(file, figures, lambda: config_of(own)) == figures


def test_a_metric_has_a_name_of_its_own(own: Path) -> None:
    sys.path.append(str(own))
    (own / "others.py").write_text((own / "mypackage.py").read_text().replace('"length"', '"bleu"'))
    with trusting(["mypackage", "others"]):
        length, bleu = (build_node({"_target_": f"{module}.Length"}) for module in ("mypackage", "others"))
    assert text.names_in(["bleu", length]) == text.names_in(["bleu", length]) == ["bleu", "length"]
    with pytest.raises(UserError, match=r"^others\.Length: there is a metric bleu already; rename yours"):
        text.names_in([bleu])
