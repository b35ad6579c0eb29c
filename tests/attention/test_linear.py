"""Tests of linear attention: it equals its explicit kernel matrix, and FAVOR+ approaches softmax."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from seq2seq.attention.components.feature_maps import Elu, Favor, FeatureMap, orthogonal
from seq2seq.attention.components.ordering import rotate
from seq2seq.attention.linear import BLOCK, LinearAttention
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.errors import UserError
from tests import seeding
from tests.attention.walk import ask, close, cut, walk
from tests.catalogue import memory, noise, randomise

WIDTH, HEADS = 8, 2
D = WIDTH // HEADS
CROSS = SourceSpec(WIDTH)
ENCODER, DECODER = SourceSpec(WIDTH, is_self=True), SourceSpec(WIDTH, is_self=True, causal=True)
LONG = 2 * BLOCK + 22
MAPS = {"elu": partial(Elu), "favor": partial(Favor, features=6)}
every_map = pytest.mark.parametrize("feature_map", MAPS.values(), ids=MAPS)
every_slot = pytest.mark.parametrize("source", [CROSS, ENCODER, DECODER], ids=["cross", "encoder", "decoder"])


def build(source: SourceSpec, feature_map: partial[FeatureMap] = MAPS["elu"], scale: float = 1.0) -> LinearAttention:
    """Build linear attention whose queries and keys are ``scale`` times as large as drawn."""
    seeding.seed(0)
    made = randomise(LinearAttention(WIDTH, source, feature_map=feature_map, heads=HEADS).double()).eval()
    with torch.no_grad():
        for parameter in made.query.parameters():
            parameter.mul_(scale)
        for parameter in made.key_value.parameters():
            parameter[:WIDTH].mul_(scale)
    return made


def kernel(attention: LinearAttention, queries: Tensor, source: Memory, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return W_o A V and A, with A_ts = phi(q_t) . phi(k_s) where ``mask`` (B, T, S), rows divided by their sums."""
    head = (HEADS, D)
    q = attention.query(queries).unflatten(-1, head)
    k, v = (x.unflatten(-1, head) for x in attention.key_value(source.values).chunk(2, -1))
    phi_q, phi_k = (features(attention.feature_map, x) for x in (q, k))
    weights = torch.einsum("bthm,bshm->bhts", phi_q, phi_k) * (mask & source.mask[:, None]).unsqueeze(1)
    total = weights.sum(-1, keepdim=True)
    weights = torch.where(total > 0, weights / total, 0.0)
    context = attention.output(torch.einsum("bhts,bshd->bthd", weights, v).flatten(2))
    return context * weights.any(-1).any(1).unsqueeze(-1), weights


def features(feature_map: FeatureMap, x: Tensor) -> Tensor:
    """Return phi(x) by the formula of the papers."""
    if isinstance(feature_map, Elu):
        return F.elu(x) + 1
    assert isinstance(feature_map, Favor)
    w, x = feature_map.directions, x / D**0.25
    return (x @ w.T - x.square().sum(-1, keepdim=True) / 2).exp() / math.sqrt(len(w))


def lower(size: int) -> Tensor:
    """Return the causal mask (1, size, size)."""
    return torch.ones(1, size, size, dtype=torch.bool).tril()


def test_weights_and_context_by_hand() -> None:
    """phi(0) = 1 and phi(k) = 1, 2, 1/2 for k = 0, 1, -ln 2: the weights are 2/7, 4/7, 1/7."""
    attention = LinearAttention(1, SourceSpec(2), feature_map=Elu).double()
    for layer in (attention.query, attention.key_value, attention.output):
        nn.init.eye_(layer.weight)
    values = torch.tensor([[[0.0, 7.0], [1.0, 14.0], [-math.log(2.0), 21.0]]], dtype=torch.float64)
    answer = walk(attention, torch.zeros(1, 1, 1, dtype=torch.float64), Memory.of(values, torch.ones(1, 3).bool()))
    close(answer.weights.flatten(), torch.tensor([2.0, 4.0, 1.0], dtype=torch.float64) / 7)
    close(answer.context.flatten(), torch.tensor([13.0], dtype=torch.float64))


def test_elu_is_exact_far_below_zero() -> None:
    """The feature is e^x there. Computed as elu(x) + 1 it would round to 0, and a row of such keys would be empty."""
    x = torch.tensor([-40.0, -1.0, 0.0, 3.0], requires_grad=True)
    found = Elu(4).powers(x)
    assert found.tolist() == pytest.approx([-40.0, -1.0, 0.0, math.log(4.0)])
    found.exp().sum().backward()
    assert x.grad.tolist() == pytest.approx([math.exp(-40), math.exp(-1), 1.0, 1.0], rel=1e-6)


