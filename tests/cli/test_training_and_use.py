"""Tests of train.py, resume, checkpoints, evaluate.py and generate.py with a very small run."""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

import seq2seq
from seq2seq import checkpoint
from seq2seq.batch import EOS
from seq2seq.cli import evaluate, generate, hydra_app, messages, train
from seq2seq.comparison.runs import find
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import likelihood
from seq2seq.run_directory import changed
from seq2seq.search import Greedy
from seq2seq.tasks.translation import Translation
from seq2seq.training.fit import FitResult
from tests.conftest import TINY
from tests.sampling import mostly_slow

FITTED = FitResult(
    *(Path(), Path(), "nll", 2.5),
    *(1, 1, 1, 1, 1.0, 1.0),
    *(None, 0, False),
    onset=None,
    nll_increase_averaged=None,
)
"""The result of a run of one update."""
SENTENCES = ["the bird chose the cow .", "", "a young woman gladly believed ."]


def composed(name: str, *overrides: str) -> DictConfig:
    """Compose the config of a command."""
    (config,) = hydra_app.compose(name, [hydra_app.as_override(override) for override in overrides])
    return config


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def run_generate(monkeypatch: pytest.MonkeyPatch, text: bytes, *overrides: str) -> None:
    """Run ``generate.py`` with ``text`` as its standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    generate.generate(composed("generate", *overrides))


# --- files and messages of a run ---


def test_a_run_writes_results_outputs_and_attention(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {
        "attention",
        "checkpoints",
        "config.yaml",
        "outputs",
        "results.json",
    }
    results = json.loads((run / "results.json").read_text())
    assert {"bleu", "chrf", "ter", "perplexity", "accuracy", "aer", "aer_input", "aer_uniform"} <= set(results["test"])
    assert results["test"]["bleu"]["signature"].startswith("BLEU|nrefs:1|case:mixed|eff:no|tok:13a")
    assert results["run"].keys() >= {"command", "seed", "versions", "hardware", "seconds", "parameters", "training"}
    assert results["run"]["training"]["steps"] == 3
    records = [json.loads(line) for line in (run / "outputs" / "test.jsonl").read_text().splitlines()]
    assert len(records) == 6
    assert records[0].keys() >= {"source", "references", "hypothesis", "score", "n_best", "attention"}
    assert len((run / "outputs" / "test.pharaoh").read_text().splitlines()) == 6
    assert (run / "attention" / "test" / "00000_cross.png").is_file()
    arrays = np.load(run / "attention" / "test" / "00000_cross.npz")
    assert arrays["weights"].shape[-2:] == (len(arrays["rows"]), len(arrays["columns"]))


def test_a_run_reports_its_length_and_the_command_to_train_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = [*TINY, "training.num_plots=0", "training.faithfulness_examples=0", f"data.cache={run.parent / 'cache'}"]
    config = composed("train", *options)
    train.train(config, tmp_path / "first")
    assert "plan: batches of 256 tokens, 4 updates an epoch; 3 updates in all" in caplog.messages
    lines = capsys.readouterr().out.splitlines()
    (line, command), *_ = (pair for pair in itertools.pairwise(lines) if pair[0].startswith("best "))
    assert line == "best   nll of validation at update 3 of 3, still improving; to train longer:"
    assert command == f"       python train.py resume={tmp_path / 'first'} trainer.max_epochs=2"
    # The printed command continues the training, to the end of the second epoch.
    train.train(composed("resume", *shlex.split(command)[2:]), tmp_path / "first")
    assert json.loads((tmp_path / "first" / "results.json").read_text())["run"]["training"]["steps"] == 8


@pytest.mark.parametrize(
    ("best_score", "best_step", "line"),
    [
        (2.5, 1800, "best   nll of validation at update 1,800 of 2,000"),
        (2.5, 1801, "best   nll of validation at update 1,801 of 2,000, still improving; "),
        (None, 0, "nothing was validated: the model of the last update is kept"),
    ],
)
def test_a_run_reports_if_validation_still_improved(
    tmp_path: Path, best_score: float | None, best_step: int, line: str
) -> None:
    fitted = replace(FITTED, best_score=best_score, best_step=best_step, steps=2000)
    printed = messages.outlook(fitted, tmp_path)
    assert printed.startswith(line)
    assert printed.count("\n") == ("still improving" in line)


def test_perplexity_and_accuracy_equal_those_of_stepwise_decoding(run: Path) -> None:
    trained = seq2seq.load(run)
    records = [json.loads(line) for line in (run / "outputs" / "test.jsonl").read_text().splitlines()]
    nll, tokens, right = 0.0, 0, 0
    for record in records:  # one record and one token at a time
        source = torch.tensor([[*trained.codec.source.encode(record["source"]), EOS]])
        target = [2, *trained.codec.target.encode(record["references"][0]), EOS]
        batch = seq2seq.batch.Batch(source, torch.tensor([0]))
        state = trained.model.decoder.start(trained.model.encoder(batch))
        for said, expected in itertools.pairwise(target):
            decoded, state = trained.model.decoder(torch.tensor([[said]]), state)
            log_probs = trained.model.decoder.output.log_probs(decoded.features)[0, 0]
            nll, right = nll - log_probs[expected].item(), right + int(log_probs.argmax() == expected)
            tokens += 1
    reported = json.loads((run / "results.json").read_text())["test"]
    assert reported["perplexity"]["score"] == pytest.approx(np.exp(nll / tokens), rel=1e-4)
    assert reported["accuracy"]["score"] == pytest.approx(right / tokens)


def test_a_model_agrees_with_its_own_greedy_outputs(run: Path) -> None:
    trained = seq2seq.load(run)
    sources = [json.loads(line)["source"] for line in (run / "outputs" / "test.jsonl").read_text().splitlines()]
    greedy = trained.generate(sources, beam_size=1, suppress_unk=True, min_length=3)
    records = [Record(source=one.source, target=one.text) for one in greedy]
    assert likelihood(trained, records, 1024)["accuracy"].score > 0.7  # only </s> differs at the length limit


EXPERIMENTS = hydra_app.CONF / "experiment"


@pytest.mark.parametrize("name", mostly_slow(sorted(file.stem for file in EXPERIMENTS.glob("*.yaml")), every=3))
def test_every_experiment_passes_the_checks_before_training(name: str) -> None:
    (config,) = hydra_app.compose("train", [f"experiment={name}", "logger=csv"])
    if config.training.reward:
        with pytest.raises(
            UserError, match=r"training\.reward=.* alone can't train random weights; set training\.init_from=RUN"
        ):
            train.check(config)
        config.training.init_from = "RUN"
    train.check(config)


def test_results_are_never_overwritten(run: Path) -> None:
    with pytest.raises(UserError, match="already holds a finished run"):
        train.train(composed("train", "logger=csv"), run)
    message = r"is finished .*; to train longer, say until when .*, or start a new run with training\.init_from="
    with pytest.raises(UserError, match=message):
        train.check(composed("resume", f"resume={run}", "trainer.precision=32-true"))
    with pytest.raises(UserError, match=r"^trainer\.max_steps=3: .* has trained 3 steps; choose more$"):
        train.check(composed("resume", f"resume={run}", "trainer.max_steps=3"))


# --- resume ---


def test_an_unfinished_run_is_resumed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After five updates attention has not begun, and the run reports this."""
    (copy / "results.json").unlink()
    train.train(composed("resume", f"resume={copy}", "trainer.max_steps=5"), copy)
    training = json.loads((copy / "results.json").read_text())["run"]["training"]
    assert training["steps"] == 5 and training["onset"] is None
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "never began" in line]
    assert re.match(r"attention never began: averaged attention costs -?0\.0\d\d nats per token \(< 0\.1\);$", line)


