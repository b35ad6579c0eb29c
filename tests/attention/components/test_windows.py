"""Tests of windows: they equal the paper's formulas, computed for one position at a time in plain Python."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import General
from seq2seq.attention.components.windows import AdaptiveSpan, Global, Last, LocalM, LocalP, Window
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.errors import UserError
from tests.attention.walk import close, cut, walk
from tests.catalogue import memory, noise, randomise

Q, T = 4, 5
LENGTHS = (9, 6, 2)


def attention(window: partial[Window]) -> ComposedAttention:
    """Build attention with this window and a general score."""
    made = ComposedAttention(Q, SourceSpec(Q), score=General, window=window, normalizer=Softmax)
    return randomise(made.double()).eval()


def seen(window: Window, source: Memory, *positions: int) -> list[list[int]]:
    """Return the places that queries at these positions see in the first sentence."""
    places = torch.tensor([positions])
    vector = torch.zeros(1, len(positions), Q, dtype=torch.float64)
    visible = window(Query(vector, places), source.select(torch.tensor([0]))).visible
    return [row.nonzero().flatten().tolist() for row in visible[0, 0]]


def test_global() -> None:
    """A global window has neither a mask nor a factor."""
    assert Global(Q, 1, SourceSpec(Q))(Query(noise(1, T, Q), torch.arange(T)[None]), memory(3)) == (None, None)


def test_last() -> None:
    """The context is the last real value."""
    answer = walk(attention(partial(Last)), noise(3, T, Q), source := memory(*LENGTHS, width=Q))
    last = torch.stack([source.values[row, length - 1] for row, length in enumerate(LENGTHS)])
    close(answer.context, last[:, None].expand(-1, T, -1))


def test_local_m() -> None:
    window, source = LocalM(Q, 1, SourceSpec(Q), reach=2), memory(9)
    assert seen(window, source, 0, 1, 4, 8, 10, 11) == [
        [0, 1, 2], [0, 1, 2, 3], [2, 3, 4, 5, 6], [6, 7, 8], [8], [],
    ]  # fmt: skip
    assert seen(window, memory(4, step=3), 4) == [[1, 2]]  # of 0, 3, 6, 9


def test_local_m_is_global_where_it_reaches_all() -> None:
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    wide, plain = attention(partial(LocalM, reach=20)), attention(partial(Global))
    close(walk(wide, queries, source).weights, walk(plain, queries, source).weights)


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("reach", [1, 2, 3])
def test_local_p(reach: int, renormalise: bool) -> None:
    """p_t = S sigmoid(v^T tanh(W h)); a(s) = align(s) exp(-(s - p_t)^2 / (2 (D/2)^2)) for |s - p_t| <= D."""
    mechanism = attention(partial(LocalP, reach=reach, dim=3, renormalise=renormalise))
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    weights = walk(mechanism, queries, source).weights[:, 0].tolist()
    w_p, v_p = mechanism.window.hidden.weight.tolist(), mechanism.window.centre.weight[0].tolist()
    w_a = mechanism.score.weight[0].detach()
    for b, length in enumerate(LENGTHS):
        for t in range(T):
            h = queries[b, t]
            hidden = [math.tanh(sum(w * x for w, x in zip(row, h.tolist(), strict=True))) for row in w_p]
            p = length / (1 + math.exp(-sum(v * x for v, x in zip(v_p, hidden, strict=True))))
            assert 0 < p < length
            inside = [s for s in range(length) if abs(s - p) <= reach]
            align = {s: math.exp(h @ w_a @ source.values[b, s]) for s in inside}
            expected = [0.0] * max(LENGTHS)
            for s in inside:
                gauss = math.exp(-((s - p) ** 2) / (2 * (reach / 2) ** 2))
                expected[s] = align[s] / sum(align.values()) * gauss
            assert 0 < sum(expected) < 1
            if renormalise:
                expected = [a / sum(expected) for a in expected]
            assert weights[b][t] == pytest.approx(expected, abs=1e-12)


def test_local_p_uses_the_true_length() -> None:
    """v = 0, so that every window is at the middle of its sentence, without padding."""
    window = LocalP(Q, 1, SourceSpec(Q), reach=2).double()
    torch.nn.init.zeros_(window.centre.weight)
    source = memory(9, 5)
    factor = window(Query(noise(2, 1, Q), torch.zeros(2, 1)), source).factor
    assert factor[0, 0, 0].argmax() in (4, 5)  # p = 4.5
    assert factor[1, 0, 0].argmax() in (2, 3)  # p = 2.5
    assert factor[1, 0, 0, 2].item() == pytest.approx(math.exp(-0.5 * 0.5**2))


@pytest.mark.parametrize(("length", "places"), [(20, 7), (21, 6), (22, 7)])
def test_local_p_inside_a_sentence(length: int, places: int) -> None:
    """v = 0, so p = S / 2, and 2 D + 1 places are visible if p is whole, else 2 D.

    The Gaussian has sigma = D / 2. At distance D it is e^-2.
    """
    window = LocalP(Q, 1, SourceSpec(Q), reach=3).double()
    torch.nn.init.zeros_(window.centre.weight)
    visible, factor = window(Query(noise(1, 1, Q), torch.zeros(1, 1)), memory(length))
    inside = visible[0, 0, 0].nonzero().flatten()
    assert len(inside) == places
    edge = 3.0 if places == 7 else 2.5
    assert factor[0, 0, 0, inside[[0, -1]]].tolist() == pytest.approx([math.exp(-2 * (edge / 3) ** 2)] * 2)


def test_local_p_in_bfloat16_places_windows_exactly() -> None:
    """bf16 can't represent all integers above 256, but the window under autocast is that of fp32."""
    window = LocalP(Q, 1, SourceSpec(Q), reach=3)
    torch.nn.init.zeros_(window.centre.weight)
    query, source = Query(noise(1, 1, Q, dtype=torch.float32), torch.zeros(1, 1)), memory(702)
    exact = window(query, source).visible
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(window(query, source).visible, exact)
    assert exact.nonzero()[:, 3].tolist() == [348, 349, 350, 351, 352, 353, 354]


