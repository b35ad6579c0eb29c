"""Tests of sheets of an image: a panel for each word, light by weight, gold boxes and stored arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from seq2seq.compat.matplotlib import without_glyph_warnings
from seq2seq.plots.sheet import CHOSEN, GOLD, ImageAttention, draw, light, save_sheet

CELLS = np.array([(row, column) for row in range(2) for column in range(3)])
IMAGE = Image.new("RGB", (60, 40), (200, 100, 50))


def looks(*rows: list[float], sentinel: list[float] | None = None) -> ImageAttention:
    outside = None if sentinel is None else np.array(sentinel)
    return ImageAttention([f"word{n}" for n in range(len(rows))], np.array(rows), outside)


def boxes(axes) -> list[tuple[str, str, tuple[float, ...]]]:
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(patch.get_edgecolor(), patch.get_linestyle(), patch.get_bbox().bounds) for patch in found]


def test_light_follows_weights() -> None:
    weights = np.array([0.0, 0.0, 0.8, 0.0, 0.2, 0.0])
    bright = light(weights, CELLS, (2, 3), 40, 60)
    assert bright.shape == (40, 60)
    assert bright[10, 50] > 0.95 and bright[10, 10] < 0.05  # middles of cells (0, 2) and (0, 0)
    assert bright[30, 30] == pytest.approx(0.25, abs=0.1)
    even = light(np.full(6, 1 / 6), CELLS, (2, 3), 40, 60)
    assert even.min() == even.max() == pytest.approx(0.5)
    assert not light(np.zeros(6), CELLS, (2, 3), 40, 60).any()


def test_a_panel_for_each_word_follows_the_image() -> None:
    figure = draw(IMAGE, looks([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0, 0, 0, 0, 0, 1.0]), CELLS, (2, 3))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["image", "word0", "word1"]
    assert not boxes(figure.axes[1])
    (_, chosen) = boxes(figure.axes[2])  # a white line, and the box above it
    assert chosen[2] == pytest.approx((39.5, 19.5, 20, 20))
    shown = figure.axes[1].images[0].get_array()
    assert shown.shape == (40, 60, 3) and np.allclose(
        figure.axes[0].images[0].get_array()[0, 0], [200 / 255, 100 / 255, 50 / 255]
    )
    assert shown[5, 5].max() > shown[35, 55].max()  # attended cells are bright
    assert np.ptp(shown[35, 55]) < np.ptp(shown[5, 5])  # other cells are grey


def test_gold_is_dashed_and_a_sentinel_is_a_bar() -> None:
    seen = looks([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [1 / 6] * 6, sentinel=[0.25, 0.75])
    figure = draw(IMAGE, seen, CELLS, (2, 3), regions=[[0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1, 1], []])
    panels = [axes for axes in figure.axes if axes.images and axes.get_label() != "scale"]
    assert [len(boxes(axes)) for axes in panels] == [0, 4, 0]
    assert [box[1] for box in boxes(panels[1])] == ["-", "--"] * 2
    bars = [axes.patches[0].get_width() for axes in figure.axes if not axes.images]
    assert bars == [0.25, 0.75]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("bar: attention on the sentinel, from 0 to 100\u00a0%", "gold region of the word")
    ]
    assert GOLD != CHOSEN


@pytest.mark.parametrize("caption", ["a very long caption indeed " * 6, "一只黑色的狗在草地上奔跑" * 5])
def test_a_long_title_stays_on_the_sheet(caption: str) -> None:
    title = f"record 7, a-name.jpg: {caption}"
    figure = draw(IMAGE, looks([1 / 6] * 6), CELLS, (2, 3), title=title)
    with without_glyph_warnings():  # the machine may lack a font for the letters
        figure.draw_without_rendering()
    lines = [text for text in figure.texts if text.get_fontsize() == 9]
    assert "".join(text.get_text() for text in lines).replace(" ", "") == title.replace(" ", "")
    assert len(lines) > 1 and all(text.get_window_extent().x1 < figure.bbox.x1 for text in figure.texts)
    panels = max(axes.get_tightbbox().y1 for axes in figure.axes)
    assert panels < min(text.get_window_extent().y0 for text in lines)


@pytest.mark.parametrize("size", [(60, 40), (40, 90), (8, 8)])
def test_picture_and_arrays_are_written(tmp_path: Path, size: tuple[int, int]) -> None:
    alignment = np.random.default_rng(0).dirichlet(np.ones(6), 4).astype(np.float32)
    words, word_of_row = ["un-", "猫", "<&$>"], [0, 1, 2, -1]
    (file,) = save_sheet(tmp_path / "deep", 7, Image.new("RGB", size), alignment, CELLS, (2, 3), words, word_of_row)
    assert file.name == "00007_sheet.png" and Image.open(file).size[0] > 200
    arrays = np.load(tmp_path / "deep" / "00007_sheet.npz")
    assert (arrays["alignment"] == alignment).all() and arrays["words"].tolist() == words
    assert arrays["cells"].tolist() == CELLS.tolist() and arrays["extent"].tolist() == [2, 3]


def test_an_empty_caption_has_a_sheet(tmp_path: Path) -> None:
    (file,) = save_sheet(tmp_path, 0, IMAGE, np.full((1, 6), 1 / 6), CELLS, (2, 3), [], [-1])
    assert file.exists()
