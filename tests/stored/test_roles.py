"""Tests of the classes that a config may name at each key, and of the roles that a new config file adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2seq.config.extensions import trusting
from seq2seq.errors import UserError
from seq2seq.stored.config import opened
from seq2seq.stored.roles import Roles, check, roles


@pytest.mark.parametrize(
    ("path", "name", "allowed"),
    [
        ("encoder", "seq2seq.encoders.rnn.RNNEncoder", True),
        ("encoder.words", "seq2seq.encoders.rnn.RNNEncoder", True),
        ("encoder.frames", "seq2seq.encoders.cnn.CNNEncoder", True),
        ("decoder", "seq2seq.encoders.rnn.RNNEncoder", False),
        ("decoder.attention", "seq2seq.attention.composed.ComposedAttention", True),
        ("decoder.attention.score", "seq2seq.attention.components.scores.Dot", True),
        ("decoder.attention.window", "seq2seq.attention.components.scores.Dot", False),
        ("decoder.self_attention", "seq2seq.attention.components.relative_positions.RelativeAttention", True),
        ("decoder.attention", "seq2seq.attention.components.relative_positions.RelativeAttention", False),
        ("encoder_self.feature_map", "seq2seq.attention.components.feature_maps.Favor", True),
        ("data.reader", "seq2seq.data.readers.hub.HubReader", True),
        ("data.reader", "seq2seq.data.text.TextCorpus", False),
        ("training.decoding", "seq2seq.search.Beam", True),
        ("optimizer", "torch.optim.RAdam", True),
        ("optimizer", "torch.optim.lr_scheduler.StepLR", False),
        ("model", "seq2seq.encoders.rnn.RNNEncoder", False),
        ("logger.csv", "seq2seq.training.csv_logger.CSVLogger", True),
        ("logger.csv", "lightning.pytorch.loggers.WandbLogger", False),
    ],
)
def test_a_class_is_allowed_only_at_its_keys(path: str, name: str, allowed: bool) -> None:
    assert (name in roles().of(path)[0]) is allowed


def test_a_class_is_allowed_by_a_new_config_file(tmp_path: Path) -> None:
    (tmp_path / "attention" / "score").mkdir(parents=True)
    (tmp_path / "train.yaml").write_text("defaults:\n  - attention: mine\ndecoder:\n  attention: ${attention}\n")
    (tmp_path / "attention" / "mine.yaml").write_text("defaults:\n  - score: own\n_target_: own.Mechanism\n")
    (tmp_path / "attention" / "score" / "own.yaml").write_text("_target_: own.Score\n_partial_: true\n")
    found = Roles((file.relative_to(tmp_path), file) for file in tmp_path.rglob("*.yaml"))
    assert found.of("attention") == found.of("decoder.attention") == ({"own.Mechanism"}, False)
    assert found.of("decoder.attention.score") == ({"own.Score"}, True)
    assert found.of("decoder") == (set(), False)


def test_a_stored_config_can_t_trust_a_package() -> None:
    config = {"trust": ["yaml"], "encoder": {"_target_": "yaml.Loader", "_partial_": True}}
    with pytest.raises(UserError, match=r"^x: encoder\._target_=yaml\.Loader is refused"):
        opened(config, "x")
    with trusting("yaml"):
        assert opened(config, "x") == config


def test_trust_in_a_package_opens_no_door_for_others() -> None:
    with trusting("yaml"):
        check({"encoder": {"gate": {"_target_": "yaml.Loader"}, "_target_": "yaml.Loader", "_partial_": True}}, "x")
        for name in ("os.system", "seq2seq.loss.Criterion", "yaml2.Loader"):
            with pytest.raises(UserError, match=r"^x: decoder\._target_="):
                check({"decoder": {"_target_": name}}, "x")
        with pytest.raises(UserError, match=r"^x: loss\._partial_=True is refused"):
            check({"loss": {"_target_": "yaml.Loader", "_partial_": True}}, "x")


def test_a_refusal_names_the_key_and_the_class() -> None:
    with pytest.raises(UserError, match=r"^file: decoder\._target_=os\.system is refused: no file of conf/ names it"):
        check({"decoder": {"_target_": "os.system"}}, "file")
    with pytest.raises(UserError, match=r"loss\._partial_=True is refused: it must be false there"):
        check({"loss": {"_target_": "seq2seq.loss.Criterion", "_partial_": True}}, "file")
