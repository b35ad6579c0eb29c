"""Tests of objects built from configs, and of options that are refused before a run starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any, Literal

import pytest
import torch
from omegaconf import OmegaConf

from seq2seq.attention.composed import ComposedAttention
from seq2seq.config.instantiate import CONF, Factory, build_node, build_tool, locate, signature_of
from seq2seq.config.validate import check, check_nodes, check_options, describe, fits, suggest
from seq2seq.encoders.rnn import RNNEncoder
from seq2seq.errors import OptionError, UserError
from seq2seq.loss import Criterion

LOSS = {"_target_": "seq2seq.loss.Criterion", "label_smoothing": 0.1}
ENCODER = {
    "_target_": "seq2seq.encoders.rnn.RNNEncoder",
    "_partial_": True,
    "dim": "${model.dim}",
    "embedding_dim": 4,
    "cell": "gru",
}


def test_a_node_becomes_the_object_it_describes() -> None:
    criterion = build_node(LOSS)
    assert isinstance(criterion, Criterion)
    assert criterion.label_smoothing == 0.1


def test_a_partial_node_takes_arguments_and_values_of_the_whole_config() -> None:
    config = OmegaConf.create({"model": {"dim": 6}, "encoder": ENCODER})
    assert isinstance(build_node(config.encoder), Factory)
    encoder = build_node(config.encoder, 11)
    assert isinstance(encoder, RNNEncoder)
    assert encoder.final_dim == 6


def test_nested_nodes_are_built_first() -> None:
    parts = {part: {"_target_": f"{PACKAGE}.{where}", "_partial_": True} for part, where in PARTS.items()}
    attention = build_node({"_target_": "seq2seq.attention.composed.ComposedAttention", "_partial_": True, **parts})
    assert attention.target is ComposedAttention
    assert isinstance(attention.options["score"], Factory)


PACKAGE = "seq2seq.attention.components"
PARTS = {"score": "scores.Dot", "window": "windows.Global", "normalizer": "normalizers.Softmax"}


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "seq2seq.checkpoint.torch.load",  # reached through the package, but not defined in it
        "seq2seq.config.instantiate.importlib.import_module",
        "seq2seq.config.instantiate.inspect.signature",
        "seq2seq.config.instantiate.TOOLS",  # neither class nor function
        "seq2seq_evil.Model",
        "torch.optim.AdamW",  # a tool, but models have only classes of this package
    ],
)
def test_targets_outside_this_package_are_refused(target: str) -> None:
    with pytest.raises(UserError, match=r"refused|does not exist"):
        build_node({"_target_": target})


def test_a_refused_module_is_not_even_imported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"trap\.Model is refused"):
        build_node({"_target_": "trap.Model"})


def test_tools_are_built_only_as_tools() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_tool({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5}, [parameter])
    assert optimizer.param_groups[0]["lr"] == 0.5
    with pytest.raises(UserError, match="refused"):
        build_tool({"_target_": "torch.optim.lr_scheduler.LambdaLR", "lr_lambda": "x"})


def test_errors_of_a_constructor_are_user_errors() -> None:
    with pytest.raises(UserError, match=r"^label_smoothing=2\.0 must lie in"):
        build_node({**LOSS, "label_smoothing": 2.0})
    with pytest.raises(UserError, match="Criterion:"):
        build_node({**LOSS, "nonsense": 1})


def test_errors_of_a_part_name_the_options_of_its_mechanism() -> None:
    """A part gets ``heads`` from its mechanism, so the error names the option of the mechanism."""

    class Part:
        def __init__(self, heads: int, *, width: int) -> None:
            raise UserError(f"width={width} must be odd" if width % 2 == 0 else f"heads={heads} must be at least 2")

    class Mechanism:
        def __init__(self, query_dim: int, *, heads: int, part: Callable[..., Part]) -> None:
            part(heads)

    def build(width: int) -> None:
        part = Factory(Part, {"width": width}, "attention.part", {"width": "attention.part.width"})
        keys = {"heads": "model.heads", "part": "attention.part"}
        Factory(Mechanism, {"heads": 1, "part": part}, "attention", keys)(8)

    with pytest.raises(OptionError, match=r"^model\.heads=1 must be at least 2$"):
        build(3)
    with pytest.raises(OptionError, match=r"^attention\.part\.width=2 must be odd$"):
        build(2)


def test_missing_values_are_named() -> None:
    with pytest.raises(UserError, match=r"loss\.label_smoothing"):
        build_node(OmegaConf.create({"loss": {**LOSS, "label_smoothing": "???"}}).loss)


def test_unknown_targets_are_reported() -> None:
    with pytest.raises(UserError, match=r"seq2seq\.loss\.Criterium does not exist"):
        locate("seq2seq.loss.Criterium")


RUN = {"loss": LOSS, "model": {"dim": 6}, "encoder": ENCODER, "seed": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"loss.label_smothing": 0.2},
            r"loss\.label_smothing: Criterion has no .*did you mean label_smoothing\?",
        ),
        ({"loss.label_smoothing": "much"}, r"loss\.label_smoothing=much: must be float"),
        ({"loss.label_smoothing": None}, r"loss\.label_smoothing=None: must be float"),
        ({"encoder.layers": 1.5}, r"encoder\.layers=1\.5: must be int"),
        ({"encoder.bidirectional": "yes please"}, "must be bool"),
        ({"sed": 1}, r"unknown option sed; did you mean seed\?; there are: .*loss"),
        ({"encoder._target_": "os.system"}, "refused"),
        ({"encoder.embedding_dim": "???"}, r"encoder\.embedding_dim: required, but not set"),
        (
            {"self_attention": {"_target_": "seq2seq.attention.composed.ComposedAttention"}},
            "self_attention has no effect here",
        ),
        ({"encoder.dim": "${model.dmi}"}, "dmi"),
    ],
)
def test_options_that_a_run_cannot_use_are_refused(change: dict[str, Any], message: str) -> None:
    config = OmegaConf.create(RUN)
    check(config, keys=[*RUN, "self_attention"])
    for key, value in change.items():
        OmegaConf.update(config, key, value, force_add=True)
    with pytest.raises(UserError, match=message) as caught:
        check(config, keys=[*RUN, "self_attention"])
    assert "\n" not in str(caught.value)


def test_a_typed_size_that_nothing_reads_is_refused() -> None:
    config = OmegaConf.create({**RUN, "model": {"dim": 6, "heads": 4}})
    check(config, keys=RUN)  # a default may be unused
    check(config, keys=RUN, typed=["model.dim"])
    with pytest.raises(UserError, match=r"model\.heads has no effect"):
        check(config, keys=RUN, typed=["model.heads"])


class Base:
    def __init__(self, width: int, kind: Literal["a", "b"] = "a") -> None: ...


class Derived(Base):
    def __init__(self, *, depth: int = 1, **options: Any) -> None:
        super().__init__(**options)


def test_all_options_of_our_components_have_types() -> None:
    named = (re.findall(r"_target_: (seq2seq\S+)", file.read_text(encoding="utf-8")) for file in CONF.rglob("*.yaml"))
    targets = sorted(set(chain.from_iterable(named)))
    assert "seq2seq.search.Beam" in targets
    for target in targets:
        for name, one in signature_of(target, tools=True).parameters.items():
            assert one.hint is not Any, f"{target}: {name}"


def test_an_inherited_option_of_a_dataclass_is_checked_against_its_type() -> None:
    with pytest.raises(UserError, match=r"^decoding\.max_length=x: must be one of int at least 1, null$"):
        check_nodes("decoding", {"_target_": "seq2seq.search.Beam", "max_length": "x"})


def test_options_passed_to_a_base_class_are_known() -> None:
    check_options("x", {"depth": 2, "width": 3, "kind": "b"}, Derived)
    with pytest.raises(UserError, match="one of a, b"):
        check_options("x", {"kind": "c"}, Derived)
    with pytest.raises(UserError, match=r"x\.widht.*did you mean width"):
        check_options("x", {"widht": 2}, Derived)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, True),
        (True, int, False),
        (True, float, False),
        (None, int | None, True),
        ("x", int | None, False),
        ([1, 2], list[int], True),
        ([1, "x"], list[int], False),
        ([0.9, 0.98], tuple[float, float], True),
        ("0.9", list[float], False),
        ("abc", float | torch.Tensor, False),
        ({"a": 1}, dict[str, int], True),
        ({"_target_": "x"}, torch.nn.Module, True),
    ],
)
def test_values_fit_types(value: Any, hint: Any, expected: bool) -> None:
    assert fits(value, hint) is expected


def test_types_are_described_by_their_choices() -> None:
    assert describe(Literal["lstm", "gru"] | None) == "one of lstm, gru, null"
    assert describe(int) == "int"


@pytest.mark.parametrize(
    ("typed", "known", "suggested"),
    [
        ("cvs", ["csv", "tensorboard", "wandb"], "csv"),  # neighbours exchanged
        ("gup", ["auto", "cpu", "ddp", "gpu"], "gpu"),
        ("csb", ["csv", "wandb"], "csv"),  # a wrong letter
        ("rn", ["rnn", "transformer"], "rnn"),
        ("loca", ["location", "local"], "local"),  # a missing letter comes before a prefix
        ("greddy", ["beam", "greedy", "sample"], "greedy"),
        ("trans", ["rnn", "transformer"], "transformer"),
        ("lr", ["rl", "eps"], None),  # too short to tell
        ("word", ["char", "bpe"], None),
    ],
)
def test_a_slip_in_a_name_has_a_suggestion(typed: str, known: list[str], suggested: str | None) -> None:
    assert suggest(typed, known) == (f"; did you mean {suggested}?" if suggested else "")
