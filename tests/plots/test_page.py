"""Tests of the page of a document: its tags match, text is never markup, and stored weights can be unpacked."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from seq2seq.plots.page import page
from seq2seq.plots.shading import Shading, percent

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Tree(HTMLParser):
    """Parser that collects elements with their attributes and text, and fails where tags don't match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **wanted):
        return [e for e in self.elements if e["tag"] == tag and all(e.get(k) == v for k, v in wanted.items())]

    def one(self, tag, **wanted):
        (element,) = self.all(tag, **wanted)
        return element


def shading(seed=0, **more):
    """Build three sentences with 7 words, and a summary of 3 words; the last of these attends to one word only."""
    rng = np.random.default_rng(seed)
    source = ["▁a", "▁b", "▁c", "c", "▁d", "▁e", "▁f", "▁g", "</s>"]
    weights = rng.dirichlet(np.ones(9) * 0.3, size=4)
    weights[2] = np.eye(9)[5]
    return Shading.of(
        weights,
        source,
        ["▁x", "▁y", "▁z", "</s>"],
        [0, 1, 2, 2, 3, 4, 5, 6, -1],
        [0, 1, 2, -1],
        sentences=[0, 0, 1, 1, 1, 2, 2, 2, 2],
        **more,
    )


def unpack(packed):
    steps = np.frombuffer(zlib.decompress(base64.b64decode(packed["steps"])), {8: np.uint8, 16: "<u2"}[packed["bits"]])
    largest = np.array(packed["largest"])[:, None]
    return steps.reshape(len(largest), -1) / (2 ** packed["bits"] - 1) * largest


def data_of(html):
    return json.loads(Tree(html).one("script", type="application/json")["text"])


def test_weights_are_unpacked_with_an_error_of_half_a_step():
    seen = shading()
    data = data_of(page(seen, "t"))
    for packed, rows, steps in ((data["words"], seen.weights, 255), (data["sentences"], seen.shares, 65535)):
        wanted = np.concatenate([rows.mean(0)[None], rows])
        given = unpack(packed)
        assert given.shape == wanted.shape
        assert (np.abs(given - wanted) <= wanted.max(1, keepdims=True) * (0.5 / steps + 1e-4)).all()


def test_one_element_for_each_word_and_sentence_in_their_order():
    tree = Tree(page(shading(), "record 7"))
    assert tree.one("title")["text"] == tree.one("h1")["text"] == "record 7"
    items = tree.all("li", dir="ltr")
    assert [item["text"] for item in items] == [
        f"{n}{percent(share)}{words}"
        for n, share, words in zip((1, 2, 3), shading().shares.mean(0), ("a b", "cc d", "e f g"), strict=True)
    ]
    buttons = tree.all("button", role="radio")
    assert [button["text"] for button in buttons] == ["mean of all words", "x", "y", "z"]
    assert [button["aria-checked"] for button in buttons] == ["true", "false", "false", "false"]
    assert [button["tabindex"] for button in buttons] == ["0", "-1", "-1", "-1"]  # one tab stop; arrow keys move inside


def test_without_its_script_the_page_shows_the_mean():
    seen = shading()
    html = page(seen, "t")
    words = [float(level) for level in re.findall(r'<span style="--w:([\d.]+)">', html)]
    mean = seen.weights.mean(0)
    scale = max(mean.max(), 3 / 7)
    assert words == pytest.approx([w / scale for w in mean if w / scale >= 0.005], abs=0.005)
    sentences = [float(level) for level in re.findall(r'<li [^>]*style="--s:([\d.]+)">', html)]
    assert sentences == pytest.approx(seen.shares.mean(0).tolist(), abs=0.005)  # full colour is 3 times 1/3
    assert f'id="weight">{percent(scale)}<' in html and f'id="share">{percent(1)}<' in html


