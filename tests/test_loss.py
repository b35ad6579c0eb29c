"""Tests of ``Criterion`` and ``likelihood``: losses and gradients compared with sums written out over tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.types import AttentionOutput, Memory, Query
from seq2seq.batch import PAD, Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.layers.output import Mixture, OutputLayer
from seq2seq.loss import Criterion, Losses, likelihood, teacher_forced_nll
from seq2seq.model import Seq2Seq
from tests.attention.walk import close, draw
from tests.catalogue import batch, choices, model, noise


def loss(criterion: Criterion, probe: nn.Module, data: Batch) -> Losses:
    """Return the losses of one teacher-forced pass."""
    return criterion(probe(data, need_weights=criterion.needs_weights), data)


every_family = pytest.mark.parametrize("family", choices("model"))


@every_family
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradient_equal_those_of_torch_cross_entropy(family: str, smoothing: float) -> None:
    probe, data = model(f"model={family}"), batch()
    losses = loss(Criterion(smoothing), probe, data)
    logits = probe.decoder.output(probe(data).features).flatten(0, 1)
    targets = data.target_out.flatten()
    total = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum", ignore_index=PAD)
    close(losses.total, total)
    close(losses.nll, -sum(row[word] for row, word in zip(logits.log_softmax(-1), targets, strict=True) if word != PAD))
    assert losses.tokens == 15
    parameters = list(probe.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(losses.total, parameters), torch.autograd.grad(total, parameters), strict=True
    ):
        close(ours, theirs)


def test_likelihood_is_unsmoothed_and_marks_correct_tokens() -> None:
    probe, data = model(), batch()
    with torch.no_grad():
        losses = teacher_forced_nll(probe, data)
    log_p = probe.log_probs(data).detach()
    correct = log_p.argmax(-1) == data.target_out
    assert torch.equal(losses.correct, correct & data.target_mask)
    log_p_targets = log_p.gather(2, data.target_out.unsqueeze(2)).squeeze(2) * data.target_mask
    close(losses.per_token, -log_p_targets)
    close(losses.nll, -log_p_targets.sum())
    assert losses.tokens == 15


@every_family
def test_loss_does_not_depend_on_padding_and_batching(family: str) -> None:
    """The loss of a batch equals the sum of the losses of its sentences, with any padding."""
    probe, data, criterion = model(f"model={family}"), batch(), Criterion(0.1)
    total = loss(criterion, probe, data).total
    wide = Batch(F.pad(data.source, (0, 3)), data.index, F.pad(data.target, (0, 2)), data.target_tokens)
    close(loss(criterion, probe, wide).total, total)
    rows = [replace(data, source=data.source[i : i + 1], target=data.target[i : i + 1]) for i in range(3)]
    close(sum(loss(criterion, probe, row).total for row in rows), total)


class Penalised(nn.Module):
    """Mechanism with two penalties: ``cost`` is 1, 2, 3, ... over the target positions, ``span`` is |query|^2."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, query: Query, *args: Any, **options: Any) -> AttentionOutput:
        attended = self.inside(query, *args, **options)
        return replace(attended, penalties={"cost": query.position.double() + 1, "span": query.vector.square().sum(-1)})

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inside"), name)


def penalised() -> Seq2Seq:
    """Return a model whose cross attention reports penalties."""
    probe = model()
    probe.decoder.attention = Penalised(probe.decoder.attention)
    return probe


def test_penalties_are_weighted_and_summed_without_padding() -> None:
    probe, data = penalised(), batch(targets=(4, 6, 5))
    plain = loss(Criterion(0.1), model(), data)
    losses = loss(Criterion(0.1, {"cost": 0.5, "span": 0.25}), probe, data)
    assert losses.terms["cost"] == sum(map(sum, ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5])))
    close(losses.total, plain.total + 0.5 * losses.terms["cost"] + 0.25 * losses.terms["span"])
    close(losses.nll, plain.nll)
    gradient: Tensor = torch.autograd.grad(losses.total - plain.total, [probe.decoder.bridge.maps[0].weight])[0]
    assert gradient.any()


