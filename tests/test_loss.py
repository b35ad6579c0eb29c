"""The criterion against the sum over tokens, written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attended, Query
from seq2seq.batch import PAD, Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.layers.output import Mixture, OutputLayer
from seq2seq.loss import Criterion
from seq2seq.model import Seq2Seq
from tests.attention.walk import close
from tests.catalogue import batch, choices, model, noise

every_family = pytest.mark.parametrize("family", choices("model"))


@every_family
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sum_over_tokens(family: str, smoothing: float) -> None:
    probe, data = model(f"model={family}"), batch()
    losses = Criterion(smoothing)(probe, data)
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


def test_evaluation_is_unsmoothed_and_counts_hits() -> None:
    probe, data = model(), batch()
    with torch.no_grad():
        losses = Criterion(0.3).eval()(probe, data)
    assert losses.total == losses.nll
    hits = probe.log_probs(data).argmax(-1) == data.target_out
    assert losses.correct == hits[data.target_mask].sum()


@every_family
def test_padding_and_batching_add_nothing(family: str) -> None:
    """The loss of a batch is the sum of its sentences' losses, however far each is padded."""
    probe, data, criterion = model(f"model={family}"), batch(), Criterion(0.1)
    total = criterion(probe, data).total
    wide = Batch(F.pad(data.source, (0, 3)), data.index, F.pad(data.target, (0, 2)), data.target_tokens)
    close(criterion(probe, wide).total, total)
    rows = [replace(data, source=data.source[i : i + 1], target=data.target[i : i + 1]) for i in range(3)]
    close(sum(criterion(probe, row).total for row in rows), total)


