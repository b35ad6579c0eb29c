"""Check that errors of constructors name the key that a user types, for every component and slot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq.attention.base import SourceSpec
from seq2seq.config.instantiate import at_key, build_node, build_tool, origin
from seq2seq.errors import OptionError, UserError
from seq2seq.model import build
from tests.catalogue import WIDTH, choices, config
from tests.sampling import mostly_slow
from tests.training.conftest import composed

WRONG = (-1, 0, 3, "nonsense")
SOURCES = {"attention": SourceSpec(WIDTH, input_dim=WIDTH), "self_attention": SourceSpec(WIDTH, is_self=True)}
MECHANISMS = [(group, name) for group in SOURCES for name in choices(group)]
TOYS = ("toy_translation", "toy_summarisation", "toy_captioning", "toy_clips", "probe_copy")
ELSEWHERE = re.compile(r"\b(?:attention|self_attention|\w+coder\w*|model|data|loss|training|decoding|schedule)[./]\w+")
"""A key of the config or a choice of a group. The rest of a message has none, because layers don't know the config."""

ENCODER_SELF, DECODER_SELF = "self_attention@encoder_self", "self_attention@decoder_self"


def leaves(node: DictConfig) -> Iterator[str]:
    """Yield the keys of all options, also those of nested nodes."""
    for key, value in node.items():
        if isinstance(value, DictConfig):
            yield from (f"{key}.{below}" for below in leaves(value))
        elif not str(key).startswith("_"):
            yield str(key)