def test_a_finished_run_is_trained_longer(tmp_path: Path) -> None:
    """With a constant learning rate, 3 updates and 3 more give the weights of 6 updates. The first results are kept."""
    options = [*TINY, "lr_scheduler=constant", "training.num_plots=0", f"data.cache={tmp_path}"]
    train.train(composed("train", *options, "trainer.max_steps=6"), tmp_path / "whole")
    train.train(composed("train", *options), tmp_path / "parts")
    before = json.loads((tmp_path / "parts" / "results.json").read_text())
    train.train(composed("resume", f"resume={tmp_path / 'parts'}", "trainer.max_steps=6"), tmp_path / "parts")
    whole, parts = (checkpoint.load(tmp_path / name).weights for name in ("whole", "parts"))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=0)
    # The results of both ends can be compared.
    aside = tmp_path / "parts" / "evaluations" / "update_3"
    assert json.loads((aside / "results.json").read_text()) == before
    assert not changed(aside) and not changed(tmp_path / "parts")
    runs = find([tmp_path / "parts", aside], "test")
    assert [run.about["training"]["steps"] for run in runs] == [6, 3]
    assert OmegaConf.load(tmp_path / "parts" / "config.yaml").trainer.max_steps == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dim=9", "model is fixed by the run; with resume=, only trainer and logger options can change"),
        ("seed=9", "seed is fixed by the run"),
        ("trainer.max_epoch=9", r"trainer\.max_epoch: Trainer has no option max_epoch; did you mean max_epochs\?"),
    ],
)
def test_options_that_a_resumed_run_can_not_change_are_refused(copy: Path, override: str, message: str) -> None:
    (copy / "results.json").unlink()
    with pytest.raises(UserError, match=message):
        train.check(composed("resume", f"resume={copy}", override))