class Penalised(nn.Module):
    """A mechanism that also reports penalties: T positions cost 1, 2, 3 ..."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, query: Query, *args: Any, **options: Any) -> Attended:
        attended = self.inside(query, *args, **options)
        return replace(attended, penalties={"cost": query.position.double() + 1, "span": query.vector.square().sum(-1)})

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inside"), name)


def penalised() -> Seq2Seq:
    probe = model()
    probe.decoder.attention = Penalised(probe.decoder.attention)
    return probe


def test_penalties_are_weighted_where_targets_are_real() -> None:
    probe, data = penalised(), batch(targets=(4, 6, 5))
    plain = Criterion(0.1)(model(), data)
    losses = Criterion(0.1, {"cost": 0.5, "span": 0.25})(probe, data)
    assert losses.terms["cost"] == sum(map(sum, ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5])))
    close(losses.total, plain.total + 0.5 * losses.terms["cost"] + 0.25 * losses.terms["span"])
    close(losses.nll, plain.nll)
    gradient: Tensor = torch.autograd.grad(losses.total - plain.total, [probe.decoder.bridge.maps[0].weight])[0]
    assert gradient.any()


def test_no_penalty_is_dropped_silently() -> None:
    with pytest.raises(UserError, match=r"reports a term span; .* loss\.weights\.span=NUMBER \(there are: cost"):
        Criterion(0.1, {"cost": 0.5})(penalised(), batch())


def test_a_term_that_starts_late() -> None:
    criterion = Criterion(0.0, {"cost": 0.5, "span": 0.25}, {"cost": 0.9})
    probe, data = penalised(), batch()
    for progress, weight in ((0.0, 0.0), (0.89, 0.0), (0.9, 0.5), (1.0, 0.5)):
        criterion.anneal(progress)
        losses = criterion(probe, data)
        close(losses.total, losses.nll + weight * losses.terms["cost"] + 0.25 * losses.terms["span"])
    with pytest.raises(UserError, match=r"loss\.start\.cots: there is no loss\.weights\.cots; .*there are: cost"):
        Criterion(weights={"cost": 1.0}, start={"cots": 0.5})
    with pytest.raises(UserError, match=r"loss\.start\.cost is a share"):
        Criterion(weights={"cost": 1.0}, start={"cost": 3})


def test_doubly_stochastic_by_loops() -> None:
    """Xu 2015, equation 14: over the real positions of each sentence, summed as the cost is."""
    probe, data = model(), batch()
    losses = Criterion(0.0, {"doubly_stochastic": 2.0})(probe, data)
    weights = probe(data, need_weights=True).weights["cross.0"][:, 0]
    expected = 0.0
    for b, (source, target) in enumerate(zip((7, 5, 2), (4, 6, 5), strict=True)):
        for i in range(source):
            expected += (1 - sum(weights[b, t, i].item() for t in range(target))) ** 2
    assert losses.terms["doubly_stochastic"].item() == pytest.approx(expected)
    close(losses.total, losses.nll + 2.0 * losses.terms["doubly_stochastic"])
    assert "doubly_stochastic" not in Criterion(0.0, {"doubly_stochastic": 0.0})(probe, data).terms


class Told(nn.Module):
    """A model whose every answer is ``decoded``, with a decoder that has its ``output`` layer."""

    def __init__(self, output: OutputLayer, decoded: Decoded) -> None:
        super().__init__()
        self.decoder = nn.Module()
        self.decoder.output = output
        self.decoded = decoded

    def forward(self, batch: Batch, need_weights: bool = False) -> Decoded:
        return self.decoded


def test_reinforce_with_a_moving_baseline() -> None:
    data, output = batch(targets=(2, 3)), OutputLayer(4, 12).double()
    log_prob = noise(2, 3, seed=5).requires_grad_()
    decoded = Decoded(noise(2, 3, 4), log_prob=log_prob)
    criterion = Criterion(0.0, {"reinforce": 0.1}, baseline_decay=0.9)
    criterion.baseline.fill_(3.0)
    losses = criterion(Told(output, decoded), data)
    each = -output.log_probs(decoded.features).gather(2, data.target_out[..., None])[..., 0] * data.target_mask
    cost = each.sum(1).tolist()
    drawn = (log_prob * data.target_mask).sum(1).tolist()
    expected = sum((c - 3.0) * p for c, p in zip(cost, drawn, strict=True))
    assert losses.terms["reinforce"].item() == pytest.approx(expected)
    assert criterion.baseline.item() == pytest.approx(0.9 * 3.0 + 0.1 * sum(cost) / 2)
    (gradient,) = torch.autograd.grad(losses.total, [log_prob])
    close(gradient, 0.1 * (torch.tensor(cost, dtype=torch.float64)[:, None] - 3.0) * data.target_mask)
    assert "reinforce" not in criterion.eval()(Told(output, decoded), data).terms


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["mixture", "bound"])
def test_alternatives_by_the_book(kind: str, smoothing: float) -> None:
    data, output = batch(targets=(2, 3)), OutputLayer(4, 12).double()
    features, log_weights = noise(2, 3, 5, 4).requires_grad_(), noise(2, 3, 5, seed=1).log_softmax(-1)
    decoded = Decoded(features[:, :, 0], mixture=Mixture(features, log_weights, kind))
    losses = Criterion(smoothing)(Told(output, decoded), data)
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


def test_sampled_alternatives_are_unbiased() -> None:
    """The mean over all draws of the gradient is the gradient of E_q[-log p(y | z)]."""
    data, output = batch(targets=(1, 1)), OutputLayer(4, 12).double()
    contexts = noise(2, 1, 3, 4)  # what z = 0, 1, 2 would give
    logits = noise(2, 1, 3, seed=1).requires_grad_()
    log_q = logits.log_softmax(-1)
    costs = -output.log_probs(contexts).gather(3, data.target_out[:, :, None, None].expand(-1, -1, 3, 1))[..., 0]
    (exact,) = torch.autograd.grad((log_q.exp() * costs.detach()).sum(), [logits], retain_graph=True)
    expectation = (log_q.exp().unsqueeze(-1) * contexts).sum(2).detach()
    mean = torch.zeros_like(exact)
    for z in range(3):
        drawn = Mixture(contexts[:, :, z : z + 1], log_q[:, :, z : z + 1], "sampled")
        losses = Criterion()(Told(output, Decoded(expectation, mixture=drawn)), data)
        close(losses.nll, costs[:, :, z].sum())
        (gradient,) = torch.autograd.grad(losses.total, [logits], retain_graph=True)
        mean += log_q.exp()[:, :, z : z + 1].detach() * gradient
    close(mean, exact)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_refusals(smoothing: float) -> None:
    with pytest.raises(UserError, match=r"label_smoothing must lie in \[0, 1\)"):
        Criterion(smoothing)
