"""Tests of scores: each equals values worked by hand, a second formula or a function of PyTorch."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Additive, Constant, Cosine, Dot, General, Location, ScaledDot, Score
from seq2seq.attention.components.windows import Global
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from seq2seq.loss import Criterion
from seq2seq.training.optimization import parameter_groups
from tests.attention.walk import close, walk
from tests.catalogue import batch, mechanism, memory, model, noise, randomise

Q, K, HEADS, T, S = 4, 6, 2, 3, 5


def scores(score: Score, queries: Tensor, keys: Tensor, places: Memory | None = None) -> Tensor:
    """Return scores (B, H, T, S) for queries (B, H, T, Q) and keys (B, H, S, K)."""
    return score(queries, score.keys(keys), places or memory(*[keys.shape[2]] * len(keys)))


def attend(score: partial[Score], queries: Tensor, source: Memory) -> tuple[Tensor, Tensor]:
    """Return the context and the weights of one head without projections."""
    spec = SourceSpec(source.values.shape[-1])
    attention = ComposedAttention(queries.shape[-1], spec, score=score, window=Global, normalizer=Softmax)
    answer = walk(randomise(attention.double()).eval(), queries, source)
    return answer.context, answer.weights


def test_dot_by_hand() -> None:
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    queries = torch.tensor([[2.0, 3.0]])
    found = scores(Dot(2, 2, 1, SourceSpec(2)), queries[None, None], keys[None, None])
    assert found.tolist() == [[[[2.0, 3.0, 5.0]]]]


def test_general_by_hand() -> None:
    score = General(2, 3, 1, SourceSpec(3))
    score.weight.data = torch.tensor([[[1.0, 0.0, 2.0], [0.0, -1.0, 0.0]]])
    keys = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])  # W k = [7, -2], [0, -1]
    found = scores(score, torch.tensor([[[[1.0, 2.0]]]]), keys[None, None])
    assert found.tolist() == [[[[3.0, -2.0]]]]


def test_additive_by_hand() -> None:
    """v^T tanh(W q + U k + b) of one query and one key."""
    score = Additive(1, 1, 1, SourceSpec(1), dim=2, bias=True).double()
    parameters = {"query_weight": [[[1.0, 2.0]]], "key_weight": [[[0.0, 1.0]]], "bias": [[[0.5, 0.0]]]}
    for name, value in parameters.items():
        getattr(score, name).data = torch.tensor(value, dtype=torch.float64)
    score.vector.data = torch.tensor([3.0, -1.0], dtype=torch.float64).view_as(score.vector)
    found = scores(score, torch.full((1, 1, 1, 1), 0.25).double(), torch.full((1, 1, 1, 1), 0.1).double())
    assert found.item() == pytest.approx(3 * math.tanh(0.25 + 0.5) - math.tanh(0.5 + 0.1))


def test_cosine_by_hand() -> None:
    """(3, 4) . (5, 12) / 65: lengths have no effect, and zero vectors score 0."""
    score = Cosine(2, 2, 1, SourceSpec(2), gain=2.0)
    keys = torch.tensor([[3.0, 4.0], [5.0, 12.0], [-30.0, -40.0], [0.0, 0.0]])
    found = scores(score, torch.tensor([[[[3.0, 4.0], [0.0, 0.0]]]]), keys[None, None]).flatten().tolist()
    assert found == pytest.approx([2, 2 * 63 / 65, -2, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("learn", [True, False])
def test_cosine_equals_pytorch(learn: bool) -> None:
    """The score equals the gain times ``F.cosine_similarity``; a learned gain is one number for each head."""
    score = Cosine(Q, Q, HEADS, SourceSpec(Q), gain=3.0, learn=learn).double()
    queries, keys = noise(2, HEADS, T, Q), noise(2, HEADS, S, Q, seed=1)
    expected = F.cosine_similarity(queries.unsqueeze(3), keys.unsqueeze(2), dim=-1)
    close(scores(score, queries, keys), 3 * expected)
    if learn:
        score.gain.data = torch.tensor([0.5, -2.0]).double()
        close(scores(score, queries, keys)[:, 1], -2 * expected[:, 1])
    assert [p.shape for p in score.parameters()] == ([(HEADS,)] if learn else [])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_cosine_of_zero_and_huge_vectors(dtype: torch.dtype) -> None:
    """Scores and gradients are finite for zero vectors and for vectors whose square overflows in fp16."""
    queries = torch.zeros(1, 1, 3, Q, dtype=dtype)
    queries[..., 1, :] = 1e4
    queries[..., 2, 0] = 1.0
    queries.requires_grad_()
    score = Cosine(Q, Q, 1, SourceSpec(Q)).to(dtype)
    found = scores(score, queries, queries)
    assert not found[..., 0, :].any()
    torch.testing.assert_close(found[0, 0, 1, 1].item(), 10.0, rtol=0.01, atol=0)
    found.sum().backward()
    assert queries.grad.isfinite().all()


@pytest.mark.parametrize("score", [Dot, ScaledDot, General, Cosine])
def test_each_head_has_a_gain_without_weight_decay(score: type[Dot]) -> None:
    """As ``scaled_luong``, a gain starts at 1 and multiplies the scores of its head. It has no weight decay."""
    plain, gained = (
        score(Q, Q, HEADS, SourceSpec(Q), **o).double() for o in ({}, {} if score is Cosine else {"gain": True})
    )
    gained.load_state_dict(plain.state_dict(), strict=False)
    queries, keys = noise(2, HEADS, T, Q), noise(2, HEADS, S, Q, seed=1)
    before = scores(plain, queries, keys)
    close(scores(gained, queries, keys), before)
    with torch.no_grad():
        gained.gain *= torch.tensor([2.0, -0.5])
    close(scores(gained, queries, keys), before * torch.tensor([2.0, -0.5]).double()[:, None, None])
    undecayed = parameter_groups(gained, "weights")[-1]
    assert any(p is gained.gain for p in undecayed["params"])
    assert undecayed["weight_decay"] == 0


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", ["cosine", "dot", "general"])
def test_gains_and_scales_on_the_fused_path(name: str, groups: int) -> None:
    """Contexts of the fused kernel equal those with weights."""
    options = ["attention.score.scale=0.7", *([] if name == "cosine" else ["attention.score.gain=true"])]
    ours = mechanism(
        "attention", "multi_head", SourceSpec(8), f"attention/score={name}", f"attention.groups={groups}", *options
    )
    queries, source = noise(2, T, 8), memory(S, 3)
    close(walk(ours, queries, source, need_weights=False).context, walk(ours, queries, source).context)


def test_dot_is_unscaled_sdpa() -> None:
    """The context equals torch's scaled_dot_product_attention with a scale of 1."""
    queries, source = noise(2, T, K), memory(S, 3, width=K)
    expected = F.scaled_dot_product_attention(
        queries, source.values, source.values, attn_mask=source.mask[:, None], scale=1.0
    )
    close(attend(partial(Dot), queries, source)[0], expected)


