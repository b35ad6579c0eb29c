"""Tests of ``benchmark.py train`` and ``decode``: rounds of steps, turns of sides, ratios and refused options."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/benchmark.py` does the same

import benchmark
from peers import joeynmt_worker, seq2seq_worker
from peers.benchmark_runner import PEER, Side, compare, contest
from peers.worker_protocol import Gate, Steps

TINY = ("model.dim=8", "model.embedding_dim=8", "data.tokenizer.vocab_size=40")


class Enough(Exception):
    """Raised to end the loop of a worker."""


class Told(Gate):
    """A gate of a worker without pipes: it allows some rounds and keeps the reported figures."""

    def __init__(self, rounds: int, **task: Any) -> None:
        self.task, self.rounds, self.said = task, rounds, []

    def say(self, **figures: Any) -> None:
        self.said.append(figures)

    def wait(self) -> dict[str, Any]:
        if len(self.said) > self.rounds:
            raise Enough
        return {}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    english = [f"a {adjective} dog sees {number} cats" for adjective in ("red", "blue", "big") for number in range(9)]
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.en").write_text("".join(f"{line}\n" for line in english))
        (tmp_path / f"{split}.de").write_text("".join(f"{line[::-1]}\n" for line in english))
    return tmp_path


def test_a_round_ends_when_the_step_after_its_last_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, clock = Told(2, warmup=1, steps=2), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    steps = Steps(gate, name="me")
    with pytest.raises(Enough):
        for tokens in (1, 10, 20, 100, 200, 1000):
            steps(tokens)
            clock[0] += 0.5
    assert gate.said == [{"name": "me"}, {"tokens": 30, "seconds": 1.0}, {"tokens": 300, "seconds": 1.0}]


FAKE = """
import json, sys
task = json.loads(input())
print(json.dumps({"parameters": 7, "versions": {}}), flush=True)
for line in sys.stdin:
    with open(task["folder"] + "/order", "a") as order: order.write(sys.argv[1])
    print(json.dumps({"tokens": 10, "seconds": 2.0}), flush=True)