def test_penalty_without_a_coefficient_is_refused() -> None:
    with pytest.raises(UserError, match=r"reports a term span; .* loss\.weights\.span=NUMBER \(there are: cost"):
        loss(Criterion(0.1, {"cost": 0.5}), penalised(), batch())


def test_term_that_starts_after_a_share_of_training() -> None:
    criterion = Criterion(0.0, {"cost": 0.5, "span": 0.25}, {"cost": 0.9})
    probe, data = penalised(), batch()
    for progress, weight in ((0.0, 0.0), (0.89, 0.0), (0.9, 0.5), (1.0, 0.5)):
        criterion.set_progress(progress, 7)
        losses = loss(criterion, probe, data)
        close(losses.total, losses.nll + weight * losses.terms["cost"] + 0.25 * losses.terms["span"])
    with pytest.raises(UserError, match=r"^start_at\.cots=0\.5 has no weights\.cots; .*there are: cost"):
        Criterion(weights={"cost": 1.0}, start_at={"cots": 0.5})
    for value in (-0.1, 1.5):
        with pytest.raises(UserError, match=rf"^start_at\.cost={value} must be a share"):
            Criterion(weights={"cost": 1.0}, start_at={"cost": value})


def test_term_that_starts_at_an_update() -> None:
    criterion = Criterion(0.0, {"cost": 0.5, "span": 0.0}, {"cost": 3000})
    criterion.has_no_end = True
    probe, data = penalised(), batch()
    for updates, weight in ((0, 0.0), (2999, 0.0), (3000, 0.5), (10**9, 0.5)):
        criterion.set_progress(0.0, updates)
        losses = loss(criterion, probe, data)
        close(losses.total, losses.nll + weight * losses.terms["cost"])


def test_doubly_stochastic_term_by_loops() -> None:
    """sum_i (1 - sum_t alpha_ti)^2 over the source words of each sentence with targets (Xu 2015, equation 14)."""
    probe, data = model(), batch(targets=(4, 0, 5))
    losses = loss(Criterion(0.0, {"doubly_stochastic": 2.0}), probe, data)
    weights = probe(data, need_weights=True).weights["cross.0"][:, 0]
    expected = 0.0
    for b, source, target in ((0, 7, 4), (2, 2, 5)):
        for i in range(source):
            expected += (1 - sum(weights[b, t, i].item() for t in range(target))) ** 2
    assert losses.terms["doubly_stochastic"].item() == pytest.approx(expected)
    close(losses.total, losses.nll + 2.0 * losses.terms["doubly_stochastic"])
    assert "doubly_stochastic" not in loss(Criterion(0.0, {"doubly_stochastic": 0.0}), probe, data).terms


def test_doubly_stochastic_is_refused_for_weights_without_a_gradient() -> None:
    criterion = Criterion(weights={"doubly_stochastic": 1.0, "reinforce": 0.1, "negative_entropy": 0.0})
    probe = model(attention="hard").train()
    with pytest.raises(UserError, match=r"needs weights with a gradient, but attention=hard samples its weights"):
        criterion.check_model(probe)
    Criterion(weights={"doubly_stochastic": 0.0}).check_model(probe)
    always_soft = model("model=rnn", "attention=hard", "attention.selection.final_soft=1").train()
    for able in (always_soft, model(attention="gumbel").train()):
        criterion.check_model(able)
        term = loss(criterion, able, batch()).terms["doubly_stochastic"]
        (gradient,) = torch.autograd.grad(term, [able.decoder.attention.score.vector])
        assert gradient.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_reinforce_with_a_baseline_by_hand(smoothing: float) -> None:
    """The term is sum (C - b) log p(z) over the sentences; d term / d log p(z) = C - b."""
    data, output = batch(targets=(2, 3)), OutputLayer(4, 12).double()
    log_prob = noise(2, 3, seed=5).requires_grad_()
    decoded = Decoded(noise(2, 3, 4), log_prob=log_prob, output=output)
    criterion = Criterion(smoothing, {"reinforce": 0.1})
    criterion.baseline.fill_(3.0)
    losses = criterion(decoded, data)
    cost = costs(output.log_probs(decoded.features), data, smoothing).tolist()
    drawn = (log_prob * data.target_mask).sum(1).tolist()
    expected = sum((c - 3.0) * p for c, p in zip(cost, drawn, strict=True))
    assert losses.terms["reinforce"].item() == pytest.approx(expected)
    assert losses.costs.tolist() == pytest.approx([sum(cost), 2])
    variance = losses.logged["reinforce_variance"] / losses.tokens
    assert variance.item() == pytest.approx(((cost[0] - cost[1]) / 2) ** 2)
    (gradient,) = torch.autograd.grad(losses.total, [log_prob])
    close(gradient, 0.1 * (torch.tensor(cost, dtype=torch.float64)[:, None] - 3.0) * data.target_mask)
    close(likelihood(decoded, data).nll, costs(output.log_probs(decoded.features), data, 0.0).sum())


