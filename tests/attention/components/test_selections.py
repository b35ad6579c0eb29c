"""Tests of selections: sampled positions follow the weights, and surrogate gradients equal enumeration over all
choices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.attention.components import counter_rng as random
from seq2seq.attention.components.normalizers import Softmax, Sparsemax
from seq2seq.attention.components.scores import Additive
from seq2seq.attention.components.selections import Gumbel, Hard, Selection, Soft, reading
from seq2seq.attention.components.windows import Global, LocalP
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import AttentionState, Memory, SourceSpec, select_rows
from seq2seq.errors import UserError
from seq2seq.loss import Criterion
from tests import seeding
from tests.attention.walk import ask, close, same, walk
from tests.catalogue import WIDTH, batch, mechanism, memory, model, noise, randomise

CPU = torch.device("cpu")
T, S = 4, 5
SAMPLED: dict[str, Callable[[], Selection]] = {"hard": partial(Hard, soft=0.0), "gumbel": Gumbel}
every_sampled = pytest.mark.parametrize("selection", SAMPLED.values(), ids=SAMPLED.keys())


def attention(selection: Callable[[], Selection], heads: int = 1, **parts: object) -> ComposedAttention:
    """Build cross-attention with this selection, with random parameters."""
    options = {"score": Additive, "window": Global, "normalizer": Softmax, **parts}
    return randomise(ComposedAttention(WIDTH, SourceSpec(WIDTH), selection=selection, heads=heads, **options).double())


def drawn(selection: Selection, weights: Tensor, seed: int = 0) -> Tensor:
    """Return the weights that ``selection`` makes from ``weights`` (B, H, T, S) in training."""
    seeding.seed(seed)
    state = selection.train().initial_state(len(weights), CPU)
    return selection(weights, partial(uniform, weights, state), state).weights


def uniform(weights: Tensor, state: AttentionState) -> Tensor:
    """Return the random numbers for the places of ``weights``."""
    size, heads, queries, places = weights.shape
    positions = torch.arange(queries).expand(size, -1), torch.arange(places).expand(size, -1).unsqueeze(-1)
    return random.uniform(state["seed"], positions[0], heads, positions[1])


def one_hot(weights: Tensor) -> bool:
    """Return True if every row has a single 1 and zeros."""
    return bool(((weights == 0) | (weights == 1)).all() and (weights.sum(-1) == 1).all())


@every_sampled
@pytest.mark.parametrize("total", [1.0, 0.4])
def test_frequencies_are_the_weights(selection: Callable[[], Selection], total: float) -> None:
    """Over 200 000 draws, frequencies equal the weights divided by their sum, which a window may have made less than 1.

    Draws of neighbouring sequences, heads and queries agree as often as independent draws.
    """
    share = torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05], dtype=torch.float64)
    found = drawn(selection(), (total * share).expand(1000, 4, 50, 5))
    assert one_hot(found)
    torch.testing.assert_close(found.mean((0, 1, 2)), share, rtol=0, atol=5e-3)
    for dim, size in enumerate((1000, 4, 50)):  # sequences, heads and queries
        unshifted, shifted = found.narrow(dim, 0, size - 1), found.narrow(dim, 1, size - 1)
        agreement = (unshifted * shifted).sum(-1).mean().item()
        assert agreement == pytest.approx(share.square().sum().item(), abs=0.01)


@every_sampled
def test_frequencies_with_windows_normalizers_and_biases(selection: Callable[[], Selection]) -> None:
    """Frequencies equal the weights under Gaussian windows, sparse normalisers, temperatures and ALiBi's bias."""
    count = 20_000
    for parts in (
        {"window": partial(LocalP, reach=3)},
        {"normalizer": Sparsemax},
        {"normalizer": partial(Softmax, temperature=0.5)},
    ):
        ours, soft = attention(selection, **parts), attention(Soft, **parts)
        queries, source = noise(1, 2, WIDTH), memory(S)
        expected = walk(soft, queries, source).weights[0]
        many = torch.zeros(count, dtype=torch.long)
        seeding.seed(0)
        found = walk(ours, queries[many], source.select(many)).weights.mean(0)
        torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True), rtol=0, atol=0.015)
        assert not found[expected == 0].any()
    biased = SourceSpec(WIDTH, is_self=True, position="alibi")
    ours, soft = (
        randomise(
            ComposedAttention(WIDTH, biased, score=Additive, window=Global, normalizer=Softmax, selection=s).double()
        )
        for s in (selection, Soft)
    )
    seeding.seed(0)
    found = walk(ours, queries[many], source.select(many)).weights.mean(0)
    torch.testing.assert_close(found, walk(soft, queries, source).weights[0], rtol=0, atol=0.015)


