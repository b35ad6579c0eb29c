"""Tests of monotonic attention: it equals the expectation of a hard scan, by recursion and by enumeration."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from seq2seq.attention.components.scores import Additive, Constant, General, Location
from seq2seq.attention.components.windows import Global, LocalM, LocalP
from seq2seq.attention.monotonic import MochaAttention, MonotonicAttention, alignment, chunkwise
from seq2seq.attention.types import AttentionOutput, Memory, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import ask, close, walk
from tests.catalogue import WIDTH, mechanism, memory, noise, randomise

Q, T = 4, 5
LENGTHS = (7, 3, 0)
PARTS = {"score": partial(Additive, bias=True, normalize=True), "window": Global}
CHUNK = {**PARTS, "chunk_score": partial(Additive, bias=True)}


def build(kind: type[MonotonicAttention] = MonotonicAttention, **options: object) -> MonotonicAttention:
    """Build monotonic attention of one kind with random parameters."""
    parts = CHUNK if kind is MochaAttention else PARTS
    return randomise(kind(Q, SourceSpec(Q), **{**parts, **options}).double()).eval()


def recursion(stop: Tensor, start: Tensor) -> Tensor:
    """Return a_j = p_j q_j, q_j = (1 - p_{j-1}) q_{j-1} + start_j (Raffel 2017, equations 8 and 9), shapes (S,)."""
    q, rows = torch.zeros(()).to(start), []
    for j in range(len(stop)):
        q = ((1 - stop[j - 1]) * q if j else 0) + start[j]
        rows.append(stop[j] * q)
    return torch.stack(rows)


def cumulative(stop: Tensor, start: Tensor) -> Tensor:
    """Return the alignment by the parallel form of the paper's appendix C, which most code uses."""
    left = torch.cat((torch.ones(1).to(stop), (1 - stop).cumprod(0)[:-1]))
    return stop * left * (start / left.clamp(1e-10, 1.0)).cumsum(0)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13, 64, 400])
def test_alignment_equals_the_recursion(size: int) -> None:
    stop, start = torch.sigmoid(3 * noise(size, seed=1)), noise(size, seed=2).softmax(0)
    close(alignment(stop, start), recursion(stop, start))


def test_alignment_equals_the_cumulative_form_without_underflow() -> None:
    stop, start = torch.sigmoid(noise(12, seed=1) - 1), noise(12, seed=2).softmax(0)
    close(alignment(stop, start), cumulative(stop, start))


