"""Tests of composed attention: it equals PyTorch's attention with the same weights. ``test_combinations`` has pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import SourceSpec
from seq2seq.config.instantiate import build_node
from seq2seq.errors import UserError
from tests.attention.walk import close, walk
from tests.catalogue import WIDTH, config, mechanism, memory, noise

T, KEYS = 6, 6


def oracle(ours: ComposedAttention) -> nn.MultiheadAttention:
    """Return PyTorch's multi-head attention with our weights."""
    dim, key_dim = ours.query_dim, ours.source.width
    theirs = nn.MultiheadAttention(dim, ours.heads, batch_first=True, kdim=key_dim, vdim=key_dim).double()
    theirs._qkv_same_embed_dim = False
    key, value = ours.key_value.weight.chunk(2)
    parts = {"q_proj_weight": ours.query.weight, "k_proj_weight": key, "v_proj_weight": value}
    for name, weight in parts.items():
        setattr(theirs, name, nn.Parameter(weight.detach().clone()))
    theirs.in_proj_bias.data = torch.cat((ours.query.bias, ours.key_value.bias)).detach()
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(("name", "heads"), [("multi_head", 4), ("cross", 1)])
def test_multi_head_equals_pytorchs(name: str, heads: int, need_weights: bool) -> None:
    """Outputs equal nn.MultiheadAttention's. Its mask is True at hidden positions, ours at visible ones."""
    ours = mechanism("attention", name, SourceSpec(KEYS))
    assert ours.heads == heads
    queries, source = noise(3, T, WIDTH), memory(7, 4, 1, width=KEYS)
    context, weights = oracle(ours)(
        queries, source.values, source.values, key_padding_mask=~source.mask, average_attn_weights=False
    )
    answer = walk(ours, queries, source, need_weights=need_weights)
    close(answer.context, context)
    if need_weights:
        close(answer.weights, weights)


def test_causal_self_attention_equals_pytorchs() -> None:
    ours = mechanism("self_attention", "multi_head", SourceSpec(WIDTH, causal=True))
    source = memory(T, 4)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    context, _ = oracle(ours)(
        source.values, source.values, source.values, key_padding_mask=~source.mask, attn_mask=hidden
    )
    close(walk(ours, source.values, source).context, context)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(("name", "groups"), [("multi_query", 1), ("grouped_query", 2), ("multi_head", 4)])
def test_shared_keys_and_values(name: str, groups: int, need_weights: bool) -> None:
    """The output equals multi-head attention's whose W_k and W_v repeat in neighbouring heads; G of them are cached."""
    ours = mechanism("attention", name, SourceSpec(KEYS))
    every = mechanism("attention", "multi_head", SourceSpec(KEYS))
    every.load_state_dict(
        {
            name: x
            if not name.startswith("key_value")
            else torch.cat([_each_head(part, groups) for part in x.chunk(2)])
            for name, x in ours.state_dict().items()
        }
    )
    queries, source = noise(3, T, WIDTH), memory(7, 4, 1, width=KEYS)
    answer = walk(ours, queries, source, need_weights=need_weights)
    expected = walk(every, queries, source)
    close(answer.context, expected.context)
    if need_weights:
        close(answer.weights, expected.weights)
    width = WIDTH // 4
    assert {name: x.shape for name, x in ours.prepare(source).prepared.items()} == dict.fromkeys(
        ("keys", "values"), (3, groups, 7, width)
    )


