"""Tests of the picture of a document: words of pieces, left-out sentences, the order of words and stored arrays."""

from __future__ import annotations

import logging
import re
import tracemalloc
import warnings

import numpy as np
import pytest
from matplotlib.image import imread

from seq2seq.metrics.words import merge
from seq2seq.plots import fonts
from seq2seq.plots.document import LINES, draw, save_document
from seq2seq.plots.excerpt import excerpt
from seq2seq.plots.page import page
from seq2seq.plots.running import Pen, word_positions, wrap
from seq2seq.plots.shading import ShadedWord, Shading, full, percent

# a document of two sentences, "ab c" and "d", and its summary "xy z"
SOURCE, SOURCE_WORDS, SENTENCES = ["▁a", "b", "▁c", "▁d", "</s>"], [0, 0, 1, 2, -1], [0, 0, 0, 1, 1]
TARGET, TARGET_WORDS = ["▁x", "y", "▁z", "</s>"], [0, 0, 1, -1]
WEIGHTS = [[0.1, 0.2, 0.3, 0.2, 0.2], [0.3, 0.4, 0.1, 0.0, 0.2], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]


def shading(**more):
    return Shading.of(WEIGHTS, SOURCE, TARGET, SOURCE_WORDS, TARGET_WORDS, **{"sentences": SENTENCES, **more})