@every_map
@every_slot
@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "fast"])
@pytest.mark.parametrize("chunks", [(LONG,), (BLOCK + 30, 1, 1, LONG - BLOCK - 32), (1,) * 5 + (LONG - 5,)], ids=len)
def test_kernel_matrix(
    source: SourceSpec, feature_map: partial[FeatureMap], chunks: tuple[int, ...], need_weights: bool
) -> None:
    """Sums over the source, blocks, and a past kept only as sums give the result of the explicit matrix."""
    attention, queries = build(source, feature_map), noise(2, LONG, WIDTH)
    values = memory(LONG, 90, step=1 if source.causal else 3)
    mask = lower(LONG) if source.causal else torch.ones(2, LONG, LONG, dtype=torch.bool)
    context, weights = kernel(attention, queries, values, mask)
    answer = walk(attention, queries, values, chunks=chunks, need_weights=need_weights)
    close(answer.context, context)
    if need_weights:
        close(answer.weights, weights)


@every_map
@every_slot
def test_any_mask(source: SourceSpec, feature_map: partial[FeatureMap]) -> None:
    """Any mask gives the result of the explicit matrix."""
    attention, queries, values = build(source, feature_map), noise(2, LONG, WIDTH), memory(LONG, 90)
    mask = noise(2, LONG, LONG, seed=5) > 1.0
    allowed = mask & lower(LONG) if source.causal else mask
    context, weights = kernel(attention, queries, values, allowed)
    if source.causal:
        assert (context == 0).all(-1).any()  # early queries see nothing
    for need_weights in (True, False):
        answer = walk(attention, queries, values, mask=mask, need_weights=need_weights)
        close(answer.context, context)
    close(walk(attention, queries, values, mask=mask).weights, weights)


@every_map
def test_blocks_without_a_mask_read_positions(feature_map: partial[FeatureMap]) -> None:
    """Queries at earlier positions than the keys beside them, or in another order, see fewer keys than a triangle."""
    attention, queries, source = build(DECODER, feature_map), noise(1, LONG, WIDTH), memory(LONG)
    prepared = attention.prepare(source)
    places = torch.arange(LONG)
    for asked in (places - 1, places - BLOCK - 3, places.flip(0)):
        found = attention(Query(queries, asked[None]), prepared, {}).context
        close(found, kernel(attention, queries, source, (places <= asked[:, None])[None])[0])
    turned = replace(source, positions=places.flip(0)[None, :, None])
    found = attention(Query(queries, places.flip(0)[None]), attention.prepare(turned), {}).context
    close(found, kernel(attention, queries, source, ~lower(LONG) | torch.eye(LONG, dtype=torch.bool))[0])


@every_map
@every_slot
def test_constant_values_are_reproduced(source: SourceSpec, feature_map: partial[FeatureMap]) -> None:
    """Where all values are equal, the context equals them."""
    attention = build(source, feature_map)
    nn.init.eye_(attention.output.weight)
    nn.init.zeros_(attention.output.bias)
    nn.init.zeros_(attention.key_value.weight[WIDTH:])
    answer = walk(attention, noise(2, LONG, WIDTH), memory(LONG, 90), need_weights=False)
    close(answer.context, attention.key_value.bias[WIDTH:].expand(2, LONG, -1))


@every_map
def test_a_source_is_reduced_to_sums_once(feature_map: partial[FeatureMap]) -> None:
    """The sums are H M (D + 1) numbers for any length of the source; queries read nothing else."""
    attention = build(CROSS, feature_map)
    for size in (5, 500):
        prepared = attention.prepare(memory(size))
        sums = {name: prepared.prepared[name] for name in ("matrix", "total")}
        wide = sums["matrix"].shape[2]
        assert sum(x.numel() for x in sums.values()) == HEADS * wide * (D + 1)
        unread = {name: x * torch.nan for name, x in prepared.prepared.items() if name in ("keys", "values")}
        blind = replace(prepared, prepared={**prepared.prepared, **unread})
        close(
            attention(ask(noise(1, 3, WIDTH), 0), blind, {}).context,
            walk(attention, noise(1, 3, WIDTH), memory(size)).context,
        )


@every_map
def test_a_past_is_kept_only_as_sums(feature_map: partial[FeatureMap]) -> None:
    """The past has the same size after each step."""
    attention, source = build(DECODER, feature_map), memory(9, 4)
    past, sizes = None, []
    for t in range(9):
        past = attention.extend(past, attention.prepare(cut(source, slice(t, t + 1))))
        tensors = (past.values, past.mask, past.positions, *past.prepared.values())
        sizes.append(sum(x.numel() for x in tensors))
    assert len(set(sizes[1:])) == 1
    assert past.extent.tolist() == [[9], [4]]
    assert past.mask.shape == past.positions.shape[:2] == past.values.shape[:2] == (2, 1)