def test_scaled_dot_is_sdpa() -> None:
    """The context equals torch's scaled_dot_product_attention."""
    queries, source = noise(2, T, K), memory(S, 3, width=K)
    expected = F.scaled_dot_product_attention(queries, source.values, source.values, attn_mask=source.mask[:, None])
    close(attend(partial(ScaledDot), queries, source)[0], expected)


def test_general_matrix_may_multiply_the_queries() -> None:
    """The score multiplies the keys by W; multiplying the queries by W gives the same scores."""
    score = randomise(General(Q, K, HEADS, SourceSpec(K)).double())
    queries, keys = noise(2, HEADS, T, Q), noise(2, HEADS, S, K, seed=1)
    close(scores(score, queries, keys), (queries @ score.weight) @ keys.transpose(2, 3))


def test_additive_is_concat() -> None:
    """Bahdanau's v^T tanh(W q + U k) equals Luong's v^T tanh([W U] [q; k]), computed for one pair at a time."""
    score = randomise(Additive(Q, K, HEADS, SourceSpec(K), dim=7, bias=True).double())
    queries, keys = noise(2, HEADS, T, Q), noise(2, HEADS, S, K, seed=1)
    found = scores(score, queries, keys)
    for head in range(HEADS):
        joined = torch.cat((score.query_weight[head], score.key_weight[head])).t()  # [W U], (A, Q + K)
        vector, bias = score.vector[head].flatten(), score.bias[head].flatten()
        for b, t, s in [(0, 0, 0), (0, 2, 4), (1, 1, 3)]:
            pair = torch.cat((queries[b, head, t], keys[b, head, s]))
            close(found[b, head, t, s], vector @ torch.tanh(joined @ pair + bias))


