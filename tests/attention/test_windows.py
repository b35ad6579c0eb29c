"""Windows against the paper's formulas, a position at a time in plain Python."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from seq2seq.attention.base import Memory, Query, SourceSpec
from seq2seq.attention.composed import Composed
from seq2seq.attention.normalizers import Softmax
from seq2seq.attention.scores import General
from seq2seq.attention.windows import Global, Last, LocalM, LocalP, Window
from seq2seq.errors import UserError
from tests.attention.walk import close, walk
from tests.catalogue import memory, noise, randomise

Q, T = 4, 5
LENGTHS = (9, 6, 2)


def attention(window: partial[Window]) -> Composed:
    made = Composed(Q, SourceSpec(Q), score=General, window=window, normalizer=Softmax)
    return randomise(made.double()).eval()


def seen(window: Window, source: Memory, *positions: int) -> list[list[int]]:
    """The places that queries at these positions see in the first sentence."""
    places = torch.tensor([positions])
    vector = torch.zeros(1, len(positions), Q, dtype=torch.float64)
    visible = window(Query(vector, places), source.select(torch.tensor([0]))).visible
    return [row.nonzero().flatten().tolist() for row in visible[0, 0]]


def test_global() -> None:
    assert Global(Q, 1, SourceSpec(Q))(Query(noise(1, T, Q), torch.arange(T)[None]), memory(3)) == (None, None)


def test_last() -> None:
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
    """v = 0: every window stands at the middle of its own sentence, padding or not."""
    window = LocalP(Q, 1, SourceSpec(Q), reach=2).double()
    torch.nn.init.zeros_(window.centre.weight)
    source = memory(9, 5)
    factor = window(Query(noise(2, 1, Q), torch.zeros(2, 1)), source).factor
    assert factor[0, 0, 0].argmax() in (4, 5)  # p = 4.5
    assert factor[1, 0, 0].argmax() in (2, 3)  # p = 2.5
    assert factor[1, 0, 0, 2].item() == pytest.approx(math.exp(-0.5 * 0.5**2))


def test_local_p_in_bfloat16_places_windows_exactly() -> None:
    """Far out, bf16 has only every second or fourth integer."""
    window = LocalP(Q, 1, SourceSpec(Q), reach=3)
    torch.nn.init.zeros_(window.centre.weight)
    query, source = Query(noise(1, 1, Q, dtype=torch.float32), torch.zeros(1, 1)), memory(702)
    exact = window(query, source).visible
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(window(query, source).visible, exact)
    assert exact.nonzero()[:, 3].tolist() == [348, 349, 350, 351, 352, 353, 354]


@pytest.mark.parametrize("window", [Last, LocalM, LocalP])
def test_no_window_over_image_regions(window: type[Window]) -> None:
    with pytest.raises(UserError, match="time"):
        window(Q, 1, SourceSpec(Q, axes=2))


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"reach.*at least 1, got 0"):
        LocalM(Q, 1, SourceSpec(Q), reach=0)
    for window in (Last, LocalP):
        with pytest.raises(UserError, match="grows"):
            window(Q, 1, SourceSpec(Q, causal=True))