def costs(log_p: Tensor, data: Batch, smoothing: float) -> Tensor:
    """Return the smoothed cross-entropy of each sentence, (B,)."""
    options = {"label_smoothing": smoothing, "ignore_index": PAD, "reduction": "none"}
    return F.cross_entropy(log_p.mT, data.target_out, **options).sum(1)


def test_word_prediction_by_hand() -> None:
    """-sum log softmax(W m + b) over the target words, where m is the mean of the memory without padding.

    Words that can only be copied are skipped.
    """
    data, output = batch(targets=(2, 3)), OutputLayer(4, 12).double()
    data = replace(data, target=data.target.clone())
    data.target[1, 2] = 15  # a word that can only be copied
    mask = torch.tensor([[True, True, False], [True, True, True]])
    memory = Memory.of(noise(2, 3, 4, seed=7), mask)
    decoded = Decoded(noise(2, 3, 4), memory=memory, output=output)
    criterion = Criterion(0.0, {"word_prediction": 0.5})
    expected = 0.0
    for row in range(2):
        mean = memory.values[row][mask[row]].mean(0)
        log_p = (output.weight @ mean + output.bias).log_softmax(0).detach()
        expected -= sum(float(log_p[word]) for word in data.target_out[row].tolist() if word != PAD and word < 12)
    losses = criterion(decoded, data)
    assert losses.terms["word_prediction"].item() == pytest.approx(expected)
    assert losses.total.item() == pytest.approx(losses.nll.item() + 0.5 * expected)
    wide = replace(decoded, memory=Memory.of(noise(2, 3, 5), mask))
    with pytest.raises(UserError, match=r"word_prediction .* takes 4 numbers, but the encoder gives 5"):
        criterion(wide, data)


def test_baseline_is_updated_once_per_update() -> None:
    """b <- 0.9 b + 0.1 mean C over the sentences of all micro-batches and processes, without filler sentences."""
    output, criterion = OutputLayer(4, 12).double(), Criterion(0.1, {"reinforce": 0.1}, baseline_decay=0.9)
    criterion.baseline.fill_(3.0)
    shares, every = [], []
    for seed, targets in enumerate(((2, 3), (4, 1), (3, 0), (0, 0, 1))):
        data = batch(targets=targets)
        if seed == 3:  # only filler sentences
            data = replace(data, target=data.target[:2])
        decoded = Decoded(noise(2, max(targets), 4, seed=seed), log_prob=noise(2, max(targets)), output=output)
        shares.append(criterion(decoded, data).costs)
        every += costs(output.log_probs(decoded.features), data, 0.1)[data.target_mask.any(1)].tolist()
    assert criterion.baseline == 3.0
    assert shares[-1].tolist() == [0, 0]
    criterion.update_baseline(shares[-1])
    criterion.update_baseline(torch.tensor([float("inf"), 2.0]))
    assert criterion.baseline == 3.0
    criterion.update_baseline(torch.stack(shares).sum(0))
    assert criterion.baseline.item() == pytest.approx(0.9 * 3.0 + 0.1 * sum(every) / 5)


