"""Tests of latent attention: its two forms equal each other, its equations, PyTorch's SDPA and Hugging Face's class."""

from __future__ import annotations

import cmath
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.components.ordering import alibi, rotate
from seq2seq.attention.latent import LatentAttention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import ask, close, cut, same, walk
from tests.catalogue import memory, noise, randomise

WIDTH, HEADS, D, L, R = 8, 4, 3, 5, 2
T = 7
CROSS = SourceSpec(WIDTH)
ENCODER, DECODER = SourceSpec(WIDTH, is_self=True), SourceSpec(WIDTH, is_self=True, causal=True)
SLOTS = {
    "cross": (CROSS, {}),
    "encoder": (ENCODER, {"rope_dim": R}),
    "decoder": (DECODER, {"rope_dim": R, "query_latent_dim": 6}),
    "decoder-alibi": (SourceSpec(WIDTH, is_self=True, causal=True, position="alibi"), {}),
}
every_slot = pytest.mark.parametrize(("source", "options"), SLOTS.values(), ids=SLOTS)


def build(source: SourceSpec, **options: Any) -> LatentAttention:
    """Return latent attention with random parameters."""
    given = {"heads": HEADS, "dim": HEADS * D, "latent_dim": L, **options}
    return randomise(LatentAttention(WIDTH, source, **given).double()).eval()


def norm(x: list[complex], gain: Tensor) -> list[complex]:
    """Divide by the root mean square, then multiply by the gain (RMSNorm)."""
    size = math.sqrt(sum(abs(v) ** 2 for v in x) / len(x) + 1e-6)
    return [v / size * g for v, g in zip(x, gain.tolist(), strict=True)]


def times(matrix: Tensor, x: list[complex]) -> list[complex]:
    """Multiply a matrix by a vector."""
    return [sum(w * v for w, v in zip(row, x, strict=True)) for row in matrix.tolist()]


def rotated(x: list[complex], place: int) -> list[complex]:
    """Apply RoPE as in the released code: two neighbours are one complex number."""
    pairs = [complex(a, b) for a, b in zip(x[::2], x[1::2], strict=True)]
    return [p * cmath.exp(1j * place * 10000 ** (-2 * i / len(x))) for i, p in enumerate(pairs)]


def test_output_equals_the_equations() -> None:
    """The output equals DeepSeek-V2's equations 9 to 19 in plain Python, with the norms of the released code."""
    attention = build(DECODER, rope_dim=4, query_latent_dim=6)
    queries, source = noise(1, T, WIDTH), memory(T)
    answer = walk(attention, queries, source)
    down_kv, down_kr = attention.down.weight.split((L, 4))
    up_k, up_v = attention.up.weight.view(2, HEADS, D, L)
    query = attention.query.weight.view(HEADS, D + 4, 6)
    for t in range(T):
        c_q = norm(times(attention.query_down.weight, queries[0, t].tolist()), attention.query_norm.weight)
        heads = []
        for h in range(HEADS):
            q_c, q_r = times(query[h, :D], c_q), rotated(times(query[h, D:], c_q), t)
            scores, values = [], []
            for j in range(t + 1):
                hidden = source.values[0, j].tolist()
                c = norm(times(down_kv, hidden), attention.norm.weight)
                k_c, k_r = times(up_k[h], c), rotated(times(down_kr, hidden), j)
                content = sum(a * b for a, b in zip(q_c, k_c, strict=True))
                position = sum((a * b.conjugate()).real for a, b in zip(q_r, k_r, strict=True))
                scores.append((content + position) / math.sqrt(D + 4))
                values.append(times(up_v[h], c))
            exps = [math.exp(e) for e in scores]
            weights = [e / sum(exps) for e in exps]
            assert answer.weights[0, h, t, : t + 1].tolist() == pytest.approx(weights, abs=1e-12)
            heads += [sum(a * v[i] for a, v in zip(weights, values, strict=True)) for i in range(D)]
        assert answer.context[0, t].tolist() == pytest.approx(times(attention.output.weight, heads), abs=1e-12)


@every_slot
@pytest.mark.parametrize("chunks", [(T,), (1, 4, 2)], ids=str)
def test_absorbed_form_equals_the_expanded_form(
    source: SourceSpec, options: dict[str, int], chunks: tuple[int, ...]
) -> None:
    queries, values, mask = noise(3, T, WIDTH), memory(T, 0, 4), noise(3, T, T, seed=3) > -1
    expanded, absorbed = (build(source, absorb=form, **options) for form in ("never", "always"))
    for narrower in (None, mask):
        expected = walk(expanded, queries, values, mask=narrower)
        assert narrower is None or not expected.weights[~narrower[:, None].expand(-1, HEADS, -1, -1)].any()
        for form in (expanded, absorbed):
            same(walk(form, queries, values, mask=narrower, chunks=chunks), expected)
            close(
                walk(form, queries, values, mask=narrower, chunks=chunks, need_weights=False).context, expected.context
            )