def synthetic(sentences, words, rows, seed=0, **more):
    """Build random weights of ``sentences`` with ``words`` each, and of a summary with ``rows`` words."""
    count = sentences * words
    weights = np.random.default_rng(seed).dirichlet(np.full(count + 1, 0.1), size=rows + 1)
    return Shading.of(
        weights,
        [*(f"▁w{n}" for n in range(count)), "</s>"],
        [*(f"▁y{n}" for n in range(rows)), "</s>"],
        [*range(count), -1],
        [*range(rows), -1],
        sentences=[*(n // words for n in range(count)), sentences - 1],
        **more,
    )


def drawn(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_weights_of_words_and_sentences():
    seen = shading(copied=[0.2, 0.6, 1.0, 0.9], origins=[0, -1])
    assert [word.text for word in seen.document] == ["ab", "c", "d"] and seen.sentences.tolist() == [0, 0, 1]
    assert [word.text for word in seen.summary] == ["xy", "z"]
    np.testing.assert_allclose(seen.weights, [[0.5, 0.2, 0.1], [0, 0, 1]])  # sum over a source word, mean over x and y
    np.testing.assert_allclose(seen.shares, [[0.7, 0.1], [0, 1]])
    np.testing.assert_allclose(seen.rest, [0.2, 0], atol=1e-12)  # </s>
    np.testing.assert_allclose(seen.copied, [0.4, 1.0])
    assert seen.origins.tolist() == [0, -1]


def test_words_are_merged_as_metrics_merge_them():
    rng = np.random.default_rng(3)
    source, target = np.sort(rng.integers(-1, 9, 30)), np.sort(rng.integers(-1, 5, 12))
    source, target = (np.unique(words, return_inverse=True)[1] - (words.min() < 0) for words in (source, target))
    weights = rng.random((12, 30))
    seen = Shading.of(weights, ["▁p"] * 30, ["▁q"] * 12, source.tolist(), target.tolist())
    np.testing.assert_allclose(seen.weights, merge(weights, source, target))


def test_memory_for_16000_tokens_is_not_quadratic():
    count = 16_000
    weights = np.full((3, count + 1), 1 / (count + 1), dtype=np.float32)
    words = [*range(count), -1]
    tracemalloc.start()
    seen = Shading.of(weights, [*["▁w"] * count, "</s>"], ["▁a", "▁b", "</s>"], words, [0, 1, -1])
    assert seen.shares.shape == (2, 1) and tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"weights \(4, 5\) don't fit 3 target pieces and 5 source pieces"):
        Shading.of(WEIGHTS, SOURCE, TARGET[:3], SOURCE_WORDS, TARGET_WORDS[:3])
    with pytest.raises(ValueError, match="3 origins don't fit 2 words of the target"):
        shading(origins=[0, 0, 1])
    with pytest.raises(ValueError, match="2 sentence numbers don't fit 5 source pieces"):
        shading(sentences=[0, 1])


def test_pieces_are_words_in_scripts_without_spaces():
    source = ["▁", "今日", "は", "▁crème", "br", "<0xE6>", "<0x97>", "<0xA5>", "本", "</s>"]
    seen = Shading.of(np.ones((2, 10)) / 10, source, ["▁", "日本", "</s>"][:2], [0, 0, 0, 1, 1, 2, 2, 2, 2, -1], [0, 0])
    assert seen.document == [
        *(ShadedWord("今日"), ShadedWord("は", joined=True)),
        *(ShadedWord("crèmebr"), ShadedWord("日"), ShadedWord("本", joined=True)),
    ]
    np.testing.assert_allclose(seen.weights, [[0.2, 0.1, 0.2, 0.3, 0.1]])
    gold = Shading.of(np.ones((3, 2)) / 2, ["▁a", "b"], ["▁今", "日", "▁x"], [0, 1], [0, 0, 1], origins=[4, -1])
    assert gold.origins.tolist() == [4, 4, -1]  # each piece has the origin of its word


def test_full_colour_is_the_largest_weight_but_at_least_three_even_weights():
    assert full([0.2, 0.7, 0.1]) == 1.0 and full(np.full(100, 0.01)) == pytest.approx(0.03)
    assert full([0.5, *np.full(99, 0.005)]) == 0.5 and full([]) == 1.0


def test_percent():
    values = [0, 1, 0.384, 0.0996, 0.0994, 0.0123, 0.00994, 0.00012]
    assert [percent(value).replace("\u00a0", " ") for value in values] == [
        *("0 %", "100 %", "38 %", "10 %", "9.9 %", "1.2 %", "0.99 %", "0.01 %")
    ]


@pytest.mark.parametrize("gold", [None, 17])
def test_left_out_sentences_are_counted(gold):
    seen = synthetic(30, 4, 3, origins=None if gold is None else [gold, -1, gold])
    shares = seen.shares.mean(0)
    wrapped = {n: [[4 * n, 4 * n + 1], [4 * n + 2, 4 * n + 3]] for n in range(30)}
    blocks = excerpt(seen, wrapped, room=20, longest=9)
    kept = [block.sentence for block in blocks if block.sentence is not None]
    first = [] if gold is None else [gold]
    wanted = [*first, *(n for n in np.argsort(-shares).tolist() if n not in first)][:10]
    assert kept == sorted(wanted)
    assert all(block.lines == wrapped[block.sentence] for block in blocks if block.sentence is not None)

    said = 0
    last = -1
    for block in [*blocks, None]:
        if block is not None and block.sentence is None:
            (note,) = block.lines
            numbers = [int(n) for n in re.findall(r"\d+", note.split(",", 1)[0] + note.split(",")[1].split("%")[0])]
            single = note.startswith("left out: sentence ")
            start, end = (numbers[0], numbers[0]) if single else numbers[1:3]
            assert start == last + 2 and percent(shares[start - 1 : end].sum()) in note
            assert single or numbers[0] == end - start + 1
            said += end - start + 1
            last = end - 1
        elif block is not None:
            assert block.sentence == last + 1
            last = block.sentence
    assert last == 29 and said + len(kept) == 30


def test_a_long_sentence_shows_its_most_attended_lines():
    seen = Shading.of(
        [[0.0, 0.3, 0.05, 0.05, 0.4, 0.2]], [f"▁{c}" for c in "abcdef"], ["▁x"], range(6), [0], sentences=[0] * 6
    )
    (block,) = excerpt(seen, {0: [[0], [1], [2], [3], [4], [5]]}, room=10, longest=3)
    nbsp = "\u00a0"
    assert block.lines == [
        *(f"left out: 1 word, 0{nbsp}% of the attention", [1]),
        *(f"left out: 2 words, 10{nbsp}% of the attention", [4], [5]),
    ]


def test_lines_are_filled_and_never_overfull():
    pen = Pen([fonts.BASE])
    words = [ShadedWord("word" * (1 + n % 3), joined=n % 5 == 4) for n in range(60)]
    lines = wrap(words, pen, 3.0)
    assert [place for line in lines for place in line] == list(range(60))
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        places = dict(word_positions(words, line, pen, False, 3.0))
        assert list(places) == line and min(places.values()) == 0
        end = max(x + pen.width(words[n].text) for n, x in places.items())
        assert end <= 3.0 + 1e-9
        if following:
            assert end + pen.width(words[following[0]].text) + pen.width("n") > 3.0
    alone = wrap([ShadedWord("long" * 10)], pen, 0.1)
    assert alone == [[0]]


def test_words_have_the_order_of_their_script():
    pen = Pen([fonts.BASE])
    words = [ShadedWord(text) for text in ["قال", "New", "York", "ان", "37", "."]]
    across = dict(word_positions(words, [0, 1, 2, 3, 4, 5], pen, True, 5.0))
    assert sorted(across, key=across.get) == [5, 4, 3, 1, 2, 0]  # from the right; Latin words from the left
    assert across[0] + pen.width("قال") == pytest.approx(5.0)
    mixed = [ShadedWord(text) for text in ["he", "said", "قال", "ان", "."]]
    across = dict(word_positions(mixed, [0, 1, 2, 3, 4], pen, False, 5.0))
    assert sorted(across, key=across.get) == [0, 1, 3, 2, 4]


def test_the_picture_has_every_word_and_the_weights_of_every_sentence():
    seen = shading(copied=[0.2, 0.6, 1.0, 0.9], origins=[0, -1])
    figure = draw(seen, "record 3")
    heat = next(axes for axes in figure.axes if axes.images)
    np.testing.assert_allclose(heat.images[0].get_array(), [[0.7, 0.1, 0.2], [0, 1, 0]], atol=1e-12)
    assert heat.images[0].get_clim() == (0, 1)
    (gold,) = heat.patches
    assert (gold.get_x(), gold.get_y()) == (-0.5, -0.5)
    texts = drawn(figure)
    assert texts.count("xy") == texts.count("z") == 2  # in the text, and beside the heat map
    assert {"record 3", "ab", "c", "d", percent(0.35), percent(0.55), "no word", "copied"} <= set(texts)
    assert f"{percent(0.1)} of the attention is not on any word (but on </s>, for example)" in texts


def test_the_reference_stands_beside_the_summary():
    seen = shading()
    figure = draw(seen, "document 3", "das Ende .\nist <gut>")
    texts = drawn(figure)
    assert {"reference", "das", "Ende", "<gut>"} <= set(texts)
    (sheet,) = (axes for axes in figure.axes if axes.texts)
    places = {text.get_text(): text.get_position() for text in reversed(sheet.texts)}
    assert places["das"][1] == places["xy"][1] and places["das"][0] > places["z"][0]
    assert "reference" not in drawn(draw(seen))
    assert '<h2>Reference</h2>\n<p dir="auto">das Ende .\nist &lt;gut&gt;</p>' in page(
        seen, "t", "das Ende .\nist <gut>"
    )
    assert "Reference" not in page(seen, "t")


def test_a_picture_without_copying_gold_or_sentences_omits_them():
    texts = drawn(draw(shading()))
    assert "copied" not in texts and not any("gold" in text or "copied" in text for text in texts)
    whole = draw(shading(sentences=[]))
    assert not any(axes.images for axes in whole.axes) and not any("sentence" in text for text in drawn(whole))
    empty = draw(Shading.of(np.ones((1, 2)) / 2, ["▁a", "</s>"], ["</s>"], [0, -1], [-1]))
    assert "the summary is empty" in drawn(empty)


def test_a_long_document_is_cut_and_the_picture_reports_it():
    seen = synthetic(LINES + 30, 3, 2)
    figure = draw(seen)
    texts = drawn(figure)
    assert any(text.startswith("… left out: ") for text in texts) and "left out" in texts
    heat = next(axes for axes in figure.axes if axes.images).images[0].get_array()
    assert heat.shape == (2, LINES + 1 + ("no word" in texts))  # the shown sentences, and one column for the others
    np.testing.assert_allclose(heat.sum(1), 1, atol=0.005)


def test_picture_page_and_arrays_are_written(tmp_path):
    weights = {"cross.0": np.ones((2, 5, 6)), "cross.1": np.zeros((2, 5, 6)), "encoder_self.0": np.ones((2, 6, 6))}
    picture, html = save_document(
        tmp_path / "deep",
        12,
        WEIGHTS,
        SOURCE,
        TARGET,
        SOURCE_WORDS,
        TARGET_WORDS,
        sentences=SENTENCES,
        copied=np.array([0.2, 0.6, 1.0, 0.9], dtype=np.float32),
        weights=weights,
    )
    assert (picture.name, html.name) == ("00012_document.png", "00012_document.html")
    assert imread(picture).ndim == 3 and "document 12" in html.read_text(encoding="utf-8")
    with np.load(tmp_path / "deep" / "00012_document.npz") as arrays:
        np.testing.assert_array_equal(arrays["alignment"], np.array(WEIGHTS, dtype=np.float32))
        assert arrays["cross.0"].shape == arrays["cross.1"].shape == (2, 4, 5) and "encoder_self.0" not in arrays
        assert arrays["source"].tolist() == SOURCE and arrays["target"].tolist() == TARGET
        assert arrays["source_words"].tolist() == SOURCE_WORDS and arrays["target_words"].tolist() == TARGET_WORDS
        assert arrays["sentences"].tolist() == SENTENCES and arrays["origins"].tolist() == []
        assert arrays["copied"].dtype == np.float32 and len(arrays["copied"]) == 4


def test_any_text_is_drawn_with_a_single_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(fonts, "_boxed", set())
    monkeypatch.setattr(fonts, "_installed", list)  # a machine without fonts
    source = [
        "▁$x",
        "$^$",
        "▁",
        "\n",
        "\ud800",
        "▁سلام",
        "▁שלום",
        "▁苏黎",
        "世市",
        "▁한국어",
        "▁" + "x" * 99,
        "\u0301",
        "</s>",
    ]
    words = [0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 6, -1]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        weights = np.full((13, 13), 1 / 13)
        paths = save_document(
            tmp_path, 0, weights, source, source, words, words, sentences=[0] * 7 + [1] * 6, title="$ 日本 $"
        )
    assert all(path.stat().st_size > 1000 for path in paths)
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("no font for CJK, HANGUL: ")
