"""Tests of the gradient estimators of hard attention: their means equal an enumeration of all draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from seq2seq.attention.components import counter_rng
from seq2seq.attention.components.selections import Baseline, Credit, Estimator, Hard, SelectedWeights
from seq2seq.batch import Batch
from seq2seq.cli.hydra_app import as_override, compose
from seq2seq.config.instantiate import build_node
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.loss import Criterion, Passes, estimator_of, teacher_forced
from seq2seq.loss.reinforce import baselines, credited
from seq2seq.model import Seq2Seq, build
from seq2seq.training.options import TrainingOptions
from seq2seq.training.update import Update
from tests import seeding
from tests.catalogue import batch, model

LENGTH, PLACES, SMOOTHING = 2, 3, 0.1


def cases(*credits: Credit) -> list[Any]:
    """Return each credit with each baseline; two draws have 81 pairs, which are slow except for the last credit."""
    return [
        pytest.param(
            credit,
            baseline,
            marks=[pytest.mark.slow] if baseline == "leave_one_out" and credit != credits[-1] else [],
        )
        for credit in credits
        for baseline in get_args(Baseline)
    ]


Paths = tuple[tuple[int, ...], ...]


def hard(credit: Credit, baseline: Baseline, *overrides: str) -> tuple[Seq2Seq, Batch]:
    """Build a model that always draws, with input feeding, and a sentence of three source and two target words."""
    probe = model(*overrides, attention="hard").train()
    probe.decoder.attention.selection.soft.fill_(0.0)
    probe.decoder.attention.selection.estimator = Estimator(credit, baseline, 2 if baseline == "leave_one_out" else 1)
    return probe, batch(sources=(PLACES,), targets=(LENGTH,))


def criterion() -> Criterion:
    """Build the loss with REINFORCE at weight 1 and a moving baseline of 3."""
    judge = Criterion(SMOOTHING, {"reinforce": 1.0, "negative_entropy": 0.0}).double()
    judge.baseline.fill_(3.0)
    return judge


def draw(patch: pytest.MonkeyPatch, paths: Paths) -> None:
    """Make query t of draw k read position ``paths[k][t]``, until the patch ends."""

    def uniform(seed: Tensor, position: Tensor, heads: int, places: Tensor) -> Tensor:
        """Return a number near 1 at the chosen positions and near 0 elsewhere."""
        path = torch.tensor([paths[draw] for draw in seed.tolist()])
        chosen = path.gather(1, position)[:, None, :, None] == places[:, None, None, :, 0]
        return torch.where(chosen, 1 - 1e-15, 1e-15).double().expand(-1, heads, -1, -1)

    patch.setattr(counter_rng, "seeds", lambda count, device: torch.zeros(count, dtype=torch.long))
    patch.setattr(counter_rng, "uniform", uniform)


def every_draw(probe: Seq2Seq, data: Batch, patch: pytest.MonkeyPatch) -> Iterator[Passes]:
    """Yield the passes of each combination of draws."""
    count = estimator_of(probe).draws
    for paths in product(product(range(PLACES), repeat=LENGTH), repeat=count):
        draw(patch, paths)
        yield teacher_forced(probe, data)


def costs(decoded: Decoded, data: Batch) -> Tensor:
    """Return the smoothed cost of each token (T,), computed by PyTorch."""
    logits = decoded.output(decoded.features[0])
    return F.cross_entropy(logits, data.target_out[0], label_smoothing=SMOOTHING, reduction="none")


def expected_surrogate(probe: Seq2Seq, data: Batch, patch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the mean over all draws of the gradient that training uses."""
    parameters, judge, total = list(probe.parameters()), criterion(), 0.0
    means = [torch.zeros_like(parameter) for parameter in parameters]
    for passes in every_draw(probe, data, patch):
        p = sum(decoded.log_prob.sum() for decoded in passes.draws).exp().item()
        total += p
        for mean, gradient in zip(
            means, torch.autograd.grad(judge(passes, data).total, parameters, allow_unused=True), strict=True
        ):
            mean += p * (0.0 if gradient is None else gradient)
    assert total == pytest.approx(1.0)
    return means