@pytest.mark.parametrize("name", ["hard", "gumbel"])
def test_evaluation_reads_the_likeliest_position(name: str) -> None:
    """The position with the largest soft weight is read, without loss terms or state."""
    ours = mechanism("attention", name, SourceSpec(WIDTH))
    queries, source = noise(2, T, WIDTH), memory(S, 3, step=3)
    answer = walk(ours, queries, source)
    soft = walk(mechanism("attention", "additive", SourceSpec(WIDTH)), queries, source)
    assert one_hot(answer.weights)
    assert torch.equal(answer.weights.argmax(-1), soft.weights.argmax(-1))
    assert answer.log_prob is None
    assert answer.penalties == {}
    assert answer.state == {}
    assert torch.equal(walk(ours, queries, source).context, answer.context)


@every_sampled
@pytest.mark.parametrize("chunks", [(1,) * T, (2, 2), (3, 1)], ids=str)
def test_chunks_draw_the_positions_of_one_call(selection: Callable[[], Selection], chunks: tuple[int, ...]) -> None:
    """Calls with parts of the queries draw the same positions as one call."""
    ours = attention(selection, heads=2).train()
    queries, source = noise(3, T, WIDTH), memory(S, 0, 2, step=3)
    answers = []
    for parts in ((T,), chunks):
        seeding.seed(3)
        answers.append(walk(ours, queries, source, chunks=parts))
    same(*answers)


@every_sampled
def test_draws_differ(selection: Callable[[], Selection]) -> None:
    """Draws differ between calls, sequences, heads and queries with equal weights; a seed repeats them."""
    weights = torch.full((6, 3, 20, 50), 1 / 50, dtype=torch.float64)
    first = drawn(selection(), weights).argmax(-1)
    assert not torch.equal(drawn(selection(), weights, seed=1).argmax(-1), first)
    assert torch.equal(drawn(selection(), weights).argmax(-1), first)
    assert (first[0] != first[1]).any()
    assert (first[:, 0] != first[:, 1]).any()
    assert (first[..., 0] != first[..., 1]).any()


@every_sampled
def test_state_round_trip(selection: Callable[[], Selection]) -> None:
    """A reordered sequence keeps its seed, as search needs it, and the padding of a source doesn't change its draws."""
    ours, index = attention(selection, heads=2).train(), torch.tensor([2, 0, 0])
    queries, source = noise(3, T, WIDTH), memory(S, 4, 2)
    prepared = ours.prepare(source)
    seeding.seed(0)
    state = ours.initial_state(prepared)
    whole = ours(ask(queries, 0), prepared, state, need_weights=True)
    moved = ours(ask(queries[index, 1:], 1), prepared.select(index), select_rows(state, index), need_weights=True)
    assert torch.equal(moved.weights, whole.weights[index, :, 1:])
    short = Memory(source.values[:, :4], source.mask[:, :4], source.positions[:, :4], source.extent)
    some = torch.tensor([1, 2])
    alone = ours(ask(queries[some], 0), ours.prepare(short.select(some)), select_rows(state, some), need_weights=True)
    assert torch.equal(alone.weights, whole.weights[some, ..., :4])
    assert not whole.weights[some, ..., 4:].any()


@every_sampled
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_hidden_places_are_never_drawn(selection: Callable[[], Selection], dtype: torch.dtype) -> None:
    """Hidden positions are never drawn, and none is drawn where all are hidden. Gradients are finite."""
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.5], [1.0, 6e-8, 0.0]], dtype=dtype)
    weights = weights.expand(200, 2, 4, 3).clone().requires_grad_()
    seeding.seed(0)
    chosen = selection().train()
    state = chosen.initial_state(200, CPU)
    answer = chosen(weights, partial(uniform, weights, state), state)
    assert not answer.weights[weights == 0].any()
    assert one_hot(answer.weights[:, :, [0, 2, 3]])
    reported = [x for x in (answer.log_prob, *answer.penalties.values()) if x is not None]
    assert not any(x[:, :, 1].any() for x in reported)
    (gradient,) = torch.autograd.grad(sum(x.sum() for x in (answer.weights[..., 0], *reported)), [weights])
    assert gradient.isfinite().all()
    assert not gradient[:, :, 1].any()


def enumerated(costs: Tensor, weights: Tensor) -> Tensor:
    """Return E cost = sum_z prod_t a_t[z_t] cost[z] over all S^T choices z.

    Args: costs: Cost of each choice (S, ..., S). weights: Weights a (T, S).
    """
    total = weights.new_zeros(())
    for z in product(range(weights.shape[1]), repeat=len(weights)):
        total = total + torch.stack([weights[t, s] for t, s in enumerate(z)]).prod() * costs[z]
    return total


