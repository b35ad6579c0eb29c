"""Tests of the command line: overrides, sweeps and errors of one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from omegaconf import DictConfig

from seq2seq.cli import hydra_app, train
from seq2seq.errors import UserError
from seq2seq.model import build
from tests import commands
from tests.sampling import mostly_slow
from tests.test_run_directory import snapshot

ROOT = Path(__file__).parents[1]


def test_sweep_over_a_group_by_pattern() -> None:
    jobs = hydra_app.compose("train", ["attention=glob(local*)"])
    assert [job.attention.window["_target_"].rpartition(".")[2] for job in jobs] == ["LocalP", "LocalM"]


def test_sweep_is_composed_to_all_combinations() -> None:
    jobs = list(hydra_app.compose("train", ["attention=additive,local", "++seed=1,2", "++trainer.max_epochs=3"]))
    assert [(job.attention.window._target_.rsplit(".")[-1], job.seed) for job in jobs] == [
        *(("Global", 1), ("Global", 2), ("LocalP", 1), ("LocalP", 2))
    ]


def check_line(*typed: str, name: str = "train") -> None:
    """Check a command line as ``train.py`` checks it."""
    hydra_app.checked(name, [hydra_app.as_override(argument) for argument in typed], train.check)


@pytest.mark.parametrize(
    "typed",
    mostly_slow(
        [
            [],
            ["attention=multi_head", "attention/score=additive", "attention/window=local_p"],
            ["encoder=transformer", "decoder=rnn"],
            ["model=transformer", "self_attention@encoder_self=multi_head", "encoder_self.heads=8"],
            ["model=transformer", "model.positions=rotary", "decoder.norm=post"],
            ["encoder.cell=gru", "decoder.cell=gru", "decoding=sample", "decoding.top_k=5"],
            ["debug=overfit"],
            ["trainer=ddp", "trainer.devices=2"],
            ["trainer.limit_train_batches=3"],  # an option that the YAML does not list
        ],
        every=3,
    ),
    ids=" ".join,
)
def test_valid_command_lines_are_accepted(typed: list[str]) -> None:
    check_line(*typed)


@pytest.mark.parametrize(
    ("typed", "message"),
    mostly_slow(
        [
            ("attnetion=local", r"unknown option attnetion; did you mean attention\?"),
            ("encoder.dropot=0.1", r"encoder\.dropot: encoder=rnn has no option dropot; did you mean dropout\?"),
            ("+encoder.dropot=0.1", "did you mean dropout"),
            ("+foo=1", "unknown option foo; there are: attention"),
            ("encoder.layers=two", r"encoder\.layers=two: must be int"),
            ("seed=abc", "seed=abc: must be int"),
            ("self_attention.heads=2", "self_attention is not chosen; add self_attention=CHOICE"),
            ("decoder_self.heads=2", "decoder_self is not chosen; add self_attention@decoder_self=CHOICE"),
            ("model.positions=rotary", r"model\.positions has no effect here; model has: .*dim"),
            ("+model.foo=1", r"model\.foo has no effect"),
            ("attention.heads=3", "^attention.heads=3 must divide the width 128"),
            ("attention.hops=3", r"attention\.hops: attention=additive has no option hops; there are:"),
            (
                "attention.window.reach=3",
                r"attention\.window\.reach: attention/window=global has no option reach; there are",
            ),
            ("attention.score.dim=0", r"^attention\.score\.dim=0 must be at least 1"),
            ("attention.dropout=2", r"^attention\.dropout=2 must lie in 0\.\.1"),
            ("decoder.bridge=x", r"^decoder\.bridge=x.*dense"),
            ("decoding.temperature=2", "decoding=beam has no option temperature"),
            ("optimizer.lr=fast", r"optimizer\.lr=fast: must be float"),
            ("trainer.precision=bf17", "must be one of .*bf16-mixed"),
            ("trainer.accelerator=tpuu", "tpuu"),
            ("trainer.logger=true", "trainer.logger is set by the application"),
            ("task.metrics=[bleuu]", "bleuu is not a metric of outputs; choose from bleu"),
            ("task.metrics=[spice]", r"task\.metrics: spice: .*"),
            ("data=parallel_text", r"data\.source.*: required, but not set"),
            ("loss._target_=os.system", "os.system is refused"),
            ("loss=null", "loss is not chosen"),
            ("~optimizer", "optimizer is not chosen"),
            ("data.tokenizer.vocab=3", r"data\.tokenizer\.vocab: .*did you mean vocab_size\?"),
        ],
        every=2,
    ),
)
def test_invalid_options_are_refused_by_name_in_one_line(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_line(typed)
    assert "\n" not in str(caught.value)


TRANSFORMER, ENCODER_SELF = "model=transformer", "self_attention@encoder_self"


@pytest.mark.parametrize(
    ("typed", "message"),
    mostly_slow([
        (["attention=local", "attention.window.reach=-1"], r"^attention\.window\.reach=-1, half the width"),
        (["attention=hierarchical", "attention.word.dim=0"], r"^attention\.word\.dim=0 must be at least 1"),
        ([TRANSFORMER, "self_attention=sliding_window", "self_attention.window.reach=0"],
         r"^self_attention\.window\.reach=0 must be at least 1"),
        ([TRANSFORMER, f"{ENCODER_SELF}=multi_head", "encoder_self.heads=3"], r"^encoder_self\.heads=3 must divide"),
        ([TRANSFORMER, "self_attention=entmax", "self_attention.normalizer.alpha=2.0"],
         r"^self_attention\.normalizer\.alpha=2\.0 .* the normalizer softmax,"),
        ([TRANSFORMER, f"{ENCODER_SELF}=linear", "encoder_self.hops=3"],
         "self_attention@encoder_self=linear has no option hops"),
        (["attention=linear", "attention/score=dot"],
         "attention=linear has no part attention/score; it has: attention/feature_map"),
        (["attention=gmm", "attention/score=dot"], "attention=gmm has no part attention/score; it has: none"),
        ([TRANSFORMER, "self_attention=linear", "attention/score@self_attention.score=dot"],
         "^self_attention=linear has no part .*; it has: attention/feature_map@self_attention.feature_map$"),
        (["attention=additive,linear", "attention/normalizer=sparsemax"], "^attention=linear has no part"),
    ], every=3),
    ids=" ".join,
)  # fmt: skip
def test_errors_name_the_option_of_the_slot_that_is_wrong(typed: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_line(*typed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("self_attention=additive", "self_attention has no choice additive; it has: adaptive_span"),
        ("attention=locall", "attention has no choice locall; did you mean local?; it has: adaptive"),
        ("debug=bach", "debug has no choice bach; did you mean batch?"),
        ("logger=cvs", "logger has no choice cvs; did you mean csv?"),
        ("trainer=gup", "trainer has no choice gup; did you mean gpu?"),
        ("self_attention@encoder_slf=multi_head", "can't be chosen here. Did you mean to override one of"),
        ("foo", "'foo' can't be read; write GROUP=CHOICE or KEY=VALUE"),
        ("decoding=3", "decoding=3: choose one of the group's files"),
    ],
)
def test_errors_of_hydra_are_explained_in_one_line(typed: str, message: str) -> None:
    with pytest.raises(Exception) as caught:
        check_line(typed)
    line = hydra_app.explain(caught.value)
    assert message in line and "\n" not in line


def test_wrong_option_prints_one_line_and_makes_no_directory(tmp_path: Path) -> None:
    done = commands.run("train.py", "encoder.dropot=0.1", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("train.py: encoder.dropot") and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "typed",
    [
        ["debug=batch", "logger=csv", "hydra.run.dir={run}"],
        pytest.param(["debug=batch", "-m", "hydra.sweep.dir={run}", "seed=1,2"], marks=pytest.mark.slow),
        ["resume={run}", "trainer.max_steps=2"],
    ],
    ids=" ".join,
)
def test_refused_start_does_not_change_an_existing_run(run: Path, tmp_path: Path, typed: list[str]) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    before = snapshot(copy)
    done = commands.run("train.py", *(argument.format(run=copy) for argument in typed))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert snapshot(copy) == before


def test_closed_output_pipe_is_not_an_error() -> None:
    lines = "[print('a line') for _ in range(99999)]"
    code = f"from seq2seq.cli import hydra_app; hydra_app.run(lambda config: {lines}, 'generate')"
    line = f'{sys.executable} -c "{code}" checkpoint=x | head -n 1'
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("a line\n", "")


def test_luong_experiments_match_the_tables_of_the_paper() -> None:
    jobs = list(hydra_app.compose("train", ["experiment=glob(luong2015_table4_*)", "data=toy_translation"]))
    found = [tuple(job.attention[part]["_target_"].rpartition(".")[2] for part in ("window", "score")) for job in jobs]
    assert sorted(found) == sorted(
        [
            *(("Global", "Dot"), ("Global", "General"), ("Global", "Location")),
            *(("LocalM", "Dot"), ("LocalM", "General"), ("LocalP", "Dot"), ("LocalP", "General")),
        ]
    )
    ladder = list(hydra_app.compose("train", ["experiment=glob(luong2015_ladder_*)", "data=toy_translation"]))
    assert [job.model.dropout for job in ladder] == [0.0, 0.2, 0.2, 0.2, 0.2]
    assert [job.decoder.get("input_feeding", True) for job in ladder] == [False, False, False, True, True]
    assert [job.trainer.max_epochs for job in ladder] == [10, 12, 12, 12, 12]
    assert [(job.lr_scheduler.epochs, job.lr_scheduler.after) for job in ladder] == [(10, 5), *[(12, 8)] * 4]


@cache
def see_ladder() -> list[DictConfig]:
    """Return the configs of the experiments after See 2017."""
    return list(hydra_app.compose("train", ["experiment=glob(see2017_ladder_*)", "data=toy_summarisation"]))


def test_see_models_have_the_parameter_counts_of_the_paper() -> None:
    """Coverage adds 512 parameters (w_c) and copying adds 1153 (w_h*, w_s, w_x and b); See 2017, section 5.

    Our copy switch reads the hidden state of the decoder but not its LSTM cell, so it has 256 fewer in w_s.
    """
    plain, pointer, coverage = (build(job, 50, 50) for job in see_ladder())
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (plain, pointer, coverage)]
    assert (sizes[1] - sizes[0], sizes[2] - sizes[1]) == (1153 - 256, 512)


def test_see_experiments_decode_without_n_gram_blocking() -> None:
    for job in see_ladder():
        assert (job.decoding.no_repeat_ngram_size, job.decoding.max_length) == (0, 120)