def gradient_of(probe: Seq2Seq, data: Batch, patch: pytest.MonkeyPatch, credit: str) -> list[Tensor]:
    """Return the gradient of sum_z p(z) C(z), through all of p(z) or only through the terms that ``credit`` keeps."""
    total = torch.zeros((), dtype=torch.float64)
    probe.decoder.attention.selection.estimator = Estimator("sentence", "none")
    for passes in every_draw(probe, data, patch):
        (decoded,) = passes.draws
        log_p, cost = decoded.log_prob[0], costs(decoded, data)
        p = log_p.sum().exp()
        if credit == "all":
            total = total + p * cost.sum()
        elif credit == "token":  # the other draws are constants
            others = (log_p.sum() - log_p).exp().detach()
            total = total + (others * log_p.exp() * cost).sum()
        else:  # mean
            total = total + p.detach() * cost.sum() + p * cost.detach().mean()
    return list(torch.autograd.grad(total, list(probe.parameters())))


def largest_difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Return the largest absolute difference of any element."""
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("credit", "baseline"), cases("sentence", "to_go"))
def test_exact_estimators_are_unbiased(credit: Credit, baseline: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any baseline, their mean over all draws equals the gradient of the expected loss."""
    probe, data = hard(credit, baseline)
    ours = expected_surrogate(probe, data, monkeypatch)
    assert largest_difference(ours, gradient_of(probe, data, monkeypatch, "all")) < 1e-10
    assert Hard(credit=credit).gradient == "surrogate"