def test_additive_starts_as_in_the_paper() -> None:
    """v = 0, so that initial weights are uniform over the real positions, and only v has a gradient."""
    score = Additive(64, 64, 1, SourceSpec(64), init_std=0.001)
    assert score.query_weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert score.key_weight.std().item() == pytest.approx(0.001, rel=0.1)
    attention = ComposedAttention(
        64, SourceSpec(64), score=partial(Additive, init_std=0.001), window=Global, normalizer=Softmax
    ).double()
    answer = walk(attention, noise(2, T, 64), memory(4, 2, width=64))
    close(answer.weights[:, 0, 0], torch.tensor([[0.25] * 4, [0.5, 0.5, 0, 0]], dtype=torch.float64))
    answer.context.square().sum().backward()
    assert attention.score.vector.grad.any()
    assert not attention.score.query_weight.grad.any()
    assert not attention.score.key_weight.grad.any()


def test_additive_normalized() -> None:
    """The score uses g v / |v|: the length of v has no effect, and g starts at sqrt(1/A)."""
    score = Additive(Q, K, 1, SourceSpec(K), dim=9, normalize=True).double()
    assert score.gain.item() == pytest.approx(1 / 3)
    queries, keys = noise(1, 1, T, Q), noise(1, 1, S, K, seed=1)
    before = scores(score, queries, keys)
    plain = Additive(Q, K, 1, SourceSpec(K), dim=9).double()
    plain.load_state_dict({name: value for name, value in score.state_dict().items() if name != "gain"})
    plain.vector.data *= score.gain.item() / plain.vector.data.norm()
    close(scores(plain, queries, keys), before)
    score.vector.data *= 5
    close(scores(score, queries, keys), before)


def test_location_reads_positions() -> None:
    """Row j of W is the score of the value at position j. Positions beyond the last row are hidden."""
    score = randomise(Location(Q, K, 1, SourceSpec(K), max_length=6).double())
    source = memory(S, 2, width=K, step=2)  # at 0, 2, 4, 6, 8
    queries = noise(2, T, Q)
    found = scores(score, queries.unsqueeze(1), source.values.unsqueeze(1), source)
    close(found[:, 0, :, :3], (queries @ score.weight[0])[..., [0, 2, 4]])
    assert score.visible(source).tolist() == [[True, True, True, False, False]] * 2
    _, weights = attend(partial(Location, max_length=6), queries, source)
    close(weights.sum(-1), torch.ones(2, 1, T, dtype=torch.float64))
    assert not weights[..., 3:].any()


def test_location_ignores_content() -> None:
    """Other values at the same positions have the same weights."""
    queries, source = noise(2, T, Q), memory(S, 3, width=K)
    other = Memory(source.values.flip(0) + 1, source.mask, source.positions, source.extent)
    location = partial(Location, max_length=8)
    assert torch.equal(attend(location, queries, source)[1], attend(location, queries, other)[1])