def test_mass_at_distant_positions_is_not_lost() -> None:
    """With p = 0.9 and a start at 200, the cumulative product underflows; ``alignment`` equals the recursion."""
    stop, start = torch.full((400,), 0.9), torch.zeros(400)
    start[200] = 1.0
    stop.requires_grad_()
    made, expected = alignment(stop, start), recursion(stop, start)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-7)
    assert made.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert cumulative(stop, start).sum() < 1e-6
    ours, theirs = (torch.autograd.grad((x * noise(400).float()).sum(), [stop])[0] for x in (made, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def paths(stop: Tensor) -> Tensor:
    """Return the mean alignments (T, S) of Raffel's algorithm 1 over all draws z with probabilities ``stop`` (T, S)."""
    steps, size = stop.shape
    total = torch.zeros(steps, size).to(stop)
    for flat in itertools.product([0, 1], repeat=steps * size):
        z = torch.tensor(flat).view(steps, size)
        probability = torch.where(z == 1, stop, 1 - stop).prod()
        chosen = path(z)
        rows = [[float(j == place) for j in range(size)] for place in chosen]
        total = total + probability * torch.tensor(rows).to(stop)
    return total


def path(z: Tensor) -> list[int | None]:
    """Return the position where the scan stops at each step, or None after it has passed the end."""
    place: int | None = 0
    places = []
    for row in z.tolist():
        place = None if place is None else next((j for j in range(place, len(row)) if row[j]), None)
        places.append(place)
    return places


def chain(stop: Tensor) -> Tensor:
    """Return the alignments (T, S) of successive queries, where each scan starts from the last alignment."""
    start, rows = torch.zeros_like(stop[0]), []
    start[0] = 1
    for row in stop:
        start = alignment(row, start)
        rows.append(start)
    return torch.stack(rows)


def test_expectation_over_all_draws() -> None:
    """The training alignment, and its gradient, equal the expectation of the hard scan over all draws."""
    stop = torch.sigmoid(noise(3, 4)).requires_grad_()
    ours, enumerated, weigh = chain(stop), paths(stop), noise(3, 4, seed=2)
    close(ours, enumerated)
    gradients = [torch.autograd.grad((x * weigh).sum(), [stop])[0] for x in (ours, enumerated)]
    close(*gradients)
    assert build().gradient == "surrogate"
    assert build(hard=False).gradient == "exact"


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_of_0_and_1_give_the_hard_path(seed: int) -> None:
    z = (noise(4, 6, seed=seed) > 0.3).double()
    expected = torch.zeros(4, 6).double()
    for t, place in enumerate(path(z)):
        if place is not None:
            expected[t, place] = 1
    assert torch.equal(chain(z), expected)


def energies(attention: MonotonicAttention, queries: Tensor, source: Memory) -> Tensor:
    """Return the energies e + r (B, T, S)."""
    prepared = attention.prepare(source)
    return attention.score(queries.unsqueeze(1), prepared.prepared["keys"], prepared)[:, 0] + attention.offset[0]


def test_evaluation_stops_at_the_first_positive_energy() -> None:
    attention, queries, source = build(), noise(3, T, Q), memory(*LENGTHS, width=Q)
    hard = walk(attention, queries, source)
    assert hard.weights.unique().tolist() == [0, 1]
    for b, length in enumerate(LENGTHS[:2]):
        places = path(energies(attention, queries, source)[b, :, :length] > 0)
        assert hard.weights[b, 0].sum(-1).tolist() == [float(place is not None) for place in places]
        for t, place in enumerate(places):
            close(hard.context[b, t], torch.zeros(Q).double() if place is None else source.values[b, place])
    assert not hard.context.requires_grad


def test_soft_evaluation_is_the_expectation() -> None:
    attention, queries, source = build(hard=False), noise(3, T, Q), memory(*LENGTHS, width=Q)
    soft = walk(attention, queries, source).weights
    for b, length in enumerate(LENGTHS[:2]):
        close(soft[b, 0, :, :length], chain(torch.sigmoid(energies(attention, queries, source)[b, :, :length])))


def test_hard_and_soft_weights_agree_at_large_energies() -> None:
    attention, soft = build(), build(hard=False)
    for probe in (attention, soft):
        probe.offset.data.mul_(3e3)
        probe.score.gain.data.mul_(3e3)
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    close(walk(attention, queries, source).weights, walk(soft, queries, source).weights)


def test_a_scan_that_stops_nowhere_reads_nothing() -> None:
    """With all energies below 0 the weights are 0; with all above 0 each scan stays at the first position."""
    attention = build(score=Constant)
    attention.offset.data.fill_(-1.0)
    answer = walk(attention, noise(1, T, Q), memory(4, width=Q))
    assert not answer.weights.any()
    assert not answer.context.any()
    attention.offset.data.fill_(1.0)
    assert walk(attention, noise(1, T, Q), memory(4, width=Q)).weights[0, 0, :, 0].eq(1).all()


def test_a_probability_of_one_half_does_not_stop() -> None:
    """A scan stops only if p > 1/2 (section 2.5). With ``preserve`` it stops at the last position anyway."""
    for preserve in (False, True):
        attention = build(score=Constant, preserve=preserve)
        attention.offset.data.zero_()
        weights = walk(attention, noise(1, T, Q), memory(4, width=Q)).weights[0, 0]
        assert weights.tolist() == [[0.0, 0.0, 0.0, float(preserve)]] * T


@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_mass(preserve: bool, training: bool) -> None:
    """The sum of the weights is one with ``preserve``; otherwise it is at most one and never grows."""
    attention = build(preserve=preserve, heads=2).train(training)
    total = walk(attention, noise(3, T, Q), memory(*LENGTHS, width=Q)).weights.sum(-1)
    assert attention.mass == ("one" if preserve else "at_most_one")
    if preserve:
        close(total[:2], torch.ones(2, 2, T).double())
    else:
        assert (total <= 1 + 1e-12).all()
        assert (total[:2].diff(dim=-1) <= 1e-12).all()
        assert (total[:2] < 0.999).any()
    assert not total[2].any()


def test_preserved_mass_is_the_residual_on_the_last_position() -> None:
    """``preserve`` adds 1 - sum_j a_j to the last position, as fairseq does."""
    attention, plain = build(hard=False, preserve=True), build(hard=False)
    queries, source = noise(3, 1, Q), memory(*LENGTHS, width=Q)
    kept, lost = walk(attention, queries, source).weights, walk(plain, queries, source).weights
    for b, length in enumerate(LENGTHS[:2]):
        lost[b, 0, 0, length - 1] += 1 - lost[b, 0, 0].sum()
    close(kept, lost)


def test_expected_position_never_goes_back() -> None:
    for attention in (build(hard=False, preserve=True), build(preserve=True).train()):
        weights = walk(attention, noise(2, 12, Q), memory(9, 5, width=Q)).weights[:, 0]
        position = weights @ torch.arange(9).double()
        assert (position.diff(dim=1) >= -1e-12).all()
        assert (position[:, -1] > position[:, 0]).all()


def test_noise() -> None:
    """The noise is normal with the given deviation, depends only on the seed, and exists only in training."""
    attention = build(score=Constant, noise_std=2.0).train()
    attention.offset.data.fill_(0.5)
    source = attention.prepare(memory(200, width=Q).select(torch.zeros(50, dtype=torch.long)))
    state = attention.initial_state(source)
    asked = attention.head_queries(ask(noise(50, 1, Q), 3), source, None)
    stop = attention.stop(asked, source, state)
    energy = torch.logit(stop)
    torch.testing.assert_close(energy.mean().item(), 0.5, rtol=0, atol=0.08)
    torch.testing.assert_close(energy.std().item(), 2.0, rtol=0, atol=0.06)
    torch.testing.assert_close((energy < 0.5).double().mean().item(), 0.5, rtol=0, atol=0.02)
    torch.testing.assert_close((energy < 2.5).double().mean().item(), 0.8413, rtol=0, atol=0.02)
    assert torch.equal(attention.stop(asked, source, state), stop)
    assert not torch.equal(attention.stop(asked, source, attention.initial_state(source)), stop)
    assert set(build().initial_state(source)) == {"alignment"}
    assert set(build(noise_std=0.0).train().initial_state(source)) == {"alignment"}


@pytest.mark.parametrize("kind", [MonotonicAttention, MochaAttention])
def test_training_obeys_the_laws(kind: type[MonotonicAttention]) -> None:
    """The laws on chunks, padding, order in memory and gradients are true with noise too."""
    attention, queries, source = build(kind).train(), noise(3, T, Q), memory(*LENGTHS, width=Q, step=3)

    def run(source: Memory, queries: Tensor = queries, **options: object) -> AttentionOutput:
        """Ask the mechanism with the same noise each time."""
        torch.manual_seed(0)
        return walk(attention, queries, source, **options)

    whole = run(source)
    close(run(source, chunks=(1,) * T).context, whole.context)
    order = torch.tensor([3, 1, 5, 0, 6, 2, 4])
    moved = Memory(source.values[:, order], source.mask[:, order], source.positions[:, order], source.extent)
    close(run(moved).weights, whole.weights[..., order])
    noisy = source.values + 1e3 * ~source.mask.unsqueeze(-1)
    close(run(Memory(noisy, source.mask, source.positions, source.extent)).context, whole.context)

    def contexts(queries: Tensor, *parameters: Tensor) -> Tensor:
        """Return the contexts; gradcheck changes ``parameters`` in place."""
        return run(source, queries).context

    assert gradcheck(contexts, (queries.clone().requires_grad_(), *attention.parameters()), fast_mode=True)


def test_masked_positions_are_skipped() -> None:
    """The weights are those over a memory without the masked positions."""
    attention, queries, source = build(hard=False), noise(1, T, Q), memory(6, width=Q)
    mask = torch.ones(1, T, 6, dtype=torch.bool)
    mask[..., [0, 3]] = False
    seen = [1, 2, 4, 5]
    smaller = Memory(source.values[:, seen], source.mask[:, seen], source.positions[:, seen], source.extent)
    answer = walk(attention, queries, source, mask=mask)
    close(answer.weights[..., seen], walk(attention, queries, smaller).weights)


@pytest.mark.parametrize("options", [{}, {"hard": False}, {"preserve": True}], ids=str)
@pytest.mark.parametrize("kind", [MonotonicAttention, MochaAttention])
def test_a_query_that_sees_nothing_does_not_move_the_scan(kind: type, options: dict[str, object]) -> None:
    attention, queries, source = build(kind, **options), noise(1, 4, Q), memory(6, width=Q)
    mask = torch.ones(1, 4, 6, dtype=torch.bool)
    mask[0, 1] = False
    answer = walk(attention, queries, source, mask=mask)
    assert not answer.context[0, 1].any()
    close(answer.context[:, [0, 2, 3]], walk(attention, queries[:, [0, 2, 3]], source).context)


def test_a_window_that_moves_back_keeps_preserved_mass() -> None:
    """The mass moves to the last position that the second query sees."""
    attention, queries, source = build(preserve=True), noise(1, 2, Q), memory(6, width=Q)
    attention.offset.data.fill_(-100.0)  # no position stops the scan
    mask = torch.ones(1, 2, 6, dtype=torch.bool)
    mask[0, 1, 2:] = False
    weights = walk(attention, queries, source, mask=mask).weights[0, 0]
    assert weights.argmax(-1).tolist() == [5, 1]
    assert weights.sum(-1).tolist() == [1, 1]


@pytest.mark.parametrize("renormalise", [False, True])
def test_a_window_factor_changes_weights_but_not_the_scan(renormalise: bool) -> None:
    """The weights are the plain weights times the factor; the stored alignment is the plain one."""
    window = partial(LocalP, reach=6, renormalise=renormalise)
    attention, queries, source = build(hard=False, window=window), noise(1, T, Q), memory(4, width=Q)
    plain = build(hard=False)
    plain.load_state_dict({k: v for k, v in attention.state_dict().items() if not k.startswith("window")})
    shaped, bare = walk(attention, queries, source), walk(plain, queries, source)
    factor = attention.window(ask(queries, 0), source).factor
    expected = bare.weights * factor
    if renormalise:
        expected = expected * bare.weights.sum(-1, keepdim=True) / expected.sum(-1, keepdim=True)
    close(shaped.weights, expected)
    close(shaped.state["alignment"], bare.state["alignment"])
    assert attention.mass == "at_most_one"
    narrow = walk(build(hard=False, window=partial(LocalM, reach=1)), queries, memory(9, width=Q)).weights[0, 0]
    assert [row.nonzero().flatten().tolist() for row in narrow][2] == [1, 2, 3]


def test_a_window_factor_on_an_empty_source_has_finite_gradients() -> None:
    """The gradients are finite even if the gradient of the context is large."""
    attention = build(hard=False, window=partial(LocalP, reach=6, renormalise=True))
    source, queries = memory(4, 0, width=Q), noise(2, T, Q).requires_grad_()
    (1e6 * walk(attention, queries, source).context).sum().backward()
    assert all(x.grad.isfinite().all() for x in (queries, *attention.parameters()))


def chunks(a: Tensor, u: Tensor, w: int) -> Tensor:
    """Return beta_j = sum_{k=j}^{j+w-1} a_k exp(u_j) / sum_{l=k-w+1}^{k} exp(u_l) for ``a`` and ``u`` of shape (S,)."""
    size, e = len(a), u.exp()
    return torch.stack(
        [sum(a[k] * e[j] / e[max(0, k - w + 1) : k + 1].sum() for k in range(j, min(j + w, size))) for j in range(size)]
    )


@pytest.mark.parametrize("w", [1, 2, 3, 7, 8, 20])
def test_chunkwise(w: int) -> None:
    """The weights follow the formula of ``chunks``, keep the mass of a, and equal a for chunks of one position."""
    a, u, everything = noise(7, seed=1).softmax(0), 3 * noise(7, seed=2), torch.ones(7, dtype=torch.bool)
    beta = chunkwise(a, u, everything, w)
    close(beta, chunks(a, u, w))
    close(beta.sum(), a.sum())
    seen = torch.tensor([True, False, True, True, False, True, True])
    close(chunkwise(a * seen, u, seen, w).sum(), (a * seen).sum())
    if w == 1:
        assert torch.equal(beta, a)


def test_chunkwise_at_large_energies() -> None:
    """A chunk whose energies are far below the largest energy of the sentence still gets a correct softmax."""
    u = torch.tensor([2000.0, 1999.0, -2000.0, -2001.0, 0.0, 500.0], requires_grad=True)
    a = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.1, 0.2])
    beta = chunkwise(a, u, torch.ones(6, dtype=torch.bool), 2)
    assert beta.sum().item() == pytest.approx(1.0, abs=1e-6)
    more, less = torch.tensor([0.0, -1.0]).softmax(0).tolist()
    expected = [0.1 + 0.2 * more, 0.2 * less + 0.1, 0.3 * more, 0.3 * less, 0.1, 0.2]
    torch.testing.assert_close(beta, torch.tensor(expected))
    assert chunks(a, u.detach(), 2).isnan().any()
    (beta * torch.arange(6)).sum().backward()
    assert u.grad.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"hard": False}, {"heads": 2}, {"heads": 4, "groups": 2}], ids=str)