@every_slot
@pytest.mark.parametrize("absorb", ["never", "always"])
def test_context_equals_sdpa_with_one_shared_key(source: SourceSpec, options: dict[str, int], absorb: str) -> None:
    """SDPA reads one key [c; k^R] and one value c for all heads, with the scale of the expanded form."""
    attention = build(source, absorb=absorb, **options)
    queries, values = noise(2, T, WIDTH), memory(T, 4)
    stored = attention.prepare(values).prepared
    x = queries
    if "query_latent_dim" in options:
        x = attention.query_norm(attention.query_down(x))
    q_c, q_r = attention.query(x).unflatten(-1, (HEADS, -1)).transpose(1, 2).split((D, options.get("rope_dim", 0)), -1)
    up_k, up_v = attention.up.weight.view(2, HEADS, D, L)
    query, key = torch.einsum("bhtd,hdl->bhtl", q_c, up_k), stored["latent"]
    width = D
    places = torch.arange(T).expand(2, -1)
    if "rope" in stored:
        query = torch.cat((query, rotate(q_r, places)), -1)
        key, width = torch.cat((key, stored["rope"]), -1), D + R
    visible = values.mask[:, None, None].expand(-1, HEADS, T, -1)
    if source.causal:
        visible = visible & torch.ones(T, T, dtype=torch.bool).tril()
    bias = torch.zeros(2, HEADS, T, T, dtype=torch.float64).masked_fill(~visible, -torch.inf)
    if source.position == "alibi":
        bias = bias + alibi(places, places, HEADS)
    mean = F.scaled_dot_product_attention(
        query, key[:, None], stored["latent"][:, None], attn_mask=bias, scale=width**-0.5, enable_gqa=True
    )
    context = attention.output(torch.einsum("bhtl,hdl->bthd", mean, up_v).flatten(2))
    for need_weights in (True, False):
        close(walk(attention, queries, values, need_weights=need_weights).context, context)


@every_slot
def test_cache_has_only_latents_and_rotated_keys(source: SourceSpec, options: dict[str, int]) -> None:
    """The cache has L + R numbers for each position, for any number of heads."""
    attention, values = build(source, **options), memory(9, 4)
    kept = attention.prepare(values)
    if source.causal:
        parts = [attention.prepare(cut(values, slice(*ends))) for ends in ((0, 1), (1, 5), (5, 9))]
        kept = None
        for part in parts:
            kept = attention.extend(kept, part)
    numbers = [kept.values, *kept.prepared.values()]
    assert sum(x.numel() for x in numbers) == 2 * 9 * (L + options.get("rope_dim", 0))


def test_cached_latents_are_normed_and_cached_keys_rotated() -> None:
    attention, values = build(ENCODER, rope_dim=R), memory(T)
    nn.init.ones_(attention.norm.weight)
    stored = attention.prepare(values).prepared
    close(stored["latent"].square().mean(-1), torch.ones(1, T).double(), torch.float32)  # except for the norm's epsilon
    raw = attention.down(values.values)[..., L:]
    close(stored["rope"][:, 0], raw[:, 0])
    close(torch.linalg.vector_norm(stored["rope"], dim=-1), torch.linalg.vector_norm(raw, dim=-1))
    assert not torch.isclose(stored["rope"][:, 1:], raw[:, 1:]).any()


def test_rotary_context_depends_on_distances_only() -> None:
    attention, queries, here = build(ENCODER, rope_dim=R), noise(1, T, WIDTH), memory(T)
    there = attention.prepare(Memory(here.values, here.mask, here.positions + 11, here.extent))
    near = walk(attention, queries, here).context
    close(attention(ask(queries, 11), there, {}).context, near)
    assert not torch.allclose(attention(ask(queries, 0), there, {}).context, near)


def test_default_rope_dim_depends_on_the_slot() -> None:
    """The default is half a head's width, rounded up to an even number, with rotary positions, and 0 otherwise."""
    rotary = SourceSpec(WIDTH, is_self=True, position="rotary")
    assert [LatentAttention(WIDTH, rotary, heads=1, dim=dim).rope_dim for dim in (2, 4, 6, 8, 16)] == [2, 2, 4, 4, 8]
    for source in (CROSS, ENCODER, DECODER):
        assert build(source).rope_dim == 0
    assert build(DECODER, rope_dim=4).rope_dim == 4