# --- checkpoints ---


def test_a_checkpoint_opens_from_its_run_its_file_and_a_copy(run: Path, tmp_path: Path) -> None:
    file = run / "checkpoints" / "model.safetensors"
    assert checkpoint.find(run) == checkpoint.find(run / "checkpoints") == file
    assert checkpoint.run_of(file) == checkpoint.run_of(file.parent) == run
    mailed = Path(shutil.copytree(run / "checkpoints", tmp_path / "mailed", ignore=shutil.ignore_patterns("*.ckpt")))
    said = {seq2seq.load(place).generate(SENTENCES)[0].text for place in (run, file, mailed, mailed / file.name)}
    assert len(said) == 1
    (mailed / "source.model").unlink()
    with pytest.raises(UserError, match=r"source\.model can't be read .*copy all of it"):
        seq2seq.load(mailed)


def test_last_ckpt_is_not_a_model_and_a_model_can_not_be_resumed(run: Path) -> None:
    with pytest.raises(UserError, match=r"last\.ckpt is only for resume="):
        seq2seq.load(run / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match="holds only weights; give the run directory"):
        train.check(composed("resume", f"resume={run / 'checkpoints' / 'model.safetensors'}"))


def old_checkpoint(run: Path, file: Path, **config: object) -> Path:
    """Write a checkpoint as versions before the format number did: without the digest of the model."""
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del content["format"], content["model"]
    content["config"] |= config
    torch.save(content, file)
    return file


def test_checkpoints_without_a_format_number_still_open(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["config"]
    decoder = content["decoder"] | {"dim": "${model.dim}", "attention": "${attention}"}
    decoder["tie_output"] = "${oc.select:model.tie_output,false}"
    trained = seq2seq.load(old_checkpoint(run, tmp_path / "old.ckpt", decoder=decoder))
    assert "before checkpoints had a format number" in caplog.text and trained.config.decoder.dim == 8
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, weights[f"model.{name}"]) for name, value in trained.model.state_dict().items())