@pytest.mark.parametrize(("credit", "baseline"), cases("token", "mean"))
def test_the_bias_of_other_estimators(credit: Credit, baseline: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    """``token`` ignores the effect of a draw on later tokens; ``mean`` divides by the length. No other bias exists."""
    probe, data = hard(credit, baseline)
    ours = expected_surrogate(probe, data, monkeypatch)
    assert largest_difference(ours, gradient_of(probe, data, monkeypatch, credit)) < 1e-10
    assert largest_difference(ours, gradient_of(probe, data, monkeypatch, "all")) > 1e-4
    assert Hard(credit=credit).gradient == "biased"


def test_token_credit_is_exact_without_input_feeding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without input feeding a draw changes only the cost of its token."""
    probe, data = hard("token", "soft", "decoder.input_feeding=false", "model=rnn")
    ours = expected_surrogate(probe, data, monkeypatch)
    assert largest_difference(ours, gradient_of(probe, data, monkeypatch, "all")) < 1e-10


def test_credit_by_hand() -> None:
    cost, mask = torch.tensor([[1.0, 2.0, 3.0], [4.0, 6.0, 9.0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()
    for credit, expected in {
        "sentence": [[6, 6, 6], [10, 10, 10]],
        "to_go": [[6, 5, 3], [10, 6, 0]],
        "token": [[1, 2, 3], [4, 6, 0]],
        "mean": [[2, 2, 2], [5, 5, 5]],
    }.items():
        assert credited(cost, credit, mask).tolist() == expected


def test_the_variance_of_the_advantage_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """With token credit and a moving baseline, it equals the number of tokens times the variance of their costs."""
    probe, data = hard("token", "moving")
    draw(monkeypatch, ((0, 1),))
    passes = teacher_forced(probe, data)
    found = costs(passes.draws[0], data)
    logged = criterion()(passes, data).logged["reinforce_variance"]
    assert float(logged) == pytest.approx(len(found) * float(found.detach().var(correction=0)))


def test_the_baseline_of_each_draw() -> None:
    """Leave-one-out is the mean of the other draws. A soft pass without a reference is its own baseline."""
    drawn = [torch.tensor([[x]]) for x in (1.0, 2.0, 6.0)]
    left_out = baselines(drawn, None, Estimator("sentence", "leave_one_out", 3))
    assert [float(baseline) for baseline in left_out] == [4.0, 3.5, 1.5]
    assert baselines(drawn, None, Estimator()) == [None] * 3
    for baseline in ("soft", "self_critical", "leave_one_out"):
        assert baselines(drawn[:1], None, Estimator("sentence", baseline, 3)) == drawn[:1]
    assert baselines(drawn[:1], drawn[2], Estimator("sentence", "soft")) == [drawn[2]]


@pytest.mark.parametrize("family", ["rnn", "transformer"])
def test_all_passes_have_the_same_dropout_masks(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one-hot attention, the drawn, likeliest and expected positions agree, so that all passes must be equal."""
    data, original = batch(), Hard.drawn

    def drawn(*args: Any) -> SelectedWeights:
        """Draw, and report a log-probability that isn't 0."""
        selected = original(*args)
        return replace(selected, log_prob=selected.log_prob - 1.0)  # with 0 it would count as a soft pass

    monkeypatch.setattr(Hard, "drawn", drawn)
    for baseline in ("soft", "self_critical"):
        probe = model(f"model={family}", "model.dropout=0.4", attention="hard").train()
        for selection in probe.modules():
            if isinstance(selection, Hard):
                selection.soft.fill_(0.0)
                selection.estimator = Estimator("to_go", baseline, 3)
        for layer in range(2 if family == "transformer" else 1):
            score = probe.decoder.cross_attention(layer).score
            score.vector.data.mul_(1e6)
        passes = teacher_forced(probe, data)
        first = passes.draws[0].features
        others = [*passes.draws[1:], passes.reference]
        assert len(others) == 3
        assert not passes.reference.features.requires_grad
        for decoded in others:
            torch.testing.assert_close(decoded.features, first)
        assert not torch.allclose(teacher_forced(probe, data).draws[0].features, first)


@pytest.mark.parametrize(
    ("estimator", "soft", "count"),
    [
        (Estimator("token", "moving"), 0.0, 1),
        (Estimator("token", "none"), 0.0, 1),
        (Estimator("token", "soft"), 0.0, 2),
        (Estimator("token", "self_critical"), 0.0, 2),
        (Estimator("token", "leave_one_out", 3), 0.0, 3),
        (Estimator("token", "soft", 3), 0.0, 4),
        (Estimator("token", "soft", 3), 1.0, 1),  # nothing is drawn
    ],
    ids=str,
)
def test_number_of_passes(estimator: Estimator, soft: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are only as many passes as needed, over one encoding; later random numbers don't depend on the number."""
    probe, data = hard("token", "none")
    selection = probe.decoder.attention.selection
    selection.soft.fill_(soft)
    selection.estimator = estimator
    calls = []
    for part, name in ((probe.encoder, "encoder"), (probe.decoder, "decoder")):
        part.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    seeding.seed(1)
    passes = teacher_forced(probe, data)
    after = torch.rand(())
    seeding.seed(1)
    probe(data)
    assert torch.rand(()) == after
    assert calls[:-2] == ["encoder", *["decoder"] * count]
    assert len(passes.draws) == (estimator.draws if soft == 0 else 1)
    assert (passes.reference is not None) == (count > len(passes.draws))
    assert selection.reading == "sample" and selection.draw_index == 0


def test_the_loss_is_the_mean_over_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, data = hard("sentence", "leave_one_out")
    judge = Criterion(SMOOTHING, {"reinforce": 0.5, "negative_entropy": 0.25}).double()
    passes = teacher_forced(probe, data)
    losses, each = judge(passes, data), [costs(decoded, data).sum() for decoded in passes.draws]
    log_p = [decoded.log_prob.sum() for decoded in passes.draws]
    term = ((each[0] - each[1]) * log_p[0] + (each[1] - each[0]) * log_p[1]) / 2
    entropy = sum(decoded.penalties["negative_entropy"].sum() for decoded in passes.draws) / 2
    torch.testing.assert_close(losses.terms["reinforce"], term)
    torch.testing.assert_close(losses.total, sum(each) / 2 + 0.5 * term + 0.25 * entropy)
    assert losses.tokens == data.target_tokens
    assert losses.costs is None


def test_draws_of_one_batch_have_neighbouring_seeds() -> None:
    selection = Hard()
    states = []
    for selection.draw_index in range(3):
        torch.manual_seed(5)
        states.append(selection.initial_state(2, torch.device("cpu"))["seed"])
    assert [(state - states[0]).tolist() for state in states] == [[0, 0], [1, 1], [2, 2]]


def test_refusals() -> None:
    for options, message in (
        ({"credit": "word"}, r"^credit=word is unknown; choose sentence, to_go, token, mean"),
        ({"baseline": "best"}, r"^baseline=best is unknown"),
        ({"baseline": "leave_one_out"}, r"^draws=1 leaves no other draw .* draws=2"),
        ({"draws": 0}, r"^draws=0 must be at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            Hard(**options)
    probe, _ = hard("token", "soft")
    probe.encoder.drawing = Hard(credit="token", baseline="soft")
    with pytest.raises(UserError, match=r"samples of an encoder belong to no target token"):
        Criterion().check_model(probe)
    probe.encoder.drawing = Hard()
    with pytest.raises(UserError, match=r"must be the same in all of them; there are Estimator.*, Estimator"):
        Criterion().check_model(probe)
    assert estimator_of(model()) == Estimator()


def test_xus_variant_and_old_configs_keep_their_estimators() -> None:
    """Xu: half of the passes are soft; the advantage is 0.1 times (mean cost of the sentence - its moving mean)."""
    (config,) = compose("train", [as_override("experiment=xu2015_hard")])
    xu = build_node(config.attention.selection)()
    assert xu.estimator == Estimator("mean", "moving", 1)
    assert (xu.ends, xu.temperature) == ((0.5, 0.5), 1.0)
    assert dict(config.loss.weights) | {"reinforce": 0.1, "negative_entropy": 0.002} == dict(config.loss.weights)
    old = build_node(OmegaConf.create({"_target_": f"{Hard.__module__}.Hard", "_partial_": True, "soft": 0.25}))()
    assert old.estimator == Estimator("sentence", "moving", 1)
    assert (old.ends, old.soft, old.state_dict()) == ((0.25, 0.25), 0.25, {})


def test_micro_batches_add_up() -> None:
    """The gradients of micro-batches sum to that of the update, also with several draws of each target."""
    probe = model(attention="hard").train()
    selection = probe.decoder.attention.selection
    selection.soft.fill_(0.0)
    selection.estimator = Estimator("to_go", "leave_one_out", 3)
    judge, parts = criterion(), [batch(), batch(sources=(3, 4), targets=(5, 2))]
    update = Update(probe, judge, TrainingOptions())
    seeding.seed(4)
    for part in parts:
        update.loss(part, 0).backward()
    seeding.seed(4)
    total = sum(judge(teacher_forced(probe, part), part).total for part in parts)
    for parameter, gradient in zip(
        probe.parameters(), torch.autograd.grad(total, list(probe.parameters())), strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient)


def trained(folder: Path) -> tuple[Seq2Seq, Batch]:
    """Train an RNN for 100 updates with soft attention; return it with a batch of sentences of several lengths.

    There is no dropout. Embeddings are not scaled, so that attention is still flat and a draw costs about as much as a
    soft pass (1.81 and 1.73 nats a token).
    """
    (config,) = compose(
        "train",
        [
            as_override(option)
            for option in (
                *("attention=hard", "data=probe_insert", "data.reader.train=400", "data.reader.lengths=[4,12]"),
                *("model.dim=48", "model.embedding_dim=32", "model.dropout=0", f"data.cache={folder}"),
                *("encoder.scale_embedding=false", "decoder.scale_embedding=false"),
            )
        ],
    )
    corpus = build_node(config.data)
    seeding.seed(0)
    probe, judge = build(config, *corpus.codec.sizes).train(), build_node(config.loss)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3)
    updates = 0
    while updates < 100:
        for data in corpus.train_loader(1, updates):
            losses = judge(teacher_forced(probe, data), data)
            optimizer.zero_grad()
            (losses.total / losses.tokens).backward()
            optimizer.step()
            updates += 1
    probe.decoder.attention.selection.soft.fill_(0.0)
    return probe, data


@pytest.mark.slow
def test_signal_to_noise(tmp_path: Path) -> None:
    """|mean| / sqrt(E |g - mean|^2) of the gradient g of the score, over 60 draws.

    The ratio is higher if a draw is credited only with costs that it can change.
    """
    probe, data = trained(tmp_path)
    selection, parameters = probe.decoder.attention.selection, list(probe.decoder.attention.score.parameters())
    judge = Criterion(SMOOTHING, {"reinforce": 1.0, "negative_entropy": 0.0})

    def ratio(credit: Credit, baseline: Baseline) -> float:
        """Return the ratio of one estimator."""
        selection.estimator = Estimator(credit, baseline)
        seeding.seed(0)
        gradients: Any = []
        for _ in range(60):
            losses = judge(teacher_forced(probe, data), data)
            if losses.costs is not None:  # the best value of a moving mean
                judge.baseline.copy_(losses.costs[0] / losses.costs[1])
            parts = torch.autograd.grad(losses.terms["reinforce"], parameters)
            gradients.append(torch.cat([part.flatten() for part in parts]))
        gradients = torch.stack(gradients[1:])
        mean = gradients.mean(0)
        return float(mean.norm() / (gradients - mean).square().sum(1).mean().sqrt())

    ratios = [ratio(*pair) for pair in (("token", "soft"), ("to_go", "soft"), ("sentence", "soft"))]
    ratios.append(ratio("sentence", "moving"))
    assert all(better > 1.1 * worse for better, worse in pairwise(ratios)), ratios
    assert ratios[0] > 4 * ratios[-1]
