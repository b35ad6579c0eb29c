"""Tests of runs with a sparse output layer: their figures, what they refuse, and comparisons with softmax."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.cli import hydra_app, train
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import batches, likelihood
from seq2seq.generation.generator import TrainedModel
from seq2seq.loss import Criterion, teacher_forced
from seq2seq.model import build
from seq2seq.run_directory import results
from tests.conftest import TINY

SPARSE = ["decoder/output=entmax15", "training.faithfulness_examples=3"]


def composed(*options: str) -> Any:
    """Return the config of a tiny run."""
    (config,) = hydra_app.compose("train", [hydra_app.as_override(option) for option in (*TINY, *options)])
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished run."""
    folder = tmp_path_factory.mktemp("sparse")
    train.train(composed(*SPARSE, f"data.cache={folder / 'cache'}"), folder / "run")
    return folder / "run"


def metrics_of(run: Path) -> Mapping[str, Any]:
    """Return the figures of the test split."""
    found = results(run)
    assert found is not None
    figures: Mapping[str, Any] = found["test"]
    return figures


def test_the_loss_takes_the_place_of_nats(run: Path) -> None:
    figures = metrics_of(run)
    assert {"loss_entmax15", "accuracy", "support_size", "zero_probability"} <= figures.keys()
    increases = {f"loss_entmax15_increase_{name}" for name in ("uniform", "permuted", "frozen", "averaged")}
    assert {*increases, "loss_entmax15_erased_attended", "flips_attended", "gradient_tau"} <= figures.keys()
    assert "p at least" in figures["flips_attended"]["signature"]  # as with softmax, because no loss is in it
    assert "p at least" not in figures["loss_entmax15_erased_attended"]["signature"]
    assert not [name for name in figures if "nll" in name or name in ("perplexity", "erased_attended")]
    # The loss selects the checkpoint, and validation reports it.
    training = (results(run) or {})["run"]["training"]
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert training["monitor"] == "loss_entmax15" and training["nll_increase_averaged"] is None
    assert float(rows[-1]["validation/loss_entmax15"]) == pytest.approx(training["best_score"])
    assert {"train/loss_entmax15", "validation/support_size", "validation/loss_entmax15_increase_averaged"} <= {
        *rows[0]
    }
    assert not [name for name in rows[0] if "nll" in name or "perplexity" in name]


def test_figures_follow_from_the_logits(run: Path) -> None:
    """The package ``entmax`` computes the loss, the support and the missed targets from the logits."""
    package = pytest.importorskip("entmax")
    trained = TrainedModel.load(run)
    with torch.no_grad():
        trained.model.decoder.output.weight.mul_(30)  # a support that is smaller than the vocabulary
    records = [
        {"source": source, "target": target} for source, target in (("they rest .", "pefona pler"), ("a", "mitram"))
    ]
    found = likelihood(trained, records, 4096)
    losses, supports, missed = [], [], []
    for batch in batches(trained, records, 4096):
        decoded = trained.model.eval()(batch)
        z, y = (part[batch.target_mask] for part in (trained.model.decoder.output(decoded.features), batch.target_out))
        p = package.entmax15(z)
        losses += package.entmax15_loss(z, y).tolist()
        supports += (p > 0).sum(1).tolist()
        missed += (p.gather(1, y[:, None]) == 0).tolist()
    size = len(losses)
    assert found["loss_entmax15"].score == pytest.approx(sum(losses) / size, rel=1e-4)
    assert found["support_size"].score == pytest.approx(sum(supports) / size)
    assert found["zero_probability"].score == pytest.approx(sum(map(sum, missed)) / size)
    assert 1 <= found["support_size"].score < 100 and found["zero_probability"].score > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["attention=hard_marginal"], "HardMarginalAttention trains with likelihoods"),
        (["attention=variational"], "VariationalAttention trains with likelihoods"),
        (["decoder.copy=true", "data.copy=true"], r"decoder\.copy=true trains with the likelihood"),
        (["training.reward=cider"], r"training\.reward=cider needs the gradient of log p"),
        (["training.monitor=perplexity"], r"training\.monitor=perplexity .* use training\.monitor=loss_entmax15"),
        (["decoder.output.alpha=3"], r"decoder\.output\.alpha=3 must lie in"),
    ],
)
def test_what_needs_likelihoods_is_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train.check(composed("decoder/output=entmax15", *options))


def test_a_value_in_place_of_the_group_names_the_group() -> None:
    with pytest.raises(UserError, match=r"decoder\.output=entmax15: must be chosen by decoder/output=CHOICE"):
        train.check(composed("decoder.output=entmax15"))


@pytest.mark.parametrize("options", [["attention=hard"], ["model=transformer", "model.embedding_dim=null"]])
def test_other_models_learn_from_the_loss(options: list[str]) -> None:
    """REINFORCE has the loss as its cost; in a Transformer the output matrix is that of the embedding."""
    own = [option for option in TINY if "transformer" not in " ".join(options) or "embedding_dim" not in option]
    own += [option for option in options if "embedding_dim" not in option]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(one) for one in (*own, "decoder/output=sparsemax")])
    torch.manual_seed(0)
    model = build(config, 9, 9)
    source = torch.tensor([[5, 6, 7, EOS], [6, EOS, PAD, PAD]])
    target = torch.tensor([[BOS, 7, 6, 5, EOS], [BOS, 6, EOS, PAD, PAD]])
    batch = Batch(source, torch.arange(2), target, 6)
    criterion = Criterion(0.1, {"reinforce": 1.0, "negative_entropy": 0.01})
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    history = []
    for _ in range(40):
        losses = criterion(teacher_forced(model, batch), batch)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        history.append(float(losses.nll))
    assert history[-1] < 0.2 * history[0]