def test_a_checkpoint_that_could_run_code_is_refused(run: Path, tmp_path: Path) -> None:
    content = torch.load(old_checkpoint(run, tmp_path / "named.ckpt"), weights_only=True)
    torch.save({**content, "extra": Path("x")}, tmp_path / "pickled.ckpt")
    with pytest.raises(UserError, match="more than plain data"):
        checkpoint.load(tmp_path / "pickled.ckpt")
    content["config"]["decoder"]["_target_"] = "subprocess.Popen"
    torch.save(content, tmp_path / "named.ckpt")
    with pytest.raises(UserError, match=r"decoder\._target_=subprocess\.Popen is refused"):
        seq2seq.load(tmp_path / "named.ckpt")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"text", "is not a checkpoint, or is not complete"), (b"", "is not a checkpoint"), (None, "does not exist")],
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        seq2seq.load(path)
    with pytest.raises(UserError, match="has no checkpoint"):
        seq2seq.load(tmp_path)


def test_a_checkpoint_of_another_program_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="not a checkpoint of this application: it lacks 'config'"):
        seq2seq.load(tmp_path / "x.ckpt")


# --- from Python ---


def test_generate_returns_text_alternatives_and_attention(run: Path) -> None:
    trained = seq2seq.load(run)
    found = trained.generate(SENTENCES, return_attention=True, beam_size=3, n_best=2)
    assert [one.source for one in found] == SENTENCES
    assert found[1].text == "" and found[1].outputs == [] and found[1].attention is None
    first = found[0]
    assert len(first.outputs) == 2 and first.outputs[0].score >= first.outputs[1].score
    seen = first.attention
    assert seen is not None
    assert len(seen.source) == 7 and (seen.source[0], seen.source[-1]) == ("▁the", "</s>")
    assert seen.target[-1] == "</s>" and seen.alignment.shape == (len(seen.target), len(seen.source))
    assert seen.weights["cross.0"].sum(-1) == pytest.approx(1, abs=1e-5)
    assert {j for _, j in seen.links()} == set(range(len(first.text.split())))


def test_generation_does_not_depend_on_other_sentences_in_the_batch(run: Path) -> None:
    trained = seq2seq.load(run)
    together = trained.generate(SENTENCES, search=Greedy())
    assert [one.text for one in together] == [trained.generate(text, search=Greedy())[0].text for text in SENTENCES]


def test_an_unknown_decoding_option_is_refused_with_a_suggestion(run: Path) -> None:
    with pytest.raises(UserError, match=r"decoding\.beamsize: Beam has no option beamsize; did you mean beam_size\?"):
        seq2seq.load(run).generate("x", beamsize=2)


# --- evaluate.py ---

UNPROBED = ["faithfulness_examples=0"]


def test_evaluation_uses_the_config_of_the_run_and_typed_options(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluate.evaluate(
        composed("evaluate", f"checkpoint={copy}", "split=val", "decoding=greedy", "num_plots=1", *UNPROBED)
    )
    (directory,) = (copy / "evaluations").iterdir()
    assert set(results) == {"val"}
    assert "Greedy" in (directory / "config.yaml").read_text()
    assert len((directory / "outputs" / "val.jsonl").read_text().splitlines()) == 6
    assert len(list((directory / "attention" / "val").glob("*.png"))) == 1
    assert "perplexity" in capsys.readouterr().out


def test_evaluation_repeats_the_figures_of_the_run(copy: Path) -> None:
    again = evaluate.evaluate(composed("evaluate", f"checkpoint={copy}", "num_plots=0"))["test"]
    stored = json.loads((copy / "results.json").read_text())["test"]
    assert {name: score.score for name, score in again.items()} == pytest.approx(
        {name: entry["score"] for name, entry in stored.items()}, rel=1e-5
    )


def test_new_files_and_gold_alignments_are_scored(run: Path, tmp_path: Path) -> None:
    gold = {"src": ["the", "bird"], "tgt": ["kio", "ka"], "sure": [[0, 0]], "possible": [[1, 1], [1, 0]]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold) + "\n")
    (tmp_path / "new.en").write_text("the bird\n\n")
    (tmp_path / "new.toy").write_text("kio ka\nkio\n")
    options = [f"{name}={tmp_path / file}" for name, file in FILES.items()]
    results = evaluate.evaluate(composed("evaluate", f"checkpoint={run}", *options, *UNPROBED))
    assert set(results) == {"new", "gold"}
    # two target words, one link each, I = 2: E|A∩S| = 1/2, E|A∩P| = 3/2, |A| + |S| = 3
    assert results["gold"]["aer_uniform"].score == pytest.approx(1 - (1 / 2 + 3 / 2) / 3)
    assert results["gold"]["aer_diagonal"].score == 0.0
    assert (tmp_path / "out" / "attention" / "gold" / "00000_cross.png").is_file()
    assert [json.loads(line)["hypothesis"] for line in (tmp_path / "out/outputs/new.jsonl").open()][1] == ""