def _each_head(rows: Tensor, groups: int) -> Tensor:
    """Repeat the rows of W_k or W_v (G D, ...) of each group for its 4/G heads: (4 D, ...)."""
    return torch.cat([group for group in rows.chunk(groups) for _ in range(4 // groups)])


def test_one_head_with_identity_projections_equals_sdpa() -> None:
    ours = mechanism("attention", "cross", SourceSpec(WIDTH))
    for layer in (ours.query, ours.key_value, ours.output):
        layer.weight.data = torch.eye(WIDTH).double().repeat(len(layer.weight) // WIDTH, 1)
        layer.bias.data.zero_()
    queries, source = noise(2, T, WIDTH), memory(7, 4)
    expected = F.scaled_dot_product_attention(queries, source.values, source.values, attn_mask=source.mask[:, None])
    close(walk(ours, queries, source).context, expected)


def test_option_dim_sets_the_width_of_projections() -> None:
    """The context equals that of Vaswani 2017, section 3.2.2, computed head by head with three channels each."""
    ours = mechanism("attention", "multi_head", SourceSpec(KEYS), "attention.dim=12")
    queries, source = noise(2, T, WIDTH), memory(7, 4, width=KEYS)
    key, value = ours.key_value(source.values).chunk(2, -1)
    heads = []
    for place in (slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)):
        scores = ours.query(queries)[..., place] @ key[..., place].mT / 3**0.5
        heads.append(scores.masked_fill(~source.mask[:, None], -torch.inf).softmax(-1) @ value[..., place])
    close(walk(ours, queries, source).context, ours.output(torch.cat(heads, -1)))


@pytest.mark.parametrize("name", ["dot", "local", "multi_head"])
def test_returned_weights_give_the_context(name: str) -> None:
    ours, source = mechanism("attention", name, SourceSpec(WIDTH)), memory(7, 4, step=3)
    answer = walk(ours, noise(2, T, WIDTH), source)
    context = (answer.weights @ ours.prepare(source).prepared["values"]).transpose(1, 2).flatten(2)
    close(answer.context, ours.output(context) if ours.project else context)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("concat", "additive"),
        ("soft", "additive"),
        ("global", "general"),
        ("memory_network", "memory"),
        ("mla", "latent"),
        ("location_only", "location"),
        ("sentinel", "adaptive"),
    ],
)
def test_synonyms_have_the_same_configuration(name: str, other: str) -> None:
    assert config(f"attention={name}").attention == config(f"attention={other}").attention


def test_dropout_changes_the_context_but_not_the_weights() -> None:
    """Returned weights equal those in evaluation. The mean context over many draws equals that in evaluation."""
    ours = mechanism("attention", "dot", SourceSpec(WIDTH), "attention.dropout=0.5")
    many = torch.zeros(4000, dtype=torch.long)
    queries, source = noise(1, T, WIDTH)[many], memory(7).select(many)
    plain = walk(ours, queries, source)
    ours.train()
    torch.manual_seed(0)
    dropped = walk(ours, queries, source)
    assert torch.equal(dropped.weights, plain.weights)
    assert not torch.isclose(dropped.context, plain.context).all(-1).any()
    torch.testing.assert_close(dropped.context.mean(0), plain.context[0], rtol=0, atol=0.1)
    ours.eval()
    assert torch.equal(walk(ours, queries, source).context, plain.context)


@pytest.mark.parametrize("name", ["hard", "gumbel"])
def test_dropout_keeps_drawn_positions(name: str) -> None:
    """The context is the drawn value, because REINFORCE rewards that choice."""
    ours = mechanism("attention", name, SourceSpec(WIDTH), "attention.dropout=0.9").train()
    source = memory(7, 4)
    answer = walk(ours, noise(2, T, WIDTH), source)
    close(answer.context, (answer.weights @ source.values.unsqueeze(1)).squeeze(1))


def test_temporal_equals_additive_with_a_bias() -> None:
    biased = config("attention=additive", "attention/score=additive_bias").attention
    assert config("attention=temporal").attention == biased != config("attention=additive").attention


CAUSAL, ROTARY = SourceSpec(WIDTH, causal=True), SourceSpec(WIDTH, position="rotary")


@pytest.mark.parametrize(
    ("overrides", "source", "reason"),
    [
        (
            ["attention=multi_head", "attention.heads=3"],
            SourceSpec(WIDTH),
            r"^attention\.heads=3 must divide the width 8",
        ),
        (["attention=multi_head", "attention.heads=0"], SourceSpec(WIDTH), r"heads=0"),
        (["attention=multi_head", "attention.project=false"], SourceSpec(WIDTH), r"project=true"),
        (["attention=dot", "attention.dim=4"], SourceSpec(WIDTH), r"project=true"),
        (["attention=dot", "attention.dropout=1.5"], SourceSpec(WIDTH), r"dropout=1.5 must lie in 0..1"),
        (["attention=cross", "attention.dim=0"], SourceSpec(WIDTH), r"^attention\.dim=(0|-8) must be at least 1"),
        (
            ["attention=additive", "attention.score.dim=0"],
            SourceSpec(WIDTH),
            r"^attention\.score\.dim=0 must be at least 1",
        ),
        (
            ["attention=additive", "attention.score.init_std=-1.0"],
            SourceSpec(WIDTH),
            r"score\.init_std=-1\.0 .* at least 0",
        ),
        (
            ["attention=location", "attention.score.max_length=0"],
            SourceSpec(WIDTH),
            r"score\.max_length=0 must be at least",
        ),
        (
            ["attention=local", "attention.window.dim=0"],
            SourceSpec(WIDTH),
            r"^attention\.window\.dim=0 must be at least 1",
        ),
        (["attention=latent", "attention.dim=0"], SourceSpec(WIDTH), r"^attention\.dim=(0|-8) must be at least 1"),
        (["attention=linear", "attention.dim=-8"], SourceSpec(WIDTH), r"^attention\.dim=(0|-8) must be at least 1"),
        (["attention=memory", "attention.dim=0"], SourceSpec(WIDTH), r"^attention\.dim=(0|-8) must be at least 1"),
        (
            ["attention=performer", "attention.feature_map.features=0"],
            SourceSpec(WIDTH),
            r"^attention\.feature_map\.fea",
        ),
        (
            ["attention=mocha", "attention.chunk_score.dim=0"],
            SourceSpec(WIDTH),
            r"^attention\.chunk_score\.dim=0 must be",
        ),
        (
            ["attention=hierarchical", "attention.sentence.dim=0"],
            SourceSpec(WIDTH),
            r"^attention\.sentence\.dim=0 must be",
        ),
        (["attention=dot"], SourceSpec(KEYS), r"queries have 8 and keys 6"),
        (["attention=multi_head", "attention.heads=8"], ROTARY, r"even width"),
        (["attention=multi_head", "attention/score=additive"], ROTARY, r"dot product.*additive"),
        (["attention=location"], ROTARY, r"dot product.*location"),
        (["attention=uniform"], ROTARY, r"dot product.*constant"),
        (["attention=location"], CAUSAL, r"grows"),
        (["attention=local"], CAUSAL, r"grows"),
        (["attention=none"], CAUSAL, r"grows"),
    ],
)
def test_refusals(overrides: list[str], source: SourceSpec, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        build_node(config(*overrides).attention, WIDTH, source)


def test_projection_allows_dot_products_of_unequal_widths() -> None:
    ours = mechanism("attention", "dot", SourceSpec(KEYS), "attention.project=true")
    assert walk(ours, noise(2, T, WIDTH), memory(7, 4, width=KEYS)).context.shape == (2, T, WIDTH)


def test_grid_gives_the_context_of_a_sequence() -> None:
    """A mechanism that ignores positions gives the same context for the cells of an image as for a sequence."""
    ours = mechanism("attention", "additive", SourceSpec(WIDTH, axes=2))
    source = memory(6, 6)
    grid = torch.cartesian_prod(torch.arange(2), torch.arange(3)).expand(2, -1, -1)
    image = replace(source, positions=grid, extent=torch.tensor([[2, 3]] * 2))
    close(walk(ours, noise(2, T, WIDTH), image).context, walk(ours, noise(2, T, WIDTH), source).context)


def test_only_one_fixed_position_has_no_choice() -> None:
    """``has_choice`` is False for ``none``, which reads the last state, and True for other mechanisms."""
    assert not mechanism("attention", "none", SourceSpec(KEYS)).has_choice
    assert all(
        mechanism("attention", name, SourceSpec(KEYS)).has_choice for name in ("additive", "local", "uniform", "gmm")
    )