def test_auto_chooses_the_form_with_fewer_multiplications() -> None:
    """It is the absorbed form for one query and the expanded form for a whole sequence."""
    attention = LatentAttention(64, SourceSpec(64), heads=4, latent_dim=64)  # D = 16, L = 64
    assert attention.absorbs(1, 50)
    assert attention.absorbs(1, 4096)
    assert not attention.absorbs(50, 50)
    assert not attention.absorbs(4096, 4096)
    assert not attention.absorbs(1, 1)
    for queries in range(1, 60):
        head, latent, keys = 16, 64, 50
        expanded = keys * 2 * head * latent + 2 * queries * keys * head
        absorbed = queries * 2 * head * latent + 2 * queries * keys * latent
        assert attention.absorbs(queries, keys) == (absorbed < expanded)


def test_dropout_keeps_the_returned_weights() -> None:
    attention, queries, values = build(CROSS, dropout=0.5), noise(2, T, WIDTH), memory(T, 4)
    plain = walk(attention, queries, values)
    torch.manual_seed(0)
    attention.train()
    for need_weights in (True, False):
        dropped = walk(attention, queries, values, need_weights=need_weights)
        assert not torch.allclose(dropped.context, plain.context)
    close(walk(attention, queries, values).weights, plain.weights)


@pytest.mark.parametrize("query_latent_dim", [None, 6])
@pytest.mark.parametrize("absorb", ["never", "always"])
def test_output_equals_hugging_faces(query_latent_dim: int | None, absorb: str) -> None:
    """The output equals that of DeepseekV3Attention, whose kv_b_proj has a head's keys and values side by side."""
    pytest.importorskip("transformers")
    from transformers import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention

    rope_dim = 4
    config = DeepseekV3Config(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        q_lora_rank=query_latent_dim,
        kv_lora_rank=L,
        qk_nope_head_dim=D,
        qk_rope_head_dim=rope_dim,
        v_head_dim=D,
        attn_implementation="eager",
    )
    theirs = DeepseekV3Attention(config, 0).double().eval()
    ours = build(DECODER, rope_dim=rope_dim, query_latent_dim=query_latent_dim, absorb=absorb)
    weights = {
        "kv_a_proj_with_mqa.weight": ours.down.weight,
        "kv_a_layernorm.weight": ours.norm.weight,
        "kv_b_proj.weight": ours.up.weight.view(2, HEADS, D, L).transpose(0, 1).flatten(0, 2),
        "o_proj.weight": ours.output.weight,
    }
    if query_latent_dim is None:
        weights["q_proj.weight"] = ours.query.weight
    else:
        weights |= {"q_a_proj.weight": ours.query_down.weight, "q_a_layernorm.weight": ours.query_norm.weight}
        weights["q_b_proj.weight"] = ours.query.weight
    theirs.load_state_dict(weights)
    source = memory(T, T)
    angle = torch.arange(T)[:, None] * 10000 ** (-torch.arange(0, rope_dim, 2, dtype=torch.float64) / rope_dim)
    angle = torch.cat((angle, angle), -1).expand(2, -1, -1)
    mask = torch.full((T, T), -torch.inf, dtype=torch.float64).triu(1).expand(2, 1, -1, -1)
    context, weights = theirs(source.values, (angle.cos(), angle.sin()), mask)
    answer = walk(ours, source.values, source)
    torch.testing.assert_close(answer.weights, weights, rtol=0, atol=1e-6)  # their norms and softmax compute in fp32
    torch.testing.assert_close(answer.context, context, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "source", "reason"),
    [
        ({"heads": 3}, CROSS, "heads=3 must divide the width 8"),
        ({"heads": 0}, CROSS, "heads=0"),
        ({"latent_dim": 0}, CROSS, "latent_dim=0 must be at least 1"),
        ({"query_latent_dim": 0}, CROSS, "query_latent_dim=0 must be at least 1"),
        ({"rope_dim": 2}, CROSS, "only self-attention"),
        ({"rope_dim": 3}, ENCODER, "even"),
        ({"rope_dim": -2}, ENCODER, "even"),
        ({"rope_dim": 0}, SourceSpec(WIDTH, is_self=True, position="rotary"), "leaves no part of queries and keys"),
        ({"rope_dim": 2}, SourceSpec(WIDTH, axes=2, is_self=True), "time"),
        ({"absorb": "often"}, CROSS, "absorb=often.*auto, always, never"),
        ({"dropout": 1.5}, CROSS, "dropout=1.5 must lie in 0..1"),
    ],
)
def test_refusals(options: dict[str, Any], source: SourceSpec, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        LatentAttention(WIDTH, source, **options)