"""


def test_sides_take_turns(tmp_path: Path) -> None:
    sides = [Side(name, "fp32", (sys.executable, "-c", FAKE, name[0])) for name in ("this", PEER)]
    results = contest(sides, {"model": "rnn", "folder": str(tmp_path)}, 3, 1, tmp_path)
    assert (tmp_path / "order").read_text() == "tJtJtJ"
    assert [(r["side"], r["parameters"], len(r["rounds"])) for r in results] == [("this", 7, 3), (PEER, 7, 3)]


@pytest.mark.parametrize("rounds", [0, 1])
def test_failing_side_is_reported_in_one_line(tmp_path: Path, rounds: int) -> None:
    program = FAKE.replace("with open", "raise RuntimeError('no room left')\n    with open") if rounds else "1/0"
    with pytest.raises(
        UserError, match=r"^this fp32 ended with exit code 1: \w+Error: (no room left|division by zero)$"
    ):
        contest([Side("this", "fp32", (sys.executable, "-c", program))], {"model": "rnn"}, rounds, 1, tmp_path)


def test_speeds_are_medians_and_ratios_are_taken_per_round() -> None:
    results = [
        {"side": "this", "rounds": [{"tokens": t, "sentences": 1, "seconds": 2.0} for t in (20, 60, 100)]},
        {"side": PEER, "rounds": [{"tokens": t, "sentences": 1, "seconds": 1.0} for t in (2, 10, 5)]},
    ]
    compare(results)
    assert [r["tokens_per_second"] for r in results] == [30, 5]
    assert [r["sentences_per_second"] for r in results] == [0.5, 1]
    assert results[0]["ratio"] == {"min": 3, "median": 5, "max": 10}
    assert "ratio" not in results[1]


@pytest.mark.parametrize("model", seq2seq_worker.MODELS)
def test_both_sides_have_the_same_configuration(model: str, tmp_path: Path) -> None:
    mine, theirs = seq2seq_worker.config_of(model, None), joeynmt_worker.config_of(model, tmp_path, tmp_path)
    encoder, decoder, training = theirs["model"]["encoder"], theirs["model"]["decoder"], theirs["training"]
    assert mine.data.max_tokens == training["batch_size"]
    assert mine.loss.label_smoothing == training["label_smoothing"]
    assert mine.trainer.gradient_clip_val == training["clip_grad_norm"]
    assert mine.model.share_embeddings is theirs["model"]["tied_embeddings"]
    assert mine.decoder.tie_output is theirs["model"]["tied_softmax"]
    assert mine.decoder.dim == decoder["hidden_size"]
    for side, layer in (mine.encoder, encoder), (mine.decoder, decoder):
        assert side.layers == layer["num_layers"]
        assert side.dropout == layer["dropout"] == 0.3
    if model == "transformer":
        assert mine.encoder.ff_dim == encoder["ff_size"] and mine.decoder.ff_dim == decoder["ff_size"]
        assert mine.attention.heads == decoder["num_heads"] and mine.default_self.heads == encoder["num_heads"]
        assert mine.attention.dropout == mine.default_self.dropout == decoder["dropout"]
        assert mine.encoder.embedding_dropout == encoder["embeddings"]["dropout"]
        assert mine.encoder.norm == encoder["layer_norm"]
    else:
        assert mine.encoder.dim == 2 * encoder["hidden_size"] and encoder["bidirectional"] is mine.encoder.bidirectional
        assert mine.decoder.embedding_dim == decoder["embeddings"]["embedding_dim"]
        assert mine.decoder.order == "luong" and mine.decoder.input_feeding is decoder["input_feeding"]
        assert mine.attention.score._target_.rsplit(".", 1)[1].lower() == model.removeprefix("rnn-")


def test_training_waits_between_rounds_and_reports_them(data: Path, tmp_path: Path) -> None:
    overrides = [*TINY, f"data.cache={tmp_path / 'cache'}"]
    task = {"model": "rnn-general", "data": str(data), "folder": str(tmp_path), "precision": "fp32"}
    gate = Told(2, **task, overrides=overrides, batch_tokens=60, warmup=1, steps=2)
    with pytest.raises(Enough):
        seq2seq_worker.train(gate)
    about, *rounds = gate.said
    assert about["parameters"] > 0
    assert len(rounds) == 2 and all(0 < r["tokens"] <= 2 * 60 and r["seconds"] > 0 for r in rounds)


@pytest.mark.slow
def test_decode_writes_and_prints_speeds(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--sentences", "3", "--length", "4", "--warmup", "1", "--rounds", "2", "--models", "rnn-additive"]
    files = ["--data", str(data), "--output", str(tmp_path / "speed.json"), "--threads", "1"]
    benchmark.main(["decode", *files, *sizes, "--set", *TINY, f"data.cache={tmp_path / 'cache'}"])
    out, err = capsys.readouterr()
    (result,) = json.loads((tmp_path / "speed.json").read_text())["models"]["rnn-additive"]
    assert [(r["sentences"], r["tokens"]) for r in result["rounds"]] == [(3, 15)] * 2
    assert f"| this fp32 | {result['tokens_per_second']:.0f} |" in out
    assert "pip install joeynmt==2.3.0" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (lambda data: ["--data", f"{data}/none"], "none: no such folder"),
        (
            lambda data: ["--data", f"{data}", "--peer-python", f"{data}/python"],
            "No such file or directory; to install it",
        ),
        (lambda data: ["--data", f"{data}", "--peer-python", sys.executable], "has no joeynmt, not joeynmt==2.3.0"),
        (
            lambda data: ["--data", f"{data}", "--set", "data.tokenizer.type=syllable"],
            "data.tokenizer.type=syllable is",
        ),
        (lambda data: ["--data", f"{data}", "--set", "attention=nothing"], "attention has no choice nothing"),
    ],
)
def test_mistakes_are_reported_in_one_line(data: Path, arguments: Callable[[Path], list[str]], says: str) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["train", *arguments(data)])
    message = str(ended.value.code)
    assert message.startswith("benchmark.py: ") and says in message and "\n" not in message
