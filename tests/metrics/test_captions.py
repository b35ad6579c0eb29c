"""Tests of the metrics of captions: scores by hand, and COCO's own programs."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from seq2seq.errors import UserError
from seq2seq.metrics import captions, score
from seq2seq.metrics.captions import CiderD, cider, diversity, meteor, missing_for, spice, words

REFERENCES = [
    ["A man rides a horse.", "A man on a horse", "someone riding a brown horse"],
    ["Two dogs run in the grass", "two dogs are running"],
    ["A girl's red t-shirt", "The girl isn't wearing a hat, she wears a T-shirt."],
    ["people at a table", "A group of people sits around a table outside", "people eating"],
]
CAPTIONS = ["a man rides a brown horse", "two dogs run", "a girl wearing a t-shirt", "a table"]


def test_words_of_captions() -> None:
    assert words("A man's T-shirt isn't red, (but) \u201cblue\u201d!") == [
        "a",
        "man",
        "'s",
        "t-shirt",
        "is",
        "n't",
        "red",
        "but",
        "blue",
    ]
    assert words("They\u2019re 3.5 miles, we'll go") == ["they", "'re", "3.5", "miles", "we", "'ll", "go"]
    assert words("!?") == []


def test_cider_by_hand() -> None:
    """The references are "a b" and "c": every idf is log(2), which cancels."""
    scorer = CiderD([["a b"], ["c"]])
    assert scorer.scores([0], [["a", "b"]]) == pytest.approx([10 * 2 / 4])  # 1- and 2-grams of four orders
    assert scorer.scores([0], [["a"]]) == pytest.approx([10 / 4 / math.sqrt(2) * math.exp(-1 / 72)])  # no bigram
    assert scorer.scores([0, 1], [["c"], ["c", "c"]]) == pytest.approx([0.0, 10 / 4 * math.exp(-1 / 72) * 0.5])
    assert cider(["a b", "c"], [["a b"], ["c"]]).score == pytest.approx((5 + 2.5) / 2)


def sentences(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    vocabulary = list("abcdefghijklmno")
    return [" ".join(draw.choices(vocabulary, k=draw.randint(1, 12))) for _ in range(count)]


def corpus() -> tuple[list[str], list[list[str]]]:
    """Return 60 captions with 1 to 5 references each; every third caption is one of its references."""
    references = [sentences(n, 1 + n % 5) for n in range(60)]
    wrong = sentences(1000, 60)
    return [wrong[n] if n % 3 else references[n][-1] for n in range(60)], references


def as_coco(captions: list[str], references: list[list[str]]) -> tuple[dict, dict]:
    """Return references and captions in the form of pycocoevalcap."""
    coco_references = {n: [" ".join(words(text)) for text in several] for n, several in enumerate(references)}
    return coco_references, {n: [" ".join(words(text))] for n, text in enumerate(captions)}


@pytest.mark.parametrize("data", [(CAPTIONS, REFERENCES), corpus()], ids=["few", "many"])
def test_scores_equal_those_of_pycocoevalcap(data: tuple[list[str], list[list[str]]]) -> None:
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    ours = score(["cider", "bleu1", "bleu2", "bleu3", "bleu4", "rougeL_coco"], *data)
    references, outputs = as_coco(*data)
    assert ours["cider"].score == pytest.approx(Cider().compute_score(references, outputs)[0], abs=1e-9)
    bleus = Bleu(4).compute_score(references, outputs, verbose=0)[0]
    for order, theirs in enumerate(bleus, 1):
        if theirs > 1e-3:  # pycocoevalcap adds about 1e-9 to counts
            assert ours[f"bleu{order}"].score / 100 == pytest.approx(theirs, abs=1e-6)
    assert ours["rougeL_coco"].score / 100 == pytest.approx(Rouge().compute_score(references, outputs)[0], abs=1e-9)


def test_words_of_usual_texts_equal_those_of_the_treebank_tokenizer() -> None:
    pytest.importorskip("pycocoevalcap")
    if missing_for("meteor"):
        pytest.skip(missing_for("meteor"))
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = [text for several in REFERENCES for text in several] + [
        "A dog , and a cat ; they're here - now !",
        "It's 5.",
        "a black & white dog,cat in the U.S. for $1,000 at 3:30 #1 or 50% more",
        "he cannot stop, and/or is gonna want a*b = c at AT&T",
    ]
    theirs = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate(texts)})
    assert [" ".join(words(text)) for text in texts] == [theirs[n][0] for n in range(len(texts))]


@pytest.mark.slow
def test_meteor_of_references_is_about_100() -> None:
    """Without Java or METEOR, the metric is refused."""
    if missing := missing_for("meteor"):
        with pytest.raises(UserError, match="metric meteor: "):
            meteor(CAPTIONS, REFERENCES)
        pytest.skip(missing)
    perfect = meteor([several[0] for several in REFERENCES], REFERENCES).score
    assert perfect == pytest.approx(100, abs=1)
    assert 10 < meteor(CAPTIONS, REFERENCES).score < perfect


def test_missing_programs_of_spice_and_meteor_are_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := missing_for("spice"):
        with pytest.raises(UserError, match=r"^metric spice: .*(pip install|java|get_stanford_models)"):
            spice(CAPTIONS, REFERENCES)
        assert "\n" not in missing
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "java" in missing_for("meteor") or "pip install" in missing_for("meteor")


def test_diversity_by_hand() -> None:
    found = diversity(["a dog", "a dog", "a cat runs"])
    assert found["unique_captions"].score == pytest.approx(2 / 3)
    assert found["distinct_1"].score == pytest.approx(len({"a", "dog", "cat", "runs"}) / 7)
    pairs = Counter({("a", "dog"): 2, ("a", "cat"): 1, ("cat", "runs"): 1})
    assert found["distinct_2"].score == pytest.approx(len(pairs) / pairs.total())
    assert found["caption_words"].score == pytest.approx(7 / 3)
    assert diversity([])["caption_words"].score == 0


@pytest.mark.parametrize("name", ["cider", "bleu4", "rougeL_coco"])
def test_empty_captions_score_zero_and_empty_lists_are_refused(name: str) -> None:
    assert score([name], ["", ""], [["a dog"], ["a cat"]])[name].score == 0
    with pytest.raises(UserError, match="no sentences"):
        score([name], [], [])


def test_coco_s_programs_read_our_words_and_their_scores_become_percentages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scorer:
        def compute_score(self, references: dict[int, list[str]], captions: dict[int, list[str]]) -> tuple[float, None]:
            assert (references, captions) == ({0: ["a dog's ball", "it"], 1: ["two"]}, {0: ["a dog"], 1: ["two cats"]})
            return 0.25, None

    monkeypatch.setattr(captions, "words", str.split)
    found = captions._of_coco("meteor", Scorer(), ["a dog", "two cats"], [["a dog's ball", "it"], ["two"]])
    assert found.score == 25.0 and found.signature.startswith("meteor|")