def test_mocha(options: dict[str, object]) -> None:
    """Chunks end where ``MonotonicAttention`` stops; with chunks of one position it equals ``MonotonicAttention``."""
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    attention, one, plain = (
        build(MochaAttention, chunk=3, **options),
        build(MochaAttention, chunk=1, **options),
        build(**options),
    )
    one.load_state_dict(attention.state_dict())
    plain.load_state_dict(attention.state_dict(), strict=False)
    answer, stopped = walk(attention, queries, source), walk(plain, queries, source)
    close(walk(one, queries, source).weights, stopped.weights)
    close(walk(one, queries, source).context, stopped.context)
    close(answer.weights.sum(-1), stopped.weights.sum(-1))
    prepared = attention.prepare(source)
    asked = attention.head_queries(ask(queries, 0), prepared, None)
    u = attention.chunk_score(asked.vectors, prepared.prepared["chunk_keys"], prepared)
    for b, length in enumerate(LENGTHS[:2]):
        for h, t in itertools.product(range(attention.heads), range(T)):
            expected = chunks(stopped.weights[b, h, t, :length], u[b, h, t, :length], 3)
            close(answer.weights[b, h, t, :length], expected)


def test_the_chunk_score_limits_the_visible_positions() -> None:
    attention = build(MochaAttention, chunk_score=partial(Location, max_length=4), hard=False)
    weights = walk(attention, noise(1, T, Q), memory(6, width=Q)).weights
    assert weights[..., :4].all()
    assert not weights[..., 4:].any()