def test_constant_is_the_mean() -> None:
    """The context is the mean of the real values."""
    queries, source = noise(2, T, Q), memory(4, 2, width=K)
    context, weights = attend(partial(Constant), queries, source)
    close(context, torch.stack((source.values[0].mean(0), source.values[1, :2].mean(0)))[:, None].expand(-1, T, -1))
    close(weights[1, 0, 0], torch.tensor([0.5, 0.5, 0, 0], dtype=torch.float64))


def test_constant_gives_every_parameter_a_gradient() -> None:
    """DistributedDataParallel waits for the gradient of every parameter."""
    probe = model("model=transformer", attention="uniform")
    Criterion()(probe(batch()), batch()).total.backward()
    assert all(p.grad is not None for p in probe.parameters())


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"queries have 4 and keys 6.*general score"):
        Dot(Q, K, 1, SourceSpec(K))
    for score in (ScaledDot, Cosine):
        with pytest.raises(UserError, match="equal widths"):
            score(Q, K, 1, SourceSpec(K))
    with pytest.raises(UserError, match="no such order"):
        Location(Q, K, 1, SourceSpec(K, axes=2))
    with pytest.raises(UserError, match="grows"):
        Location(Q, K, 1, SourceSpec(K, causal=True))
    with pytest.raises(UserError, match="init_std"):
        Additive(Q, K, 1, SourceSpec(K), normalize=True, init_std=0.001)


def test_additive_stores_little_for_the_backward_pass() -> None:
    """The score stores at most a fifth of the B T S A numbers that tanh has (T = S = 50, A = 512)."""
    score = Additive(16, 16, 1, SourceSpec(16), dim=512)
    queries, keys = noise(2, 1, 50, 16, dtype=torch.float32), noise(2, 1, 50, 16, dtype=torch.float32)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        """Record the memory of a stored tensor."""
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores(score, queries, keys)
    assert sum(kept.values()) < 2 * 50 * 50 * 512 * 4 / 5


@pytest.mark.parametrize("score", [Dot, General])
def test_products_of_normalised_vectors_start_with_unit_variance(score: type[Dot]) -> None:
    """``scale=None`` gives unit variance for normalised vectors.

    The default is a factor of 1, as in configs that are older than the option.
    """
    torch.manual_seed(0)
    queries, keys = torch.randn(1, 1, 200, 64), torch.randn(1, 1, 200, 64)
    normalised = SourceSpec(64, states="normalised")
    assert scores(score(64, 64, 1, normalised, scale=None), queries, keys).std().item() == pytest.approx(1.0, rel=0.1)
    assert score(64, 64, 1, SourceSpec(64), scale=None).scale == (1.0 if score is Dot else 1 / 8)
    assert score(64, 64, 1, normalised).scale == 1.0


SCALED = {
    "dot": (Dot, {}),
    "scaled_dot": (ScaledDot, {}),
    "general": (General, {}),
    "cosine": (Cosine, {}),
    "cosine-fixed": (Cosine, {"learn": False}),
    "additive": (Additive, {"bias": True}),
    "additive-normed": (Additive, {"normalize": True}),
    "location": (Location, {"max_length": 9}),
}


@pytest.mark.parametrize("name", SCALED)
def test_scale_multiplies_the_formula(name: str) -> None:
    kind, options = SCALED[name]
    source = SourceSpec(Q, states="normalised")
    plain, scaled = (randomise(kind(Q, Q, HEADS, source, scale=scale, **options).double()) for scale in (1.0, 2.5))
    queries, keys = noise(2, HEADS, T, Q), noise(2, HEADS, S, Q, seed=1)
    close(scores(scaled, queries, keys), 2.5 * scores(plain, queries, keys))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scale_must_be_above_0(scale: float) -> None:
    """Every score refuses a scale that is not above 0."""
    for kind, options in SCALED.values():
        with pytest.raises(UserError, match=r"^scale=.* must be above 0"):
            kind(Q, Q, 1, SourceSpec(Q), scale=scale, **options)
