"""Tests of overrides: options become Hydra's grammar, and paths may contain any character."""

from __future__ import annotations

import shlex
import string
from pathlib import Path
from random import Random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from seq2seq.cli import hydra_app
from seq2seq.cli.overrides import PATHS, as_override, retyped, shown
from seq2seq.config.instantiate import plain
from seq2seq.errors import UserError

NAMES = [
    *("ü", "中文", "a=b", "a,b", "a#b", "a(b", "par(1)", "a[1]", "[1]"),
    *("{x", "{x: 1}", "~", "~x", "a~", "a'b", 'a"b', "'", '"'),
    *("a b", " a", "a ", "$HOME", "${x}", "${", "a${oc.env:HOME}", "\\${x}"),
    *("\\\\${x", "50%", "a:b", "a!b", "a&b", "-x", "--m"),
    *("a\\", "a\\'b", "a\\\\'", "a|b", "a;b", "a<b>", "a*b?", "a@b"),
    *("a^b", "a`b", "12", "1e3", "true", "None", "a\tb", "\n"),
    *("choice(1,2)", "glob(*)", "'quoted'", '"quoted"', "'a','b'"),
    *("...", "???", "=", "==", "a//b", "\x01", "😀", "\u2028"),
]  # fmt: skip


def compose_typed(command_name: str, *arguments: str) -> DictConfig:
    """Compose the config of a command from typed arguments."""
    (config,) = hydra_app.compose(command_name, [as_override(word, command_name) for word in arguments])
    return config


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("seed=2", "++seed=2"),
        ("encoder.layers=2", "++encoder.layers=2"),
        ("attention=local", "attention=local"),
        ("attention/score=additive", "attention/score=additive"),
        ("self_attention@encoder_self=multi_head", "self_attention@encoder_self=multi_head"),
        ("+experiment=x", "+experiment=x"),
        ("~logger", "~logger"),
        ("hydra.run.dir=/tmp/x=y", "hydra.run.dir='/tmp/x=y'"),
        ("hydra.run.dir=runs/${now:%Y}", "hydra.run.dir=runs/${now:%Y}"),
        ("--multirun", "--multirun"),
        ("model.dim=[1,2", "++model.dim='[1,2'"),  # unreadable text is a string, which the check refuses
        ("model.dim=${encoder.dim}", "++model.dim=${encoder.dim}"),
    ],
)
def test_typed_options_are_converted_to_the_grammar_of_hydra(typed: str, meant: str) -> None:
    assert as_override(typed) == meant


def value(argument: str, command_name: str, *, sweeps: bool = False) -> object:
    """Return the value of an option after Hydra's grammar and OmegaConf's interpolations."""
    override = OverridesParser.create().parse_override(as_override(argument, command_name, sweeps=sweeps))
    return plain(OmegaConf.create({"option": override.value()}))["option"]


@pytest.mark.parametrize("key", ["checkpoint", "input", "output", "alignments", "plots"])
def test_a_path_keeps_all_its_characters(key: str) -> None:
    for name in NAMES:
        assert value(f"{key}=/x/{name}/y", "generate") == f"/x/{name}/y"


def test_random_paths_keep_all_their_characters() -> None:
    random = Random(0)
    characters = string.printable + "üß中\u00a0\u2028😀" + "\\'\"${}[]()=,~#" * 3
    for _ in range(300):
        path = "/" + "".join(random.choices(characters, k=random.randint(1, 12)))
        assert value(f"checkpoint={path}", "evaluate") == path


@pytest.mark.parametrize("command_name", list(PATHS))
def test_every_path_option_of_every_command_keeps_special_characters(command_name: str) -> None:
    for key in PATHS[command_name]:
        assert value(f"{key.replace('*', 'name')}=/a=b,[ü]", command_name) == "/a=b,[ü]"


def test_composition_keeps_special_characters_of_paths() -> None:
    config = compose_typed("train", "data.cache=/a=b,[ü]/${x}", "data=parallel_text", "data.path=~x'y\"")
    assert (config.data.cache, config.data.path) == ("/a=b,[ü]/${x}", "~x'y\"")