@every_map
def test_a_past_in_sums_can_be_extended_by_keys(feature_map: partial[FeatureMap]) -> None:
    """Weights requested later cover the positions whose keys are kept; the context covers all positions."""
    attention, queries, source = build(DECODER, feature_map), noise(2, 9, WIDTH), memory(9, 4)
    context, weights = kernel(attention, queries, source, lower(9))
    past = None
    for start, stop, need_weights in ((0, 3, False), (3, 5, False), (5, 7, True), (7, 9, True)):
        new = attention.prepare(cut(source, slice(start, stop)))
        past = attention.extend(past, new, need_weights=need_weights)
    answer = attention(ask(queries[:, 7:], 7), past, {}, need_weights=True)
    close(answer.context, context[:, 7:])
    close(answer.weights, weights[:, :, 7:, 3:])


class Largest(TorchDispatchMode):
    """Record the size of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, Tensor):
                self.size = max(self.size, x.numel())
        return out


@every_map
@every_slot
def test_no_tensor_is_quadratic_in_the_length(source: SourceSpec, feature_map: partial[FeatureMap]) -> None:
    """Twice the length at most doubles the largest tensor of the forward and backward pass."""
    attention = build(source, feature_map)
    sizes = []
    for size in (512, 1024):
        with Largest() as largest:
            walk(attention, noise(1, size, WIDTH), memory(size), need_weights=False).context.sum().backward()
        sizes.append(largest.size)
    assert sizes[1] <= 2 * sizes[0]


def test_orthogonal_directions() -> None:
    """Directions are orthogonal within each block of D, and each direction alone is standard normal."""
    seeding.seed(0)
    rows = orthogonal(4000 * D + 1, D).double()
    assert rows.shape == (4000 * D + 1, D)
    blocks = rows[:-1].unflatten(0, (-1, D))
    products = blocks @ blocks.mT
    assert (products - torch.diag_embed(products.diagonal(dim1=1, dim2=2))).abs().max() < 1e-4
    for place in range(D):  # no axis and no sign is preferred
        one = blocks[:, place]
        torch.testing.assert_close(one.mean(0), torch.zeros(D).double(), rtol=0, atol=4 / 4000**0.5)
        torch.testing.assert_close(one.T @ one / len(one), torch.eye(D).double(), rtol=0, atol=6 / 4000**0.5)
        assert one.square().sum(-1).var().item() == pytest.approx(2 * D, rel=0.15)  # chi squared


def test_favor_is_unbiased() -> None:
    """E[phi(q) . phi(k)] = exp(q . k / sqrt(D)) over draws of the directions."""
    seeding.seed(0)
    x = 0.5 * noise(2, 1, 3, D)
    estimates = []
    for _ in range(4000):
        favor = Favor(D, features=D + 2).double()
        q, k = features(favor, x)
        close(favor.powers(x).exp(), torch.stack((q, k)))
        estimates.append(q[0] @ k[0].T)
    found = torch.stack(estimates)
    error = found.std(0) / len(found) ** 0.5
    exact = (x[0, 0] @ x[1, 0].T / D**0.5).exp()
    assert ((found.mean(0) - exact).abs() < 4 * error).all()
    assert (error < 0.05 * exact).all()


@every_map
def test_powers_are_logarithms_of_features(feature_map: partial[FeatureMap]) -> None:
    """exp(powers(x)) equals phi(x) by the formula of the papers."""
    made, x = build(CROSS, feature_map).feature_map, noise(2, HEADS, 5, D)
    close(made.powers(x).exp(), features(made, x))


@every_slot
def test_favor_approaches_softmax(source: SourceSpec) -> None:
    """The mean error of the weights falls by half or more for 16 times as many features."""
    queries, values = noise(2, 20, WIDTH), memory(20, 9)
    errors = []
    for count in (16, 256, 4096, 65536):
        attention = build(source, partial(Favor, features=count), 0.5)
        q = attention.query(queries).unflatten(-1, (HEADS, D)).transpose(1, 2)
        k = attention.key_value(values.values).chunk(2, -1)[0].unflatten(-1, (HEADS, D)).transpose(1, 2)
        visible = values.mask[:, None, None] & (lower(20)[:, None] if source.causal else torch.tensor(True))
        exact = torch.softmax((q @ k.mT / D**0.5).masked_fill(~visible, -torch.inf), -1)
        errors.append((walk(attention, queries, values).weights - exact).abs().mean().item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 8 * errors[3]
    assert errors[3] < 3e-3


@pytest.mark.parametrize("scale", [3.0, 30.0])
def test_favor_outside_the_range_of_floats(scale: float) -> None:
    """Features such as e^-110 or e^-9000 underflow in fp32, but their ratios don't; exponents are rounded to 1e-7."""
    attention, queries, source = build(DECODER, MAPS["favor"], scale), noise(2, LONG, WIDTH), memory(LONG, 90)
    powers = attention.feature_map.powers(attention.prepare(source).prepared["keys"])
    assert powers.min() < -12 * scale
    exact = walk(attention, queries, source, chunks=(1,) * LONG).context
    attention.float()
    narrow = replace(source, values=source.values.float().requires_grad_())
    for chunks in ((LONG,), (1,) * LONG):
        context = walk(attention, queries.float(), narrow, chunks=chunks, need_weights=False).context
        torch.testing.assert_close(context.double(), exact, rtol=3e-5 * scale, atol=3e-5 * scale)
        (gradient,) = torch.autograd.grad(context.sum(), narrow.values)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("size", [20, LONG], ids=["at once", "in blocks"])