def paths(probe: Seq2Seq, data: Batch, patch: pytest.MonkeyPatch) -> Iterator[Tensor]:
    """Make hard attention draw each of the S^T paths z of one sentence in turn, and yield log p(z)."""
    for path in product(range(data.source.shape[1]), repeat=data.target_out.shape[1]):
        draw(patch, path)
        decoded = probe(data, need_weights=True)
        assert decoded.weights["cross.0"][0, 0].argmax(-1).tolist() == list(path)
        yield decoded.log_prob.sum()


def hard() -> tuple[Seq2Seq, Batch]:
    """Return a model that always samples, and one sentence of three source and two target words."""
    probe = model(attention="hard").train()
    probe.decoder.attention.selection.soft.fill_(0.0)
    return probe, batch(sources=(3,), targets=(2,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("baseline", [0.0, 3.0])
def test_hard_attention_has_the_gradient_of_the_expected_cost(
    baseline: float, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean gradient of the loss over all draws equals the gradient of sum_z p(z) C(z), with any baseline."""
    probe, data = hard()
    criterion = Criterion(smoothing, {"reinforce": 1.0, "negative_entropy": 0.0})
    criterion.baseline.fill_(baseline)
    parameters, expected, total = list(probe.parameters()), torch.zeros(()), 0.0
    found = [torch.zeros_like(p) for p in parameters]
    for log_p in paths(probe, data, monkeypatch):
        p = log_p.exp()
        total += p.item()
        expected = expected + p * costs(probe.log_probs(data), data, smoothing).sum()
        for sum_, gradient in zip(
            found, torch.autograd.grad(loss(criterion, probe, data).total, parameters), strict=True
        ):
            sum_ += p.detach() * gradient
    assert total == pytest.approx(1.0)
    for ours, theirs in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        close(ours, theirs)


def test_mean_cost_as_baseline_lowers_the_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of reinforce has the same mean over all draws with b = E C and b = 0, but less variance."""
    probe, data = hard()
    criterion = Criterion(weights={"reinforce": 1.0, "negative_entropy": 0.0})
    scores = list(probe.decoder.attention.score.parameters())
    p, cost, gradients = [], [], {0.0: [], 1.0: []}
    for log_p in paths(probe, data, monkeypatch):
        p.append(log_p.exp().item())
        cost.append(loss(criterion, probe, data).nll.item())
    mean = sum(a * b for a, b in zip(p, cost, strict=True))
    for _ in paths(probe, data, monkeypatch):
        for share, found in gradients.items():
            criterion.baseline.fill_(share * mean)
            one = torch.autograd.grad(loss(criterion, probe, data).terms["reinforce"], scores)
            found.append(torch.cat([part.flatten() for part in one]))
    weights, without, with_ = (
        torch.tensor(p, dtype=torch.float64),
        *(torch.stack(found) for found in gradients.values()),
    )
    close(weights @ with_, weights @ without)  # both equal the gradient of the expected cost
    assert (weights @ with_.square()).sum() < 0.5 * (weights @ without.square()).sum()


def test_expected_log_likelihood_is_below_the_marginal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Xu 2015, equation 10: sum_z p(z) log p(y | z) <= log sum_z p(z) p(y | z) = log p(y)."""
    probe, data = hard()
    criterion = Criterion(weights={"reinforce": 0.1, "negative_entropy": 0.0})
    found = [(log_p, -loss(criterion, probe, data).nll) for log_p in paths(probe, data, monkeypatch)]
    log_p, log_p_target = (torch.stack(column) for column in zip(*found, strict=True))
    bound, marginal = (log_p.exp() * log_p_target).sum(), torch.logsumexp(log_p + log_p_target, 0)
    assert log_p_target.min() < bound < marginal - 1e-3
    assert marginal < log_p_target.max()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["mixture", "bound"])
def test_loss_of_alternatives_equals_the_definition(kind: str, smoothing: float) -> None:
    """log p = log sum_z w_z p_z for a mixture, and sum_z w_z log p_z for a bound."""
    data, output = batch(targets=(2, 3)), OutputLayer(4, 12).double()
    features, log_weights = noise(2, 3, 5, 4).requires_grad_(), noise(2, 3, 5, seed=1).log_softmax(-1)
    decoded = Decoded(features[:, :, 0], mixture=Mixture(features, log_weights, kind), output=output)
    losses = Criterion(smoothing)(decoded, data)
    p, w = output.log_probs(features).exp(), log_weights.exp()
    if kind == "mixture":
        log_p = torch.einsum("btj,btjv->btv", w, p).log()
        close(log_p.exp().sum(-1), torch.ones(2, 3, dtype=torch.float64))
    else:
        log_p = torch.einsum("btj,btjv->btv", w, p.log())
    nll = -log_p.gather(2, data.target_out[..., None])[..., 0][data.target_mask]
    smooth = -log_p.mean(-1)[data.target_mask]
    total = ((1 - smoothing) * nll + smoothing * smooth).sum()
    close(losses.nll, nll.sum())
    close(losses.total, total)
    leaves = [features, *output.parameters()]
    for ours, theirs in zip(torch.autograd.grad(losses.total, leaves), torch.autograd.grad(total, leaves), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sampled_alternatives_have_an_unbiased_gradient(smoothing: float) -> None:
    """The mean gradient over all draws equals the gradient of E_q[C_z], where C_z is the smoothed cost.

    The gradient of a draw is weighted by the difference of its cost and the cost of the expected context.
    """
    data, output = batch(targets=(1, 1)), OutputLayer(4, 12).double()
    contexts = noise(2, 1, 3, 4)  # the contexts of z = 0, 1, 2
    logits = noise(2, 1, 3, seed=1).requires_grad_()
    log_q = logits.log_softmax(-1)
    nll, each = (
        torch.stack([costs(output.log_probs(contexts[:, :, z]), data, e) for z in range(3)], -1).unsqueeze(1)
        for e in (0.0, smoothing)
    )
    (exact,) = torch.autograd.grad((log_q.exp() * each.detach()).sum(), [logits], retain_graph=True)
    expectation = (log_q.exp().unsqueeze(-1) * contexts).sum(2).detach()
    mean = torch.zeros_like(exact)
    for z in range(3):
        drawn = Mixture(contexts[:, :, z : z + 1], log_q[:, :, z : z + 1], "sampled")
        losses = Criterion(smoothing)(Decoded(expectation, mixture=drawn, output=output), data)
        close(losses.nll, nll[:, :, z].sum())
        gradient, advantage = torch.autograd.grad(losses.total, [logits, drawn.log_weights], retain_graph=True)
        close(advantage[..., 0], each[:, :, z] - costs(output.log_probs(expectation), data, smoothing).unsqueeze(1))
        mean += log_q.exp()[:, :, z : z + 1].detach() * gradient
    close(mean, exact)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_invalid_label_smoothing_is_refused(smoothing: float) -> None:
    with pytest.raises(UserError, match=rf"^label_smoothing={smoothing} must lie in \[0, 1\)"):
        Criterion(smoothing)


@pytest.mark.parametrize("value", [None, "much", math.nan, math.inf, -math.inf])
def test_coefficients_that_are_not_finite_numbers_are_refused(value: Any) -> None:
    with pytest.raises(UserError, match=rf"^weights\.kl={value} must be a finite number"):
        Criterion(weights={"cost": 1, "kl": value})
    with pytest.raises(UserError, match=rf"^start_at\.kl={value} must be a share"):
        Criterion(weights={"kl": 1.0}, start_at={"kl": value})


def test_term_that_would_never_start_is_refused_in_the_forward_pass() -> None:
    criterion = Criterion(weights={"cost": 0.5, "span": 0.25, "none": 1.0}, start_at={"cost": 0.0, "none": 0.9})
    criterion.has_no_end = True
    loss(criterion, penalised(), batch())
    for weight in (0.25, 0.0):
        waiting = Criterion(weights={"cost": 0.5, "span": weight}, start_at={"span": 0.9})
        loss(waiting, penalised(), batch())
        waiting.has_no_end = True
        if weight:
            with pytest.raises(
                UserError, match=r"loss\.start_at\.span=0\.9 .* nothing says when .* trainer\.max_steps"
            ):
                loss(waiting, penalised(), batch())
        else:
            loss(waiting, penalised(), batch())
