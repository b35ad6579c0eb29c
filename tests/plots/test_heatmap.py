"""Tests of heat maps: panels, gold links, stored arrays, and any text on the axes."""

from __future__ import annotations

import logging
import re
import warnings

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.image import imread

from seq2seq.metrics.gold import GoldLinks
from seq2seq.plots import fonts, heatmap
from seq2seq.plots.saving import Style
from seq2seq.plots.sentence import save_sentence


def texts(axes):
    return [tick.get_text() for tick in axes.get_yticklabels()], [tick.get_text() for tick in axes.get_xticklabels()]


def test_arrays_are_stored_beside_the_picture(tmp_path):
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 4))
    rows, columns = ["▁ein", "▁Haus", "حب", "</s>"], ["a", "家", "</s>"]
    (picture,) = heatmap.save(
        tmp_path / "deep" / "7.cross", weights, rows, columns, gold=[(0, 1), (2, 3)], title="record 7"
    )
    assert picture == tmp_path / "deep" / "7.cross.png" and imread(picture).ndim == 3
    with np.load(tmp_path / "deep" / "7.cross.npz") as arrays:
        assert arrays["weights"].dtype == np.float32
        np.testing.assert_array_equal(arrays["weights"], weights.astype(np.float32))
        assert arrays["rows"].tolist() == rows and arrays["columns"].tolist() == columns
        assert arrays["gold"].tolist() == [[0, 1], [2, 3]] and arrays["possible"].shape == (0, 2)


def test_one_head_is_one_panel_with_its_tokens_on_a_fixed_scale():
    figure = heatmap.draw([[0.1, 0.9], [0.2, 0.3], [0.0, 1.0]], ["x", "y", "z"], ["a", "b"], title="record 1")
    panel, bar = figure.axes
    assert texts(panel) == (["x", "y", "z"], ["a", "b"])
    assert panel.images[0].get_clim() == (0, 1) and bar.get_ylim() == (0, 1)
    np.testing.assert_array_equal(panel.images[0].get_array(), [[0.1, 0.9], [0.2, 0.3], [0.0, 1.0]])
    assert figure.texts[0].get_text() == "record 1"


def test_each_layer_has_a_row_of_panels_with_its_mean_and_its_heads():
    weights = np.random.default_rng(0).random((2, 3, 2, 2))
    figure = heatmap.draw(weights, "xy", "ab")
    *panels, _ = figure.axes
    assert [panel.get_xlabel() for panel in panels[:5]] == [
        *("layer 1, mean", "layer 1, head 1", "layer 1, head 2", "layer 1, head 3", "layer 2, mean")
    ]
    np.testing.assert_allclose(panels[4].images[0].get_array(), weights[1].mean(0))
    np.testing.assert_allclose(panels[7].images[0].get_array(), weights[1, 2])
    assert len({panel.get_position().y0 for panel in panels[:4]}) == 1
    assert panels[4].get_position().y1 < panels[0].get_position().y0


def test_gold_links_that_touch_share_one_outline():
    figure = heatmap.draw(np.eye(3), "xyz", "abc", gold=[(0, 0), (0, 1)], possible=[(2, 2)])
    gold, possible = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    assert len(gold.get_segments()) == 6 and len(possible.get_segments()) == 4
    corners = np.concatenate(gold.get_segments())
    assert corners.min(0).tolist() == [-0.5, -0.5] and corners.max(0).tolist() == [0.5, 1.5]


def test_axes_have_names_and_a_legend_explains_the_outlines():
    figure = heatmap.draw(
        np.eye(2), "xy", "ab", gold=[(0, 0)], possible=[(1, 1)], title="RNN, dot attention\nsentence 3"
    )
    panel, bar = figure.axes
    assert (panel.get_ylabel(), panel.get_title(), bar.get_ylabel()) == ("output", "source", "attention weight")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["gold link", "possible link"]
    assert sorted(text.get_text() for text in figure.texts) == ["RNN, dot attention", "sentence 3"]
    assert not heatmap.draw(np.eye(2), "xy", "ab").legends


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 9), (9, 1), (2, 4, 2, 2)])
def test_no_text_of_a_small_figure_overlaps_another(shape):
    weights, rows, columns = np.zeros(shape), [f"word{n}" for n in range(shape[-2])], ["source"] * shape[-1]
    figure = heatmap.draw(weights, rows, columns, gold=[(0, 0)], possible=[(0, 0)], title="a model\nsentence 3")
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in (*figure.texts, *figure.legends[0].get_texts())]
    for axes in figure.axes:
        names = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels()]
        boxes += [name.get_window_extent(renderer) for name in names if name.get_text()]
    assert not [(a, b) for n, a in enumerate(boxes) for b in boxes[:n] if a.overlaps(b)]


def test_pdf_and_svg_are_written_beside_the_png_and_their_text_stays_text(tmp_path):
    def save(kind):
        return heatmap.save(tmp_path / kind, np.eye(2), ["▁ein", "▁Haus"], "ab", style=Style(kind))

    assert [path.name for path in save("png")] == ["png.png"]
    picture, pdf = save("pdf")
    assert (picture.suffix, pdf.suffix) == (".png", ".pdf")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF") and b"/CIDFontType2" in content and b"/Type3" not in content
    _, svg = save("svg")
    assert {"▁Haus", "attention weight", "output"} <= set(re.findall(r"<text[^>]*>([^<]*)", svg.read_text("utf-8")))