def refusals(whole: DictConfig, key: str, *args: Any, tool: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (option, message) for each wrong value below ``key`` that a constructor refuses."""
    for option in list(leaves(OmegaConf.select(whole, key))):
        changed = whole.copy()
        for value in WRONG:
            OmegaConf.update(changed, f"{key}.{option}", value)
            try:
                (build_tool if tool else build_node)(OmegaConf.select(changed, key), *args)
            except OptionError as error:
                yield f"{key}.{option}", str(error)
            except UserError as error:
                pytest.fail(f"{key}.{option}={value}: without a key: {error}")


def check(whole: DictConfig, key: str, *args: Any, tool: bool = False) -> int:
    """Check that each refusal names one key that a user can type, and return the number of refusals."""
    count, origins = 0, {origin(whole, f"{key}.{option}") for option in leaves(OmegaConf.select(whole, key))}
    for option, message in refusals(whole, key, *args, tool=tool):
        named = re.match(r"[\w.]+", message)
        assert named, message
        assert named[0] == key or named[0].startswith(f"{key}.") or named[0] in origins, f"{option}: {message}"
        parent, _, name = named[0].rpartition(".")
        assert name in (OmegaConf.select(whole, parent) if parent else whole), f"{option}: {message}"
        assert not ELSEWHERE.search(message[named.end() :]), f"{option}: {message}"
        count += 1
    return count


@pytest.mark.parametrize(("group", "name"), mostly_slow(MECHANISMS, every=8))
def test_errors_of_mechanisms_and_their_parts_name_the_key(group: str, name: str) -> None:
    assert check(config(f"{group}={name}"), group, WIDTH, SOURCES[group]) > 0


@pytest.mark.parametrize("name", mostly_slow(choices("attention/window"), every=6))
def test_errors_of_windows_name_the_key(name: str) -> None:
    whole = config("self_attention=multi_head", f"attention/window@self_attention.window={name}")
    check(whole, "self_attention", WIDTH, SOURCES["self_attention"])


@pytest.mark.parametrize("name", choices("decoding"))
def test_errors_of_searches_name_the_key(name: str) -> None:
    assert check(composed(f"decoding={name}"), "decoding") > 0


@pytest.mark.parametrize("name", choices("lr_scheduler"))
def test_errors_of_schedules_name_the_key(name: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    assert check(composed(f"lr_scheduler={name}"), "lr_scheduler", optimizer, tool=True) > 0


@pytest.mark.parametrize("name", mostly_slow(TOYS, every=5))
def test_errors_of_data_name_the_key(name: str) -> None:
    assert check(config(f"data={name}"), "data") > 0


@pytest.mark.parametrize("key", ["loss", "training"])
def test_errors_of_loss_and_training_name_the_key(key: str) -> None:
    assert check(composed(), key) > 0


@pytest.mark.parametrize(
    ("lines", "key"),
    mostly_slow([
        (["model=rnn", "encoder.cell=x"], "encoder.cell=x"),
        (["model=rnn", "model.dim=7"], "model.dim=7"),
        (["model=rnn", "encoder.dim=7"], "encoder.dim=7"),
        (["model=rnn", "encoder.chunk=4", "encoder.overlap=4"], "encoder.overlap=4"),
        (["model=rnn", "decoder.order=x"], "decoder.order=x"),
        (["model=rnn", "decoder.bridge=x"], "decoder.bridge=x"),
        (["model=transformer", "model.norm=x"], "model.norm=x"),
        (["model=transformer", "decoder.norm=x"], "decoder.norm=x"),
        (["model=transformer", "encoder.activation=x"], "encoder.activation=x"),
        (["model=transformer", "model.heads=3"], "model.heads=3"),
        (["model=transformer", "attention.heads=3"], "attention.heads=3"),
        (["model=transformer", "default_self.heads=3"], "default_self.heads=3"),
        (["model=transformer", "self_attention=multi_head", "self_attention.heads=3"], "self_attention.heads=3"),
        (["model=transformer", f"{ENCODER_SELF}=multi_head", "encoder_self.heads=3"], "encoder_self.heads=3"),
        (["model=transformer", f"{DECODER_SELF}=multi_head", "decoder_self.heads=3"], "decoder_self.heads=3"),
        (["model=rnn", f"{DECODER_SELF}=latent", "decoder_self.absorb=x"], "decoder_self.absorb=x"),
        (["model=rnn", "encoder=document_rnn", "encoder.words.cell=x"], "encoder.words.cell=x"),
        (["model=rnn", "encoder=document_rnn", "encoder.scope=x"], "encoder.scope=x"),
        (["model=rnn", "encoder=cnn", "encoder.norm=x"], "encoder.norm=x"),
        (["model=rnn", "encoder=video", "encoder.frames.norm=x"], "encoder.frames.norm=x"),
        (["model=rnn", "attention=mocha", "attention.chunk_score.dim=0"], "attention.chunk_score.dim=0"),
        (["model=rnn", "attention=hierarchical", "attention.word.dim=0"], "attention.word.dim=0"),
        (["model=rnn", "attention/window=last", "encoder=cnn"], "attention.window: the last window"),
    ], every=4),
)  # fmt: skip
def test_errors_of_a_model_name_the_key_that_was_typed(lines: list[str], key: str) -> None:
    with pytest.raises(OptionError) as caught:
        build(config(*lines), 8, 8)
    assert str(caught.value).startswith(f"{key} "), caught.value


def test_origin_is_the_key_that_sets_an_option() -> None:
    whole = OmegaConf.create(
        {
            "model": {"dim": 4},
            "self_attention": {"heads": "${oc.select:model.heads,4}", "score": {"dim": "${model.dim}"}},
            "encoder": {
                "self_attention": "${oc.select:encoder_self,${oc.select:self_attention,null}}",
                "dim": "${model.dim}",
                "path": "a/${model.dim}",
            },
        }
    )
    expected: Mapping[str, str] = {
        "encoder": "encoder",
        "encoder.dim": "model.dim",
        "encoder.path": "encoder.path",
        "encoder.nothing": "encoder.nothing",
        "encoder.self_attention": "self_attention",
        "encoder.self_attention.heads": "self_attention.heads",  # model.heads does not exist
        "encoder.self_attention.score.dim": "model.dim",
    }
    assert {key: origin(whole, key) for key in expected} == expected
    whole.encoder_self = {"heads": 2}
    assert origin(whole, "encoder.self_attention.heads") == "encoder_self.heads"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("heads=3 must divide 8", "attention.heads=3 must divide 8"),
        ("dim=3 is odd", "model.dim=3 is odd"),
        ("weights.kl=nan must be finite", "attention.weights.kl=nan must be finite"),
        ("it needs an order in time", "attention: it needs an order in time"),
    ],
)
def test_the_key_is_put_before_a_message_once(text: str, expected: str) -> None:
    with pytest.raises(OptionError) as caught, at_key("decoder"), at_key("attention", {"dim": "model.dim"}):
        raise UserError(text)
    assert str(caught.value) == expected