@pytest.mark.parametrize("baseline", [0.0, 3.0])
def test_reinforce_is_the_exact_gradient(baseline: float) -> None:
    """E_z (cost(z) - b) grad sum_t log a_t[z_t] = grad E cost for any constant b.

    Two queries over three places have nine choices, and each choice is drawn by some of the sequences.
    """
    ours = attention(partial(Hard, soft=0.0)).train()
    parameters = list(ours.parameters())
    queries, source, costs = noise(1, 2, WIDTH), memory(3), noise(3, 3, seed=7)
    weights = walk(attention(Soft), queries, source).weights[0, 0]
    many = torch.zeros(300, dtype=torch.long)
    seeding.seed(0)
    answer = walk(ours, queries[many], source.select(many))
    picked = answer.weights[:, 0].argmax(-1)  # (300, 2)
    expected = [torch.zeros_like(p) for p in parameters]
    for z in product(range(3), repeat=2):
        row = int((picked == torch.tensor(z)).all(1).nonzero()[0])
        log_prob = answer.log_prob[row].sum()
        probability = (weights[0, z[0]] * weights[1, z[1]]).item()
        assert log_prob.exp().item() == pytest.approx(probability)
        gradients = torch.autograd.grad(log_prob, parameters, retain_graph=True)
        for sum_, gradient in zip(expected, gradients, strict=True):
            sum_ += probability * (costs[z] - baseline) * gradient
    ours_soft = attention(Soft)
    exact = enumerated(costs, walk(ours_soft, queries, source).weights[0, 0])
    for found, gradient in zip(expected, torch.autograd.grad(exact, list(ours_soft.parameters())), strict=True):
        close(found, gradient)


def test_negative_entropy() -> None:
    """The penalty is sum_j a_j log a_j, after division of the weights by their sum."""
    weights = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.1, 0.1, 0.0, 0.0]], dtype=torch.float64).expand(1, 1, 2, 4)
    hard = Hard().train()
    state = hard.initial_state(1, CPU)
    penalty = hard(weights, partial(uniform, weights, state), state).penalties["negative_entropy"]
    close(penalty.flatten(), -torch.tensor([1.5, 1.0]).double() * torch.tensor(2.0).double().log())


def test_some_passes_are_soft() -> None:
    """Half of the passes are soft, for the whole batch: the context is the expectation, and log-probabilities are 0."""
    ours, soft = attention(Hard), attention(Soft)
    queries, source = noise(3, T, WIDTH), memory(S, 4, 2)
    expected = walk(soft, queries, source)
    seeding.seed(0)
    passes = []
    for _ in range(200):
        answer = walk(ours.train(), queries, source)
        passes.append(bool(answer.state["soft"][0]))
        assert (answer.state["soft"] == passes[-1]).all()
        assert one_hot(answer.weights) != passes[-1]
        assert bool((answer.log_prob == 0).all()) == passes[-1]
        if passes[-1]:
            close(answer.weights, expected.weights)
            close(answer.context, expected.context)
    assert 70 < sum(passes) < 130  # 4 standard deviations
    for probability in (0.0, 1.0):
        always = walk(attention(partial(Hard, soft=probability)).train(), queries, source)
        assert (always.state["soft"] == bool(probability)).all()


def test_soft_passes_are_annealed() -> None:
    """The probability of soft passes changes linearly between two shares of training.

    The state dict contains the probability only if it changes.
    """
    hard = Hard(soft=1.0, final_soft=0.2, anneal_from=0.5, anneal_to=0.75)
    assert not hard.passes_gradient
    for progress, soft in ((0.0, 1.0), (0.5, 1.0), (0.625, 0.6), (0.75, 0.2), (1.0, 0.2)):
        hard.set_progress(progress)
        assert hard.soft.item() == pytest.approx(soft)
    restored = Hard(soft=1.0, final_soft=0.2)
    restored.load_state_dict(hard.state_dict())
    assert restored.soft.item() == pytest.approx(0.2)
    steady = Hard()
    steady.set_progress(0.5)
    assert steady.soft == 0.5
    assert steady.state_dict() == {}
    assert Hard(soft=1.0).passes_gradient


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_draws_from_tempered_weights(temperature: float) -> None:
    """Frequencies are in proportion to a^(1/tau), whatever the sum of a, and ``log_prob`` is that of the draw."""
    share = torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05], dtype=torch.float64)
    powers = share ** (1 / temperature)
    expected = powers / powers.sum()
    hard = Hard(soft=0.0, temperature=temperature).train()
    weights = (0.4 * share).expand(1000, 4, 50, 5)
    seeding.seed(0)
    state = hard.initial_state(1000, CPU)
    selected = hard(weights, partial(uniform, weights, state), state)
    torch.testing.assert_close(selected.weights.mean((0, 1, 2)), expected, rtol=0, atol=5e-3)
    close(selected.log_prob, (selected.weights * expected.clamp(min=1e-9).log()).sum(-1))
    with reading(hard, "soft"):
        soft = hard(weights, partial(uniform, weights, state), hard.initial_state(1000, CPU))
    close(soft.weights, (0.4 * expected).expand_as(weights))
    hard.eval()
    assert torch.equal(hard(weights, partial(uniform, weights, state), {}).weights.argmax(-1), weights.argmax(-1))