@pytest.mark.parametrize("name", ["monotonic", "mocha"])
def test_defaults_are_those_of_the_paper(name: str) -> None:
    """The score is additive with weight normalisation and bias; r starts below 0."""
    attention = mechanism("attention", name, SourceSpec(WIDTH))
    assert isinstance(attention.score, Additive)
    assert attention.score.gain is not None
    assert attention.score.bias is not None
    assert MonotonicAttention(Q, SourceSpec(Q), **PARTS).offset.tolist() == [[[-1.0]]]
    assert MonotonicAttention(Q, SourceSpec(Q), **PARTS, offset=-4.0).offset.item() == -4
    assert not [name for name, _ in attention.named_parameters() if "normalizer" in name]


def test_a_general_score_gives_weights() -> None:
    assert walk(build(score=General, hard=False), noise(2, T, Q), memory(5, 2, width=Q)).weights.any()
    assert isinstance(build(score=General).offset, nn.Parameter)


def test_refusals() -> None:
    with pytest.raises(UserError, match="image regions"):
        MonotonicAttention(Q, SourceSpec(Q, axes=2), **PARTS)
    with pytest.raises(UserError, match="self-attention"):
        MonotonicAttention(Q, SourceSpec(Q, is_self=True), **PARTS)
    with pytest.raises(UserError, match="standard deviation"):
        build(noise_std=-1.0)
    with pytest.raises(UserError, match="chunk=0 must be at least 1"):
        build(MochaAttention, chunk=0)