SELF = SourceSpec(Q, is_self=True, causal=True)


def m(x: float, z: float, ramp: int) -> float:
    """Return the paper's soft mask m_z(x)."""
    return min(max((ramp + z - x) / ramp, 0.0), 1.0)


@pytest.mark.parametrize("centre", ["local_m", "local_p"])
def test_adaptive_span(centre: str) -> None:
    """a(s) = m_z(|s - p_t|) exp(e(s)) / sum, one z for each head; p_t = t, or predicted as in local-p."""
    mechanism = ComposedAttention(
        Q, SourceSpec(Q), score=General, normalizer=Softmax, heads=2, project=True,
        window=partial(AdaptiveSpan, max_span=4, ramp=2, centre=centre),
    ).double()  # fmt: skip
    randomise(mechanism).eval()
    mechanism.window.fraction.data = torch.tensor([0.6, 0.1], dtype=torch.float64).view(2, 1, 1)
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    answer = walk(mechanism, queries, source)
    close(walk(mechanism, queries, source, need_weights=False).context, answer.context)
    for b, length in enumerate(LENGTHS):
        for t in range(T):
            p = float(t)
            if centre == "local_p":
                hidden = torch.tanh(mechanism.window.hidden.weight @ queries[b, t])
                p = length * torch.sigmoid(mechanism.window.centre.weight[0] @ hidden).item()
            for h in range(2):
                part = slice(2 * h, 2 * h + 2)
                query = mechanism.query(queries[b, t])[part]
                keys = mechanism.key_value(source.values[b])[:, part]
                shaped = [
                    m(abs(s - p), 4 * [0.6, 0.1][h], 2) * math.exp((query @ mechanism.score.weight[h] @ keys[s]).item())
                    for s in range(length)
                ]
                expected = [x / (sum(shaped) or 1) for x in shaped] + [0.0] * (9 - length)
                assert answer.weights[b, h, t].tolist() == pytest.approx(expected, abs=1e-12)


def test_soft_mask() -> None:
    """The mask is 1 up to z, 0 from z + R on, and linear between them."""
    window = AdaptiveSpan(Q, 2, SELF, max_span=10, ramp=4).double()
    window.fraction.data = torch.tensor([0.3, 0.0], dtype=torch.float64).view(2, 1, 1)
    query = Query(noise(1, 1, Q), torch.tensor([[9]]))
    visible, factor = window(query, memory(10))
    assert factor[0, 0, 0].flip(0).tolist() == pytest.approx([1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0])
    assert factor[0, 1, 0].flip(0).tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0, 0])
    assert torch.equal(visible, factor > 0)
    factor[0, 0, 0, 4].backward()  # on the ramp, d m / d fraction = max_span / R
    assert window.fraction.grad.flatten().tolist() == [2.5, 0.0]


def test_span_is_penalised_and_constrained() -> None:
    """The regulariser is the mean span, and ``constrain`` moves fractions to 0..1."""
    window = AdaptiveSpan(Q, 2, SELF, max_span=10, ramp=4, init=0.25)
    assert window.regulariser()["span"].item() == pytest.approx(2.5)
    window.regulariser()["span"].backward()
    assert window.fraction.grad.flatten().tolist() == [5.0, 5.0]
    window.fraction.data = torch.tensor([-0.5, 1.5]).view(2, 1, 1)
    window.constrain()
    assert window.fraction.flatten().tolist() == [0.0, 1.0]


def test_span_over_the_whole_memory_is_full_attention() -> None:
    """A span over the whole memory gives the weights of a global window."""
    queries, source = noise(3, T, Q), memory(*LENGTHS, width=Q)
    wide, plain = attention(partial(AdaptiveSpan, max_span=20)), attention(partial(Global))
    wide.window.fraction.data.fill_(1.0)
    plain.load_state_dict({name: x for name, x in wide.state_dict().items() if "window" not in name})
    close(walk(wide, queries, source).weights, walk(plain, queries, source).weights)