def test_readings() -> None:
    """``reading`` selects the soft weights, the likeliest position or another sample, and is undone afterwards."""
    ours, soft = attention(partial(Hard, soft=0.0)).train(), attention(Soft)
    queries, source = noise(3, T, WIDTH), memory(S, 4, 2)
    expected = walk(soft, queries, source).weights

    def weights() -> Tensor:
        """Return the weights with the same seed."""
        seeding.seed(2)
        return walk(ours, queries, source).weights

    first = weights()
    with reading(ours, "soft"):
        close(weights(), expected)
    with reading(ours, "likeliest"):
        assert torch.equal(weights(), F.one_hot(expected.argmax(-1), S).double() * (expected > 0))
    with reading(ours, "sample", 1):
        assert one_hot(weights())
        assert not torch.equal(weights(), first)
    assert torch.equal(weights(), first)


def test_gumbel_is_the_straight_through_estimator() -> None:
    """The result equals torch's straight-through Gumbel-softmax with our noise, computed by its definition.

    Forward it is one-hot; backward it has the gradient of softmax((log a + g) / tau).
    """
    for temperature in (1.0, 0.5, 3.0):
        gumbel = Gumbel(temperature=temperature).train()
        scores = noise(3, 2, T, S).requires_grad_()
        state = gumbel.initial_state(3, CPU)
        ours = gumbel(scores.softmax(-1), partial(uniform, scores, state), state).weights
        g = -(-uniform(scores, state).double().log()).log()
        y = ((scores + g) / temperature).softmax(-1)
        assert torch.equal(ours, F.one_hot(y.argmax(-1), S).double())
        by = noise(3, 2, T, S, seed=1)
        (found,) = torch.autograd.grad((ours * by).sum(), [scores])
        (expected,) = torch.autograd.grad((y * by).sum(), [scores])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # Gumbel's noise is fp32


def test_gumbel_temperature_is_annealed() -> None:
    """tau changes geometrically from 2 to 1/2, and the state dict contains it."""
    gumbel = Gumbel(temperature=2.0, final_temperature=0.5)
    for progress, temperature in ((0.0, 2.0), (0.5, 1.0), (1.0, 0.5)):
        gumbel.set_progress(progress)
        assert gumbel.temperature.item() == pytest.approx(temperature)
    restored = Gumbel(temperature=2.0, final_temperature=0.5)
    restored.load_state_dict(gumbel.state_dict())
    assert restored.temperature.item() == 0.5
    probe = model("model=transformer", attention="gumbel")
    probe.decoder.cross_attention(0).set_progress(1.0)
    assert probe.state_dict()["decoder.layers.0.attention.selection.temperature"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("family", ["rnn", "transformer"])
@pytest.mark.parametrize("name", ["hard", "gumbel"])
def test_scores_learn_in_models(family: str, name: str) -> None:
    """Every parameter of the score gets a gradient in both model families."""
    probe = model(f"model={family}", attention=name).train()
    seeding.seed(0)
    weights = {"reinforce": 0.1, "negative_entropy": 0.002}
    losses = Criterion(weights=weights).double()(probe(batch()), batch())
    losses.total.backward()
    assert losses.total.isfinite()
    assert set(losses.terms) == (set(weights) if name == "hard" else set())
    score = probe.decoder.cross_attention(0).score
    assert all(parameter.grad.any() for parameter in score.parameters())


def test_refusals() -> None:
    for options, message in (
        ({"soft": 1.5}, r"soft=1.5 is a probability"),
        ({"final_soft": -0.5}, r"final_soft=-0.5 is a probability"),
        ({"anneal_from": 0.5, "anneal_to": 0.5}, r"anneal_from=0.5 and anneal_to=0.5 must be shares of training"),
        ({"temperature": 0.0}, r"temperature=0.0 must be above 0"),
    ):
        with pytest.raises(UserError, match=message):
            Hard(**options)
    with pytest.raises(UserError, match=r"final_temperature=0.0 must be above 0"):
        Gumbel(final_temperature=0.0)