def test_figures_grow_with_the_tokens_up_to_a_limit():
    def size(n):
        return max(heatmap.draw(np.eye(n), ["w"] * n, ["w"] * n).get_size_inches())

    assert size(10) < size(40) < size(90) and size(90) - 0.1 < size(200) < heatmap.SIDE + 2  # with the names
    crowded = heatmap.draw(np.zeros((500, 2)), ["w"] * 500, ["a", "b"]).axes[0]
    assert 100 < len(crowded.get_yticks()) <= 500


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"weights \(2, 3\) don't fit 3 rows and 2 columns"):
        heatmap.draw(np.zeros((2, 3)), "xyz", "ab")


def test_any_text_is_drawn_with_a_single_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(fonts, "_boxed", set())
    monkeypatch.setattr(fonts, "_installed", list)  # a machine without fonts
    tokens = [
        "$x",
        "$^$",
        "",
        " ",
        "\n",
        "\ud800",
        "e\u0301",
        "\u0301",
        "▁שלום",
        "▁سلام",
        "▁क्षत्रिय",
        "한국어",
        "x" * 99,
    ]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        for name in ("first", "second"):
            heatmap.save(tmp_path / name, np.eye(len(tokens)), tokens[::-1], tokens, title="$ 日本 $")
    (line,) = caplog.messages
    assert line.startswith("no font for CJK, DEVANAGARI, HANGUL: ") and "noto-cjk-sans-otc" in line


def test_right_to_left_tokens_are_shaped(tmp_path):
    """Joined letters are narrower than the same letters kept apart by U+200C."""

    def ink(text):
        figure = heatmap.draw([[1.0]], [text], ["a"])
        label = figure.axes[0].get_yticklabels()[0]
        return label.get_window_extent(figure.canvas.get_renderer()).width

    assert ink("سلم") < 0.9 * ink("س\u200cل\u200cم")


def test_labels_show_invisible_characters_and_are_cut():
    assert fonts.label("▁word") == "▁word"
    assert [fonts.label(token) for token in ("", " ", "\n", "a\tb", "\x07")] == ["∅", "␣", "⏎", "a⇥b", "\ufffd"]
    assert fonts.label("\u0301") == "◌\u0301"
    assert fonts.label("x" * 30) == "x" * 23 + "…"
    assert fonts.label("日" * 30) == "日" * 11 + "…"
    assert fonts.label("e\u0301" * 30) == "e\u0301" * 23 + "…"
    assert fonts.width("e\u0301日a") == 4


def test_drawn_sentence_shows_words_or_pieces(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(heatmap, "save_figure", lambda figure, *_, **__: drawn.append(figure) or [])
    source, target = ["▁aa", "b", "</s>"], ["▁x", "▁yy", "z", "</s>"]
    weights = {"cross.0": np.full((1, 4, 3), 1 / 3), "sentinel.cross.0": np.zeros((1, 4, 1))}
    own = {"decoder_self.0": np.full((1, 4, 4), 1 / 4)}
    words = [0, 0, -1], [0, 1, 1, -1]
    for style in (Style(), Style(pieces=True)):
        save_sentence(tmp_path, 3, weights, source, target, *words, model="RNN, dot attention", style=style)
    assert [texts(figure.axes[0]) for figure in drawn] == [
        (["x", "yyz", "</s>"], ["aab", "</s>", "sentinel"]),
        (["x", "yy", "·z", "</s>"], ["aa", "·b", "</s>", "sentinel"]),
    ]
    assert {text.get_text() for text in drawn[0].texts} == {"RNN, dot attention", "sentence 3, cross-attention"}
    save_sentence(tmp_path, 3, own, source, target, *words, model="RNN, dot attention")
    assert {text.get_text() for text in drawn[2].texts} == {"RNN", "sentence 3, self-attention of the decoder"}
    assert texts(drawn[2].axes[0]) == (["<s>", "x", "yyz"], ["<s>", "x", "yyz"])


def test_sentence_has_a_picture_for_each_slot(tmp_path):
    def rows(*shape):
        return np.full(shape, 1 / shape[-1])

    weights = {
        "encoder_self.0": rows(2, 4, 4),
        "cross.1": rows(2, 5, 4),  # padded by one row
        "cross.0": np.zeros((2, 5, 4)),
        "decoder_self.0": rows(2, 5, 5),
        "posterior.cross.1": rows(1, 5, 4),
    }
    source, target = ["▁a", "b", "▁c", "</s>"], ["▁x", "▁y", "z", "</s>"]
    gold = GoldLinks.of(["ab", "c"], ["x", "yz"], [(0, 1)], [(1, 0)])
    pictures = save_sentence(tmp_path, 12, weights, source, target, [0, 0, 1, -1], [0, 1, 1, -1], gold=gold)
    assert sorted(path.name for path in pictures) == [
        *("00012_cross.png", "00012_decoder_self.png", "00012_encoder_self.png", "00012_posterior.png")
    ]
    with np.load(tmp_path / "00012_posterior.npz") as arrays:
        assert arrays["weights"].shape == (1, 1, 4, 4)
        assert sorted(map(tuple, arrays["gold"].tolist())) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    with np.load(tmp_path / "00012_cross.npz") as arrays:
        assert arrays["weights"].shape == (2, 2, 4, 4)
        assert arrays["weights"][0].sum() == 0 < arrays["weights"][1].sum()
        assert sorted(map(tuple, arrays["gold"].tolist())) == [(0, 1), (0, 2), (1, 1), (1, 2)]
        assert arrays["possible"].tolist() == [[2, 0]]
    with np.load(tmp_path / "00012_decoder_self.npz") as arrays:
        assert arrays["rows"].tolist() == arrays["columns"].tolist() == ["<s>", "▁x", "▁y", "z"]