def test_span_ignores_huge_scores_out_of_reach() -> None:
    """A huge score out of reach doesn't take the weight of the visible positions."""
    ours = attention(partial(AdaptiveSpan, max_span=1, ramp=1))
    source = memory(9, width=Q)
    source.values[:, 8] = 1e4
    weights = walk(ours, noise(1, T, Q), source).weights
    close(weights.sum(-1), torch.ones(1, 1, T).double())


def test_cache_of_a_span_is_bounded() -> None:
    """The cache keeps max_span + R values: no learned span reaches further back."""
    ours = ComposedAttention(
        Q, SELF, score=General, normalizer=Softmax, window=partial(AdaptiveSpan, max_span=2, ramp=3)
    ).double()
    randomise(ours).eval()
    ours.window.fraction.data.fill_(1.0)
    queries, source = noise(3, 9, Q), memory(*LENGTHS, width=Q)
    whole = walk(ours, queries, source).context
    close(walk(ours, queries, source, chunks=(1,) * 9, need_weights=False).context, whole)
    past = None
    for t in range(9):
        past = ours.extend(past, ours.prepare(cut(source, slice(t, t + 1))))
        assert past.mask.shape[1] == min(t, 5) + 1


def test_local_p_over_a_grid() -> None:
    """Row and column are predicted, with a Gaussian along both; grids of 3 x 4 and 2 x 3 equal plain Python."""
    window = LocalP(Q, 1, SourceSpec(Q, axes=2), reach=2).double()
    randomise(window)
    vector = noise(2, T, Q)
    places = torch.tensor([[row, column] for row in range(3) for column in range(4)])
    source = Memory(noise(2, 12, Q), torch.ones(2, 12).bool(), places.expand(2, -1, -1), torch.tensor([[3, 4], [2, 3]]))
    view = window(Query(vector, torch.arange(T).expand(2, -1)), source)
    w, v = window.hidden.weight.tolist(), window.centre.weight.tolist()
    for b in range(2):
        for t in range(T):
            inner = [math.tanh(sum(w_rc * x for w_rc, x in zip(r, vector[b, t].tolist(), strict=True))) for r in w]
            centre = [
                size / (1 + math.exp(-sum(v_r * h for v_r, h in zip(v_axis, inner, strict=True))))
                for v_axis, size in zip(v, source.extent[b].tolist(), strict=True)
            ]
            for s, place in enumerate(places.tolist()):
                away = [x - p for x, p in zip(place, centre, strict=True)]
                assert bool(view.visible[b, 0, t, s]) is all(abs(d) <= 2 for d in away)
                shape = math.exp(-sum(d * d for d in away) / (2 * 1.0**2))  # sigma = D/2 = 1
                assert view.factor[b, 0, t, s].item() == pytest.approx(shape)


def test_local_p_on_one_row_equals_local_p_along_time() -> None:
    """On a grid with one row, at the predicted row centre, local-p equals local-p along time."""
    flat, grid = (LocalP(Q, 1, SourceSpec(Q, axes=axes), reach=2).double() for axes in (1, 2))
    randomise(flat)
    grid.hidden.load_state_dict(flat.hidden.state_dict())
    grid.centre.weight.data = torch.cat((torch.zeros_like(flat.centre.weight), flat.centre.weight))
    source, query = memory(7, width=Q), Query(noise(1, T, Q), torch.arange(T)[None])
    row = torch.full_like(source.positions, 0.5, dtype=torch.float64)  # the predicted centre, 1 sigmoid(0)
    tall = Memory(
        source.values,
        source.mask,
        torch.cat((row, source.positions), -1),
        torch.cat((torch.ones(1, 1), source.extent), 1),
    )
    close(grid(query, tall).factor, flat(query, source).factor)
    assert grid(query, tall).visible.equal(flat(query, source).visible)


@pytest.mark.parametrize("window", [Last, LocalM, AdaptiveSpan])
def test_windows_along_time_refuse_image_regions(window: type[Window]) -> None:
    with pytest.raises(UserError, match="time"):
        window(Q, 1, SourceSpec(Q, axes=2))


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"reach=0.*at least 1"):
        LocalM(Q, 1, SourceSpec(Q), reach=0)
    for window in (Last, LocalP):
        with pytest.raises(UserError, match="grows"):
            window(Q, 1, SourceSpec(Q, causal=True))
    spans = partial(AdaptiveSpan, Q, 1, SourceSpec(Q))
    for options, reason in (
        ({"max_span": 0}, r"max_span=0.*at least 1"),
        ({"ramp": 0}, r"ramp=0.*at least 1"),
        ({"init": 1.5}, r"init=1.5 .*0..1"),
        ({"centre": "middle"}, r"centre=middle is unknown"),
    ):
        with pytest.raises(UserError, match=reason):
            spans(**options)
    with pytest.raises(UserError, match="own position"):
        AdaptiveSpan(Q, 1, SELF, centre="local_p")
