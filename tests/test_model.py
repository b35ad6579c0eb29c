"""Tests of ``Seq2Seq`` and ``build``: sizes, shared embeddings, alignments, and refused options."""

from __future__ import annotations

import pytest
import torch

from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq, build
from tests.attention.walk import close
from tests.catalogue import SOURCE_VOCABULARY, TARGET_VOCABULARY, batch, choices, config, model


@pytest.mark.parametrize("family", choices("model"))
@pytest.mark.parametrize("attention", ["multi_head", "local"])
def test_embedding_and_output_have_the_sizes_of_the_vocabularies(family: str, attention: str) -> None:
    probe = model(f"model={family}", f"attention={attention}")
    assert probe.encoder.embedding.table.num_embeddings == SOURCE_VOCABULARY
    assert probe.log_probs(batch()).shape == (3, 6, TARGET_VOCABULARY)
    close(probe.log_probs(batch()).exp().sum(-1), torch.ones(3, 6).double())


@pytest.mark.parametrize("family", choices("model"))
@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_embedding_tables_are_shared_according_to_the_options(family: str, tie: bool, share: bool) -> None:
    asked = {"model.tie_output": tie, "model.share_embeddings": share, "data.tokenizer.joint": True}
    overrides = [f"{option}={str(value).lower()}" for option, value in asked.items()]
    made = build(config(f"model={family}", *overrides), TARGET_VOCABULARY, TARGET_VOCABULARY)
    source, target = made.encoder.embedding.table.weight, made.decoder.embedding.table.weight
    output = made.decoder.output.weight
    assert (source is target) == share
    assert (output is target) == tie
    tables = [p for p in made.parameters() if any(p is table for table in (source, target, output))]
    assert len(tables) == 3 - tie - share
    stored = {name: tensor + 1 for name, tensor in made.state_dict().items()}
    expected = [table + 1 for table in tables]
    made.load_state_dict(stored)
    assert all(torch.equal(*pair) for pair in zip(tables, expected, strict=True))


def test_sharing_needs_one_vocabulary() -> None:
    with pytest.raises(UserError, match=r"set data\.tokenizer\.joint=true"):
        model("model=transformer", "model.share_embeddings=true")
    probe = model("model=transformer")
    with pytest.raises(UserError, match=r"the source table is \(14, 8\) and the target table \(12, 8\)"):
        Seq2Seq(probe.encoder, probe.decoder, share_embeddings=True)


@pytest.mark.parametrize("family", choices("model"))
def test_alignment_is_the_head_mean_of_the_last_layer(family: str) -> None:
    probe = model(f"model={family}", "model.layers=2", "attention=multi_head")
    weights = probe(batch(), need_weights=True).weights
    last = {"rnn": "cross.0", "transformer": "cross.1"}[family]
    alignment = probe.alignment(weights)
    close(alignment, weights[last].mean(1))
    close(alignment.sum(-1), torch.ones(3, 6).double())


def test_model_returns_weights_of_all_slots_only_on_request() -> None:
    weights = model("model=transformer", "model.layers=2")(batch(), need_weights=True).weights
    assert set(weights) == {f"{slot}.{layer}" for slot in ("cross", "encoder_self", "decoder_self") for layer in (0, 1)}
    assert not model("model=transformer")(batch()).weights


def test_error_on_learned_positions_gives_a_max_length_that_works() -> None:
    overrides = ["model=transformer", "model.positions=learned"]
    with pytest.raises(UserError, match=r"7 tokens is longer than the 6 learned positions; raise max_length"):
        model(*overrides, "model.max_length=6")(batch())
    assert model(*overrides, "model.max_length=7")(batch()).features.shape == (3, 6, 8)


@pytest.mark.parametrize("override", ["encoder.layers=0", "decoder.layers=0"])
@pytest.mark.parametrize("kind", ["rnn", "transformer"])
def test_model_without_layers_is_refused(kind: str, override: str) -> None:
    with pytest.raises(UserError, match="layers must be at least 1"):
        build(config(f"model={kind}", override), 9, 9)