def test_an_existing_file_takes_precedence_over_the_grammar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("'a'", "~", "[b,c]", "choice(d)", "e,f"):
        assert as_override(f"runs={name}", "compare", sweeps=True) != as_override(f"runs=/{name}", "compare")
        (tmp_path / name).mkdir()
        assert value(f"runs={name}", "compare", sweeps=True) == name


def test_a_tilde_is_the_home_directory_unless_a_folder_is_named_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ü=1")
    assert value("checkpoint=~/run", "generate") == "/home/ü=1/run"
    (tmp_path / "~").mkdir()
    assert value("checkpoint=~/run", "generate") == "~/run"


@pytest.mark.parametrize(
    ("typed", "paths"),
    [
        ("runs=[a=b,ü/c,'d,e']", ["a=b", "ü/c", "d,e"]),
        ("runs=a=b", "a=b"),
        ("references=[x#1,y]", ["x#1", "y"]),
        ("runs='it''s'", "'it''s'"),  # not a quoted value in the grammar
        ("runs='a b'", "a b"),
        ("sources=null", None),
    ],
)
def test_lists_and_quotes_are_read(typed: str, paths: object) -> None:
    assert value(typed, "compare") == paths


def test_a_sweep_over_paths_has_a_job_for_each_path() -> None:
    typed = [as_override(word, "evaluate", sweeps=True) for word in ("checkpoint=a=1,b(2)", "split=test,valid")]
    jobs = list(hydra_app.compose("evaluate", typed))
    assert [(job.checkpoint, job.split) for job in jobs] == [
        *(("a=1", "test"), ("a=1", "valid"), ("b(2)", "test"), ("b(2)", "valid"))
    ]


def test_a_run_directory_with_an_interpolation_in_its_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "${x}").mkdir()
    for path in (tmp_path / "${x}", tmp_path / "a${"):
        with pytest.raises(UserError, match=r"^hydra\.run\.dir=.*can't have \$\{ in its name"):
            as_override(f"hydra.run.dir={path}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("++seed='1,' can't be read; write", "seed='1,' can't be read; write"),
        ("#0 : attention=local ++seed=1 ++a.b=2", "#0 : attention=local seed=1 a.b=2"),
        ("job 1 (++a=1)", "job 1 (a=1)"),
        ("c++ and a++b", "c++ and a++b"),
    ],
)
def test_messages_hide_plus_signs_that_the_user_did_not_type(text: str, found: str) -> None:
    assert shown(text) == found


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("train", "schedule=cosine", "lr_scheduler=cosine"),
        ("train", "schedule.warmup_steps=3", "++lr_scheduler.warmup_steps=3"),
        ("train", "training.start_from=RUN", "++training.init_from='RUN'"),
        ("train", "loss.start.coverage=0.5", "++loss.start_at.coverage=0.5"),
        ("train", "training.plots=0", "++training.num_plots=0"),
        ("train", "+training.plots_every=2", "+training.plots_every=2"),
        ("train", "encoder=clip", "encoder=video"),
        ("evaluate", "plots=2", "++num_plots=2"),
        ("generate", "plots=DIR", "++plots='DIR'"),
        ("compare", "examples=3", "++examples=3"),
    ],
)
def test_old_names_of_options_are_translated_with_a_warning(
    command: str, typed: str, meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert as_override(typed, command) == meant
    renamed = typed.lstrip("+").partition("=")[0] != meant.lstrip("+").partition("=")[0] or typed == "encoder=clip"
    assert ("is called" in caplog.text) == renamed


@pytest.mark.parametrize(
    "typed",
    [
        ["model=rnn", "seed=2", "data=parallel_text", "data.path=/tmp/a-b/c_d.e", "training.metrics=[bleu,chrf]"],
        *([f"data.path=/tmp/{name}/x"] for name in NAMES if "\n" not in name),
    ],
)
def test_stored_overrides_can_be_typed_again(typed: list[str]) -> None:
    kept = [as_override(word) for word in typed]
    words = shlex.split(" ".join(retyped(kept)))
    assert [as_override(word) for word in words] == kept
    if len(typed) > 1:
        assert words == typed


def test_excluded_options_are_not_typed_again() -> None:
    kept = ["++data.tokenizer.vocab_size=100", "model=rnn", "++training.init_from='runs/a'", "++seed=1"]
    assert retyped(kept, without=("data.tokenizer.vocab_size", "training.init_from")) == ["model=rnn", "seed=1"]