FILES = {"source_file": "new.en", "target_file": "new.toy", "alignment": "gold.jsonl", "output": "out"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["splt=test"], r"unknown option splt; did you mean split\?"),
        (["decoding.beam_size=0"], "beam_size=0"),
        (["data.max_token=3"], r"data\.max_token: TextCorpus has no option max_token; did you mean max_tokens\?"),
        (["num_plots=many"], "num_plots=many: must be int"),
        (["source_file=x"], "source_file and target_file go together"),
        (["alignment=/nowhere", "split=null"], "/nowhere"),
        (["split=holdout"], "holdout"),
        (["device=tpu9"], "device=tpu9 cannot be used"),
    ],
)
def test_evaluation_refuses_bad_options_in_one_line_and_writes_nothing(
    copy: Path, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        evaluate.evaluate(composed("evaluate", f"checkpoint={copy}", *options))
    assert "\n" not in str(caught.value)
    assert not (copy / "evaluations").exists()


# --- generate.py ---


def test_output_has_one_line_for_each_input_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Translation, "group_size", 2)  # more than one group
    text = "\n".join(SENTENCES).encode() + b"\r\na \xe2\x80\xa8 b\n"  # U+2028 does not end a line
    pharaoh, plots = tmp_path / "a.pharaoh", tmp_path / "plots"
    run_generate(monkeypatch, text, f"checkpoint={run}", f"alignments={pharaoh}", f"plots={plots}")
    lines = capsys.readouterr().out.split("\n")
    trained = seq2seq.load(run)
    assert lines[:3] == [one.text for one in trained.generate(SENTENCES)]
    assert lines[1] == "" and lines[3] != "" and lines[4:] == [""]
    assert [bool(line) for line in pharaoh.read_text().split("\n")] == [True, False, True, True, False]
    assert sorted(path.name for path in plots.glob("*.png")) == [
        "00000_cross.png",
        "00002_cross.png",
        "00003_cross.png",
    ]


