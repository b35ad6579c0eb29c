"""Check the help: complete, within its size, without Hydra, and exact for scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.cli import help as help_text
from seq2seq.cli.help_layout import by_choice, in_words, row, table
from seq2seq.cli.help_pages import PAGES
from seq2seq.config import option_text
from seq2seq.config.instantiate import CONF
from seq2seq.config.option_text import Option
from seq2seq.errors import UserError

ROOT = Path(__file__).parents[2]


def words(text: str) -> str:
    """Return a text with single spaces, so that the ends of lines do not matter."""
    return " ".join(text.split())


@pytest.mark.parametrize("command", PAGES)
def test_the_first_page_is_short_and_names_options_that_exist(command: str) -> None:
    text = help_text.answer(command, ["--help"])
    lines = text.splitlines()
    assert len(lines) < 120 and max(map(len, lines)) <= 100
    assert all(f"\n  {name}" in text for section in PAGES[command].sections for name in section.names)
    named = [name for section in PAGES[command].sections for name in section.names]
    assert len(named) == len(set(named))


def test_the_first_page_shows_defaults_purposes_and_choices() -> None:
    text = words(help_text.answer("train", ["--help"]))
    assert "model.dim=128 width of memory and decoder state" in text
    assert "attention/score=additive How a query q is compared with a position k: 10 choices" in text
    assert "decoding=beam The search for outputs: beam, exact, greedy, sample" in text
    assert "optimizer.lr peak of the learning rate (default: task.lr, else 0.003)" in text
    assert "decoding.beam_size=VALUE hypotheses per sentence" in words(help_text.answer("generate", ["--help"]))


@pytest.mark.parametrize("command", ["evaluate", "generate", "compare", "resume"])
def test_a_small_command_shows_all_its_own_options(command: str) -> None:
    text = words(help_text.answer(command, ["--help"]))
    for option in option_text.read(CONF / f"{command}.yaml").options:
        if option.key != "evaluation":
            assert option.key in text and option.comment in text


@pytest.mark.parametrize("group", option_text.groups())
def test_the_page_of_a_group_has_all_choices_and_comments_whole(group: str) -> None:
    text = words(help_text.answer("train", ["--help", group], width=80))
    own = group.replace("/", ".")
    for choice in option_text.choices(group):
        found = option_text.read(CONF / group / f"{choice}.yaml")
        assert all(comment in text for comment in found.comments)
        assert all(option.comment in text for option in found.options if option.key.startswith(f"{own}."))


def test_equations_have_their_papers() -> None:
    text = words(help_text.answer("train", ["--help", "attention"]))
    assert "additive Additive: e = v^T tanh(W s + U h) (Bahdanau 2015, arXiv:1409.0473, appendix A.1.2) For: a" in text
    assert "Attention made of a score, a window" in text and "attention.groups=null" in text


def test_a_choice_shows_the_options_of_its_parts() -> None:
    text = words(help_text.answer("train", ["--help", "attention=local"]))
    assert "attention/window=local_p" in text and "attention.window.reach D, positions to each side" in text
    recipe = words(help_text.answer("train", ["--help", "experiment=luong2015"]))
    assert "attention=local" in recipe and "Sets: model.dim=1000 width of memory and decoder state" in recipe


@pytest.mark.parametrize(
    ("topic", "start"),
    [
        ("seed", "  seed=1"),
        ("training.patience=3", "  training.patience=null"),
        ("loss", "  loss "),
        ("data.tokenizer", "Options shared by all captioning datasets"),
        ("attention.window", "Options of attention/window="),
        ("self_attention@encoder_self", "self_attention: How"),
        ("resume", "  python train.py resume=RUN"),
    ],
)
def test_a_key_shows_its_options(topic: str, start: str) -> None:
    text = help_text.answer("train", ["--help", topic])
    assert text.startswith(start)
    assert help_text.answer("train", [f"--help={topic}"]) == text
    assert help_text.answer("train", ["attention=local", "-h", topic]) == text


def test_words_before_the_flag_are_no_topics() -> None:
    assert help_text.answer("train", ["attention=local", "--help"]) == help_text.first_page("train")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("train", "--help attension", "--help attension: there is no such group or option; did you mean attention?"),
        ("train", "--help optimizer.lrr", "did you mean optimizer.lr?"),
        ("train", "--help attention=locall", "attention has no choice locall; did you mean local?; it has: adaptive,"),
        ("evaluate", "--help attention", "it is a group of train.py: python train.py --help attention"),
        ("train", "list=atention", "list=atention: there is no such group; did you mean attention?"),
        ("train", "list=attention seed=1", "list=attention lists names and does nothing else"),
        ("compare", "list=data", "list=data: there is no such group; there are: groups"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(command: str, arguments: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        help_text.answer(command, arguments.split())
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_lists_are_for_scripts() -> None:
    expected = sorted(file.stem for file in (CONF / "attention").glob("*.yaml"))
    assert help_text.answer("train", ["list=attention"]).splitlines() == expected
    assert help_text.answer("generate", ["list=groups"]) == "decoding"
    assert "attention/window" in help_text.answer("train", ["list=groups"]).splitlines()


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        (["--help"], "  python train.py"),
        (["--version"], "seq2seq-attention "),
        (["list=decoding"], "beam\nexact\ngreedy\nsample\n"),
    ],
)
def test_help_imports_neither_torch_nor_hydra(typed: list[str], start: str) -> None:
    code = f"import sys, runpy; sys.modules |= dict(torch=None, hydra=None); sys.argv = ['train.py', *{typed}]; "
    code += "runpy.run_path('train.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(start)


def test_a_refusal_is_one_line_and_a_closed_pipe_is_silent() -> None:
    command = f"{sys.executable} train.py --help atention; {sys.executable} train.py --help attention | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("train.py: --help atention: ") and done.stderr.count("\n") == 1
    assert done.stdout.count("\n") == 1


def test_installed_commands_have_their_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/seq2seq-train", "--help"])
    text = help_text.first_page("train")
    assert "seq2seq-train attention=local" in text and "train.py" not in text


def test_defaults_in_words() -> None:
    assert in_words("${model.dim}") == "model.dim"
    assert in_words("${oc.select:a.b,${oc.select:c,null}}") == "a.b, else c, else null"
    assert in_words("[1, 2]") == "[1, 2]"
    assert row(Option("a.b", "???", "what")) == ("a.b", "what (must be set)")
    assert row(Option("a.b", "class x.y.Z", "")) == ("a.b", "(class Z)")
    assert row(Option("a.b", "3", "what")) == ("a.b=3", "what")
    assert by_choice({"x": "1", "y": "1"}, 3) == "1"
    assert row(Option("a", by_choice({"x": "1", "y": "2"}, 3), "what")) == ("a", "what (by choice: 1 (x), 2 (y))")


def test_two_columns() -> None:
    pairs = [("a", "one two three four"), ("a-long-entry", "five"), ("", "six")]
    assert list(table(pairs, 48, 8)) == ["  a     one two three four", "  a-long-entry", "        five", "        six"]
    assert list(table([("a", "word " * 10)], 48, 8))[1] == "        word word"
