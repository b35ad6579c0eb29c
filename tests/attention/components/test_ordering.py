"""Tests of rotary positions and ALiBi: they equal a second formula, and only distances matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components.ordering import alibi, rotate
from seq2seq.attention.types import Query, SourceSpec
from tests.attention.walk import close, walk
from tests.catalogue import WIDTH, mechanism, memory, noise

D, L = 6, 5


def test_rotate_is_complex_multiplication() -> None:
    """(x_2i + i x_2i+1) exp(i m theta_i), theta_i = 10000^(-2i/D)."""
    x, positions = noise(2, 3, L, D), torch.tensor([[0, 1, 2, 7, 100], [5, 4, 3, 2, 1]])
    theta = torch.tensor([10000 ** (-2 * i / D) for i in range(D // 2)], dtype=torch.float64)
    turn = torch.polar(torch.ones(2, L, D // 2).double(), positions[..., None] * theta)
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn[:, None]
    close(rotate(x, positions), torch.view_as_real(turned).flatten(-2))


def test_half_split_rope_is_a_permutation_of_channels() -> None:
    """Half-split RoPE (GPT-NeoX) pairs x_i with x_{i+D/2}. It equals ours only after a permutation of the channels."""
    x, positions = noise(2, 3, L, D), torch.arange(L).expand(2, -1)
    angle = positions[:, None, :, None] * 10000 ** (-torch.arange(0, D, 2).double() / D)
    cos, sin = angle.cos().repeat(1, 1, 1, 2), angle.sin().repeat(1, 1, 1, 2)

    def halves(x: Tensor) -> Tensor:
        """Return half-split RoPE of x."""
        return x * cos + torch.cat((-x[..., D // 2 :], x[..., : D // 2]), -1) * sin

    order = torch.arange(D).view(-1, 2).T.flatten()  # 0, 2, 4, 1, 3, 5
    close(rotate(x, positions)[..., order], halves(x[..., order]))
    assert not torch.allclose(rotate(x, positions), halves(x))


def test_rotate_keeps_norms() -> None:
    """Rotations keep norms, and the rotation at position 0 is the identity."""
    x = noise(2, 3, L, D)
    close(rotate(x, torch.arange(L).expand(2, -1)).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x, torch.zeros(2, L)), x)


def test_rotated_products_depend_only_on_distance() -> None:
    """The product of a query at m and a key at n depends only on m - n, sign included."""
    q, k = noise(1, 1, 1, D), noise(1, 1, 1, D, seed=1)

    def product(m: int, n: int) -> Tensor:
        """Return the product of the query at m and the key at n."""
        return (rotate(q, torch.tensor([[m]])) * rotate(k, torch.tensor([[n]]))).sum()

    close(product(9, 4), product(105, 100))
    assert not torch.isclose(product(9, 4), product(4, 9))


def test_rotate_at_large_positions_in_bfloat16() -> None:
    """Angles are not computed in bf16, which can't tell position 4097 from 4096."""
    x, far = noise(1, 1, 2, D, dtype=torch.bfloat16), torch.tensor([[4096, 4097]])
    torch.testing.assert_close(rotate(x, far).double(), rotate(x.double(), far), rtol=0.02, atol=0.02)


def test_alibi_by_hand() -> None:
    """Four heads have the slopes 1/4, 1/16, 1/64 and 1/256."""
    bias = alibi(torch.tensor([[2, 3]]), torch.tensor([[0, 1, 2, 3]]), heads=4)
    assert bias[0, 0].tolist() == [[-0.5, -0.25, 0, -0.25], [-0.75, -0.5, -0.25, 0]]
    assert bias[0, :, 0, 0].tolist() == [-2 / 4, -2 / 16, -2 / 64, -2 / 256]


@pytest.mark.parametrize("position", ["rotary", "alibi"])
def test_attention_depends_only_on_distance(position: str) -> None:
    """Moving the whole sentence by 11 positions changes no context."""
    ours = mechanism("self_attention", "multi_head", SourceSpec(WIDTH, position=position))
    source = memory(L, 3)
    answers = []
    for shift in (0, 11):
        moved = ours.prepare(replace(source, positions=source.positions + shift))
        answers.append(ours(Query(source.values, moved.positions[..., 0]), moved, {}).context)
    close(answers[0], answers[1])
    plain = mechanism("self_attention", "multi_head", SourceSpec(WIDTH))
    assert not torch.allclose(walk(plain, source.values, source).context, answers[0])


def test_alibi_is_added_to_scaled_scores() -> None:
    """Weights are softmax(q k^T / sqrt(d) - m |i - j|), with and without the fused kernel."""
    ours = mechanism("self_attention", "multi_head", SourceSpec(WIDTH, position="alibi"))
    source = memory(L)
    q, k, v = (
        x.unflatten(-1, (4, -1)).transpose(1, 2)
        for x in (ours.query(source.values), *ours.key_value(source.values).chunk(2, -1))
    )
    place = torch.arange(L)
    slopes = torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8], dtype=torch.float64)
    scores = q @ k.mT / (WIDTH // 4) ** 0.5 - slopes[:, None, None] * (place[:, None] - place).abs()
    expected = ours.output((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    for need_weights in (True, False):
        close(walk(ours, source.values, source, need_weights=need_weights).context, expected)
