"""Tests of every normaliser: its weights equal values worked by hand, another algorithm and the package ``entmax``,
also where positions are hidden.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from seq2seq.attention.components.normalizers import Entmax, Entmax15, Normalizer, Sigmoid, Softmax, Sparsemax
from seq2seq.attention.types import SourceSpec
from seq2seq.config.instantiate import build_node
from seq2seq.errors import UserError
from seq2seq.training.optimization import parameter_groups
from tests.attention.walk import close, walk
from tests.catalogue import WIDTH, choices, config, mechanism, memory, noise
from tests.sampling import mostly_slow

ALL = torch.ones(1, dtype=torch.bool)
SPARSE = {"sparsemax": 2.0, "entmax15": 1.5, "entmax": 1.5}  # initial alpha
every_normalizer = pytest.mark.parametrize("name", choices("attention/normalizer"))
every_sparse = pytest.mark.parametrize("name", SPARSE)


def build(name: str, heads: int = 1) -> Normalizer:
    """Build the normaliser of this name."""
    return build_node(config(f"attention/normalizer={name}").attention.normalizer)(heads)


def weights(normalizer: Normalizer, *scores: float) -> list[float]:
    """Return the weights of one row of scores."""
    return normalizer(torch.tensor(scores, dtype=torch.float64).view(1, 1, 1, -1), ALL).flatten().tolist()


def projection(scores: Tensor, alpha: float) -> Tensor:
    """Return [(alpha - 1) e - tau]_+^(1 / (alpha - 1)) of one row, with tau from 200 bisections in plain Python."""
    x = [(alpha - 1) * e for e in scores.tolist()]
    low, high = max(x) - 1.0, max(x)
    for _ in range(200):
        tau = (low + high) / 2
        total = sum(max(v - tau, 0.0) ** (1 / (alpha - 1)) for v in x)
        low, high = (tau, high) if total > 1 else (low, tau)
    return torch.tensor([max(v - low, 0.0) ** (1 / (alpha - 1)) for v in x], dtype=scores.dtype)


def test_softmax_by_hand() -> None:
    """Scores log 0, log 1 and log 3 get the weights 0, 1/4 and 3/4; the fourth score is hidden."""
    scores = torch.tensor([0.0, 1.0, 3.0, 2.0]).double().log().view(1, 1, 1, 4)
    visible = torch.tensor([True, True, True, False])
    close(Softmax(1)(scores, visible), torch.tensor([[[[0, 0.25, 0.75, 0]]]], dtype=torch.float64))


def test_temperature_by_hand() -> None:
    """Temperature 1/2 squares the odds; temperature 2 takes their square root."""
    assert weights(Softmax(1, temperature=0.5), 0.0, math.log(3)) == pytest.approx([1 / 10, 9 / 10])
    assert weights(Softmax(1, temperature=2.0), 0.0, math.log(9)) == pytest.approx([1 / 4, 3 / 4])


def test_sigmoid_by_hand() -> None:
    """sigma(e) = 1/2, 3/4, 3/4, divided by their sum 2. The odds of a softmax would be 1, 3, 3."""
    assert weights(Sigmoid(1), 0.0, math.log(3), math.log(3)) == pytest.approx([1 / 4, 3 / 8, 3 / 8])
    scores = 3 * noise(2, 2, 3, 5)
    close(Sigmoid(2)(scores, ALL), scores.sigmoid() / scores.sigmoid().sum(-1, keepdim=True))


def test_sparsemax_by_hand() -> None:
    """tau = (1 + 0.6 - 1) / 2 = 0.3, and the third score is below it."""
    assert weights(Sparsemax(1), 1.0, 0.6, 0.2) == pytest.approx([0.7, 0.3, 0.0], abs=1e-15)
    assert weights(Sparsemax(1), 1.0, 2.5, 1.4) == [0, 1, 0]


def test_entmax15_by_hand() -> None:
    """Weights are [e / 2 - tau]_+^2. Here tau = 0, because 0.8^2 + 0.6^2 = 1; the third score is at the threshold."""
    assert weights(Entmax15(1), 1.6, 1.2, 0.0) == pytest.approx([0.64, 0.36, 0.0], abs=1e-15)
    assert weights(Entmax(1, alpha=1.5), 1.6, 1.2, 0.0) == pytest.approx([0.64, 0.36, 0.0], abs=1e-7)


def test_entmax_by_hand() -> None:
    """alpha = 4/3: weights are [e / 3 - tau]_+^3. The scores are chosen so that tau = 0: 8/27 + 19/27 = 1."""
    second = 3 * (19 / 27) ** (1 / 3)
    assert weights(Entmax(1, alpha=4 / 3, learn=False), 2.0, second, -1.0) == pytest.approx([8 / 27, 19 / 27, 0.0])


@every_sparse
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_sparse_weights_equal_bisection(name: str, scale: float) -> None:
    """Weights equal those of the bisection in ``projection`` and sum to 1."""
    scores = scale * noise(1, 1, 4, 40)
    found = build(name).double()(scores, ALL)
    close(found.sum(-1), torch.ones(1, 1, 4, dtype=torch.float64))
    for row, expected in zip(found[0, 0], scores[0, 0], strict=True):
        torch.testing.assert_close(row, projection(expected, SPARSE[name]), rtol=1e-7, atol=1e-7)
    if scale > 0.1:
        assert (found == 0).any()


@pytest.mark.parametrize("alpha", mostly_slow([1.01, 1.1, 1.3, 1.7, 1.9, 1.99], every=2))
def test_entmax_at_any_alpha(alpha: float) -> None:
    """Weights equal ``projection``, also for 2 000 equal scores and for 2 000 scores that need most Newton steps."""
    slow = -torch.linspace(0, 1, 2000, dtype=torch.float64).pow(0.05)
    for scores in (noise(2), noise(50), 0.1 * noise(2000), 10 * noise(2000), torch.zeros(2000).double(), slow):
        found = Entmax(1, alpha=alpha, learn=False)(scores.view(1, 1, 1, -1), ALL)
        torch.testing.assert_close(found.flatten(), projection(scores, alpha), rtol=1e-9, atol=1e-11)


def test_entmax_between_softmax_and_sparsemax() -> None:
    """alpha near 1 gives a softmax, and alpha near 2 gives sparsemax."""
    scores = noise(2, 3, 4, 7)
    near = Entmax(3, alpha=1.01, learn=False)(scores, ALL), Entmax(3, alpha=2 - 1e-9, learn=False)(scores, ALL)
    torch.testing.assert_close(near[0], Softmax(3)(scores, ALL), rtol=0, atol=0.01)
    torch.testing.assert_close(near[1], Sparsemax(3)(scores, ALL), rtol=0, atol=1e-8)


def test_sparsemax_is_idempotent() -> None:
    """Sparsemax is a projection, so it changes no weights that are already on the simplex; other normalisers do."""
    scores = noise(2, 3, 4, 7)
    once = Sparsemax(3)(scores, ALL)
    close(Sparsemax(3)(once, ALL), once)
    simplex = scores.softmax(-1)
    close(Sparsemax(3)(simplex, ALL), simplex)
    for name in ("softmax", "entmax15", "entmax", "sigmoid"):
        other = build(name, 3).double()
        assert not torch.allclose(other(other(scores, ALL), ALL), other(scores, ALL), atol=0.01)


@pytest.mark.parametrize("name", sorted(set(choices("attention/normalizer")) - {"sigmoid"}))
def test_shifting_all_scores_changes_nothing(name: str) -> None:
    scores = noise(2, 3, 4, 7)
    normalizer = build(name, 3).double()
    close(normalizer(scores + 5, ALL), normalizer(scores, ALL))


@every_normalizer
def test_weights_depend_only_on_visible_scores(name: str) -> None:
    """Hidden scores get no weight and no gradient, and don't change the other weights.

    Weights sum to 1, or to 0 where every score is hidden.
    """
    scores = (10 * noise(2, 3, 4, 5)).requires_grad_()
    visible = noise(2, 1, 4, 5, seed=1) > 0
    visible[0, :, 0] = False
    normalizer = build(name, 3).double()
    weights = normalizer(scores, visible)
    assert (weights >= 0).all()
    assert not weights[~visible.expand_as(weights)].any()
    close(weights.sum(-1), visible.any(-1).double().expand(2, 3, 4))
    inputs = [scores, *normalizer.parameters()]
    gradient, *others = torch.autograd.grad((weights * noise(2, 3, 4, 5, seed=2)).sum(), inputs)
    assert gradient.isfinite().all()
    assert not gradient[~visible.expand_as(weights)].any()
    assert all(other.isfinite().all() for other in others)
    for b, t in ((0, 1), (1, 2)):  # equal to a call without the hidden scores
        seen = visible[b, 0, t]
        alone = normalizer(scores[b : b + 1, :, t : t + 1, seen], ALL)
        close(weights[b, :, t, seen], alone[0, :, 0])


@every_normalizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_scores(name: str, dtype: torch.dtype) -> None:
    """Weights and gradients are finite for scores near the largest number of the dtype."""
    big = torch.finfo(dtype).max / 2
    scores = torch.tensor([[[[big, -big, 0.0], [-big, -big, -big], [big, big, big]]]], dtype=dtype).requires_grad_()
    normalizer = build(name, 1)
    weights = normalizer(scores, torch.tensor([True, True, False]))
    assert weights[0, 0, :, :2].tolist() == [[1, 0], [0.5, 0.5], [0.5, 0.5]]
    assert not weights[..., 2].any()
    assert weights.dtype == dtype
    (weights * torch.tensor([1.0, 2.0, 3.0], dtype=dtype)).sum().backward()
    assert all(x.grad.isfinite().all() for x in (scores, *normalizer.parameters()))


@every_normalizer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """Weights of 500 scores are as exact as the dtype allows."""
    scores = noise(2, 3, 4, 500, dtype=dtype)
    found = build(name, 3)(scores, ALL)
    exact = build(name, 3).double()(scores.double(), ALL)
    torch.testing.assert_close(found.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@every_normalizer
def test_gradients(name: str) -> None:
    """Gradients of scores and parameters equal finite differences."""
    normalizer = build(name, 3).double()
    visible = torch.tensor([True] * 6 + [False])

    def outputs(scores: Tensor, *parameters: Tensor) -> Tensor:
        """Return the weights; gradcheck changes ``parameters`` in place."""
        return normalizer(scores, visible)

    with torch.no_grad():
        for parameter in normalizer.parameters():
            parameter.copy_(noise(*parameter.shape, seed=1))
    assert gradcheck(outputs, (noise(2, 3, 2, 7).requires_grad_(), *normalizer.parameters()))


def test_jacobian_of_sparsemax() -> None:
    """diag(s) - s s^T / |S|, with s the indicator of the support (Martins & Astudillo 2016, equation 12)."""
    scores = noise(6)

    def row(x: Tensor) -> Tensor:
        """Return the weights of one row."""
        return Sparsemax(1)(x.view(1, 1, 1, -1), ALL).flatten()

    s = (row(scores) > 0).double()
    assert 1 < s.sum() < 6
    close(torch.autograd.functional.jacobian(row, scores), torch.diag(s) - torch.outer(s, s) / s.sum())


def test_each_head_learns_its_alpha() -> None:
    """Each head has one alpha without weight decay, and a larger alpha gives more zeros."""
    normalizer = Entmax(3, alpha=1.2)
    assert (1 + normalizer.shape.sigmoid()).tolist() == pytest.approx([1.2] * 3)
    with torch.no_grad():
        normalizer.shape.copy_(torch.tensor([-3.0, 0.0, 3.0]))
    scores = noise(1, 1, 1, 20).expand(1, 3, 1, 20)
    zeros = (normalizer.double()(scores, ALL) == 0).sum(-1).flatten().tolist()
    assert zeros == sorted(set(zeros))  # increases with alpha
    (group,) = parameter_groups(normalizer, "weights")
    assert group["weight_decay"] == 0
    assert not list(Entmax(3, learn=False).parameters())


def test_constrain_keeps_alpha_above_1() -> None:
    """``constrain`` moves alpha back to 1.01, because the exponent explodes near 1."""
    normalizer = Entmax(1)
    torch.nn.init.constant_(normalizer.shape, -100.0)
    normalizer.constrain()
    scores = noise(1, 1, 1, 9, dtype=torch.float32)
    torch.testing.assert_close(normalizer(scores, ALL), scores.softmax(-1), rtol=0, atol=0.01)
    Entmax(1, learn=False).constrain()


def test_alpha_still_learns_at_its_minimum() -> None:
    """Training towards a softmax moves alpha to its minimum of 1.01. Then training towards sparsemax increases it."""
    scores, normalizer = 2 * noise(64, 1, 1, 20, dtype=torch.float32), Entmax(1)
    optimizer = torch.optim.SGD(normalizer.parameters(), lr=1.0)
    alphas = []
    for target in (Softmax(1), Sparsemax(1)):
        for _ in range(60):
            optimizer.zero_grad()
            (normalizer(scores, ALL) - target(scores, ALL)).square().sum().backward()
            assert normalizer.shape.grad.abs() > 0
            optimizer.step()
            normalizer.constrain()
        alphas.append(1 + normalizer.shape.sigmoid().item())
    assert alphas[0] == pytest.approx(1.01, abs=1e-6)
    assert alphas[1] > 1.5


@every_sparse
def test_equals_the_entmax_package(name: str) -> None:
    """Weights and gradients equal the package's. No score is hidden: there the package raises or returns NaN."""
    entmax = pytest.importorskip("entmax")
    ours = build(name, 3).double()
    scores, by = (2 * noise(2, 3, 4, 30)).requires_grad_(), noise(2, 3, 4, 30, seed=1)
    theirs = {"sparsemax": entmax.sparsemax, "entmax15": entmax.entmax15}
    inputs = [scores]
    if isinstance(ours, Entmax):
        torch.nn.init.normal_(ours.shape)
        inputs.append(ours.shape)
        expected = entmax.entmax_bisect(
            scores, (1 + ours.shape.sigmoid())[:, None, None].expand(2, 3, 4, 1), n_iter=100
        )
    else:
        expected = theirs[name](scores, -1)
    found = ours(scores, ALL)
    close(found, expected)
    ours_, theirs_ = (torch.autograd.grad((x * by).sum(), inputs) for x in (found, expected))
    for our, their in zip(ours_, theirs_, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("position", ["none", "rotary", "alibi"])
def test_temperature_divides_scores_and_position_bias(position: str) -> None:
    """A temperature of 1/2 squares the odds, position bias included, with and without the fused kernel."""
    source = SourceSpec(WIDTH, is_self=True, causal=True, position=position)
    ours = mechanism("self_attention", "multi_head", source)
    queries, values = noise(2, 5, WIDTH), memory(5, 3)
    plain = walk(ours, queries, values).weights
    ours.normalizer = Softmax(4, temperature=0.5)
    answer = walk(ours, queries, values)
    close(answer.weights, F.normalize(plain.square(), p=1, dim=-1))
    close(walk(ours, queries, values, need_weights=False).context, answer.context)


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"temperature=0.0 must be above 0"):
        Softmax(1, temperature=0.0)
    for alpha in (1.0, 2.0):
        with pytest.raises(UserError, match=r"alpha=[12].0 must lie in \[1.01, 2\).*softmax.*sparsemax"):
            Entmax(1, alpha=alpha)