def test_large_features_do_not_erase_earlier_keys(size: int) -> None:
    """In fp32, keys of zero have the largest features; earlier queries see only features e^-100 times as large."""
    attention, queries, strict = build(DECODER, MAPS["favor"]), noise(1, size, WIDTH), lower(size).tril(-1)
    nn.init.eye_(attention.key_value.weight[:WIDTH])
    nn.init.zeros_(attention.key_value.bias[:WIDTH])
    source = memory(size)
    source.values.copy_(30 * F.normalize(source.values.unflatten(-1, (HEADS, D)), dim=-1).flatten(-2))
    source.values[:, 9::10] = 0.0
    powers = attention.feature_map.powers(attention.prepare(source).prepared["keys"])
    assert powers[:, :, :9].max() < -100
    assert powers[:, :, 9].min() > -1
    ways = ((None, False, lower(size)), (None, True, lower(size)), (strict, False, strict))
    expected = [kernel(attention, queries, source, seen)[0] for _, _, seen in ways]
    attention.float()
    narrow = replace(source, values=source.values.float().requires_grad_())
    for (mask, need_weights, _), exact in zip(ways, expected, strict=True):
        context = walk(attention, queries.float(), narrow, mask=mask, need_weights=need_weights).context
        torch.testing.assert_close(context.double(), exact, rtol=1e-4, atol=1e-4)
        (gradient,) = torch.autograd.grad(context.sum(), narrow.values)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
def test_rotary_performer_estimates_rotary_softmax(causal: bool) -> None:
    """The weights equal the kernel matrix of rotated queries and keys, which approaches their softmax."""
    source = SourceSpec(WIDTH, is_self=True, causal=causal, position="rotary")
    attention = build(source, partial(Favor, features=20_000), 0.25)
    queries, values, places = noise(1, 9, WIDTH), memory(9), torch.arange(9)[None]
    weights = walk(attention, queries, values, chunks=(4, 5)).weights
    q = rotate(attention.query(queries).unflatten(-1, (HEADS, D)).transpose(1, 2), places)
    k = attention.key_value(values.values).chunk(2, -1)[0].unflatten(-1, (HEADS, D)).transpose(1, 2)
    k = rotate(k, places)
    visible = lower(9) if causal else torch.ones(1, 9, 9, dtype=torch.bool)
    products = features(attention.feature_map, q) @ features(attention.feature_map, k).mT * visible
    close(weights, products / products.sum(-1, keepdim=True))
    softmax = torch.softmax((q @ k.mT / D**0.5).masked_fill(~visible, -torch.inf), -1)
    torch.testing.assert_close(weights, softmax, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("options", "source", "reason"),
    [
        ({"heads": 3}, CROSS, "heads=3 must divide the width 8"),
        ({"heads": 0}, CROSS, "heads=0"),
        ({"dim": 6, "heads": 4}, CROSS, "heads=4 must divide the width 6"),
        ({"feature_map": partial(Favor, features=0)}, CROSS, "features=0 must be at least 1"),
        ({}, SourceSpec(WIDTH, is_self=True, position="rotary"), "feature map elu.*favor"),
        ({"feature_map": Favor, "heads": 8}, SourceSpec(WIDTH, is_self=True, position="rotary"), "even width"),
        ({}, SourceSpec(WIDTH, is_self=True, position="alibi"), "ALiBi"),
        ({"feature_map": Favor}, SourceSpec(WIDTH, is_self=True, position="alibi"), "ALiBi"),
    ],
)
def test_refusals(options: dict[str, Any], source: SourceSpec, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        LinearAttention(WIDTH, source, **{"feature_map": Elu, **options})