def test_plots_are_written_as_pdf_too(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(SENTENCES[0], encoding="utf-8")
    options = [f"checkpoint={run}", f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'o'}", "plot_format=pdf"]
    with pytest.raises(UserError, match="plot_format and plot_pieces have no effect without plots=DIR"):
        generate.generate(composed("generate", *options))
    generate.generate(composed("generate", *options, f"plots={tmp_path / 'plots'}", "plot_pieces=true"))
    assert sorted(path.suffix for path in (tmp_path / "plots").iterdir()) == [".npz", ".pdf", ".png"]


def test_json_lines_contain_alternatives_and_statistics(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    options = [f"checkpoint={run}", f"input={tmp_path / 'in.txt'}", f"output={out}", "decoding.n_best=2"]
    generate.generate(composed("generate", *options))
    entries: list[dict[str, Any]] = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [entry["source"] for entry in entries] == SENTENCES
    assert [len(entry["n_best"]) for entry in entries] == [2, 0, 2]
    assert entries[0]["attention"].keys() >= {"entropy", "sparsity", "monotonicity"}
    assert entries[1]["hypothesis"] == "" and entries[1]["score"] is None


def test_empty_input_gives_empty_output(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_generate(monkeypatch, b"", f"checkpoint={run}")
    assert capsys.readouterr().out == ""


def test_invalid_utf8_is_read_and_reported_with_its_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run_generate(monkeypatch, b"the bird\nthe \xff cow\n", f"checkpoint={run}")
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert "stdin:2: not UTF-8 at byte 5" in caplog.text


def test_a_line_with_nul_gives_an_empty_output_and_a_long_line_is_cut(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lines = [b"the bird", b"the \0 cow", b"the cow " * 2000]
    run_generate(monkeypatch, b"\n".join(lines), f"checkpoint={run}", "format=jsonl")
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [bool(entry["n_best"]) for entry in entries] == [True, False, True]
    assert "stdin:2: a NUL character; its output is empty" in caplog.messages
    assert "input: 1 sources over 1024 tokens, cut: input 3" in caplog.messages


def test_the_prompt_of_a_terminal_is_written_to_stderr(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("the bird\n"))
    generate.generate(composed("generate", f"checkpoint={run}"))
    printed = capsys.readouterr()
    assert printed.err.startswith("> ") and len(printed.out.splitlines()) == 1


def test_samples_do_not_depend_on_how_lines_are_grouped(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for size in (1, 3):
        monkeypatch.setattr(Translation, "group_size", size)
        run_generate(monkeypatch, b"the bird\n" * 3, f"checkpoint={run}", "decoding=sample")
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0].splitlines())) > 1  # each line is sampled independently


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("format=xml", "format=xml: must be one of text, jsonl"),
        ("model.dim=2", "unknown option model; there are: alignments, checkpoint, decoding"),
        ("input=/nowhere", "/nowhere: No such file"),
        ("output=/proc/no/x", "can't be written"),
    ],
)
def test_generation_refuses_bad_options(run: Path, option: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate.generate(composed("generate", f"checkpoint={run}", option))


@pytest.mark.parametrize("name", mostly_slow(["uniform", "permuted", "averaged", "frozen"], every=2))
def test_controls_change_attention_and_perplexity(run: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    asked = [f"checkpoint={run}", f"output={out}", f"evaluation.control={name}_attention", "num_plots=0"]
    evaluate.evaluate(composed("evaluate", *asked))
    found = json.loads((out / "results.json").read_text())["test"]
    plain = json.loads((run / "results.json").read_text())["test"]
    entropy = found["attention_normalized_entropy"]["score"]
    if name == "uniform":
        assert entropy == pytest.approx(1, abs=1e-3)
        assert found["attention_sparsity"]["score"] == 0
    assert found["perplexity"]["score"] != plain["perplexity"]["score"]
    assert "gradient_tau" in plain and "gradient_tau" not in found  # gradient_tau needs unchanged attention
    (with_cost,) = {plain[f"nll_increase_{name}"]["signature"]}
    assert f"attention {name}" in with_cost


def test_evaluation_stores_the_sums_of_each_gold_pair(run: Path, tmp_path: Path) -> None:
    pairs = [
        {
            "src": ["the", "bird", "chose", "the", "cow"],
            "tgt": ["la", "b", "c", "d", "e"],
            "sure": [[0, 0]],
            "possible": [[1, 1]],
        },
        {"src": ["a", "young", "woman"], "tgt": ["x", "y"], "sure": [[1, 1]], "possible": []},
    ]
    gold = tmp_path / "gold.jsonl"
    gold.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    out = tmp_path / "out"
    asked = [f"checkpoint={run}", f"output={out}", "split=null", f"alignment={gold}", "num_plots=0"]
    evaluate.evaluate(composed("evaluate", *asked))
    rows = [json.loads(line) for line in (out / "outputs" / "gold.jsonl").read_text().splitlines()]
    assert [row["source"].split() for row in rows] == [pair["src"] for pair in pairs]
    score = json.loads((out / "results.json").read_text())["gold"]["aer"]["score"]
    parts = [row["sums"]["aer"] for row in rows]
    assert score == pytest.approx(1 - sum(part for part, _ in parts) / sum(whole for _, whole in parts))
    assert (out / "attention" / "gold.npz").is_file()