def test_the_table_lists_the_attention_of_each_word():
    tree = Tree(page(shading(copied=[0.25, 1, 0, 0.5], origins=[1, -1, 0]), "t"))
    assert [head["text"] for head in tree.all("th", scope="col")][:3] == ["word", "copied", "gold sentence"]
    assert [head["text"] for head in tree.all("th", scope="row")] == ["x", "y", "z"]
    cells = [cell["text"].replace("\u00a0", " ") for cell in tree.all("td")]
    assert len(cells) == 3 * 4
    assert [cells[0], cells[4], cells[8]] == ["25 %", "100 %", "0 %"]
    assert [cells[1], cells[5], cells[9]] == ["2", "none", "1"]
    assert cells[10].startswith("3 (100 %), ") and cells[11].startswith("e (100 %), ")


def test_copying_and_gold_are_shown_only_where_they_are_known():
    bare, full = page(shading(), "t"), page(shading(copied=[0.25, 1, 0, 0.5], origins=[1, -1, 0]), "t")
    assert Tree(bare).one("body")["class"] == "divided" and Tree(full).one("body")["class"] == "divided copying golden"
    assert (data_of(bare)["copied"], data_of(bare)["origins"]) == (None, None)
    assert (data_of(full)["copied"], data_of(full)["origins"]) == ([0.25, 1, 0], [1, -1, 0])
    buttons = Tree(full).all("button", role="radio")[1:]
    assert [button["style"] for button in buttons] == ["--c:0.25", "--c:1.00", "--c:0.00"]
    assert buttons[0]["aria-label"] == f"x, copied {percent(0.25)}"
    assert not any("aria-label" in button or "style" in button for button in Tree(bare).all("button"))
    assert [item.get("class") for item in Tree(full).all("li", dir="ltr")] == ["gold", "gold", None]


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{data}}&amp;"]
)
def test_text_is_never_markup(text):
    seen = Shading.of(
        np.full((2, 2), 0.5), [text, "</s>"], [text, "</s>"], [0, -1], [0, -1], sentences=[0, 0], copied=[0.5, 0.5]
    )
    harmless = Tree(page(shading(copied=[0, 0, 0, 0]), "t"))
    tree = Tree(page(seen, text))
    assert tree.one("title")["text"] == tree.one("h1")["text"] == text
    assert tree.all("button", role="radio")[1]["text"] == text
    assert tree.all("button", role="radio")[1]["aria-label"].startswith(text + ", copied")
    assert tree.one("li", dir="ltr")["text"].endswith(text)
    assert {e["tag"] for e in tree.elements} <= {e["tag"] for e in harmless.elements}
    assert len(tree.all("script")) == 2


def test_the_page_loads_nothing_from_the_network():
    html = page(shading(), "t")
    assert not re.search(r"https?:|//\w+\.|@import|url\(|\bsrc=|\bhref=", html)
    assert "default-src 'none'" in Tree(html).one("meta", **{"http-equiv": "Content-Security-Policy"})["content"]
    assert "{{" not in html


def test_words_have_the_direction_of_their_script():
    seen = Shading.of(
        np.full((3, 4), 0.25),
        ["▁سلام", "▁عليكم", "▁peace", "</s>"],
        ["▁سلام", "▁peace", "</s>"],
        [0, 1, 2, -1],
        [0, 1, -1],
        sentences=[0, 0, 1, 1],
    )
    tree = Tree(page(seen, "t"))
    assert [item["dir"] for item in tree.all("li") if "dir" in item] == ["rtl", "ltr"]
    assert tree.one("div", id="words")["dir"] == "rtl"


def test_an_empty_summary_is_shown_as_empty():
    seen = Shading.of(np.full((1, 3), 1 / 3), ["▁a", "▁b", "</s>"], ["</s>"], [0, 1, -1], [-1], sentences=[0, 1, 1])
    tree = Tree(page(seen, "t"))
    assert len(tree.all("button", role="radio")) == 1 and tree.one("em")["text"] == "empty"
    assert unpack(data_of(page(seen, "t"))["words"]).tolist() == [[0, 0]]
