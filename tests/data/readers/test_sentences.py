"""Tests of splitting texts into sentences: cases analysed by hand, and properties of any text."""

from __future__ import annotations

from random import Random

import pytest

from seq2seq.data.readers.sentences import LANGUAGES, split
from seq2seq.errors import UserError

SPLIT = {
    "abbreviations do not end a sentence": (
        "Dr. Kim paid 3.5 million to J. R. Moss. He left at 5 p.m. on Monday.",
        ["Dr. Kim paid 3.5 million to J. R. Moss.", "He left at 5 p.m. on Monday."],
    ),
    "quotes and other marks": ('"Who?" she asked. Stop! Now.', ['"Who?" she asked.', "Stop!", "Now."]),
    "a line break inside a sentence is a space": (
        "It rained\nall  day. It\r\nstopped.",
        ["It rained all day.", "It stopped."],
    ),
    "a blank line ends a sentence": ("A headline\n\nThe text\r\n \r\nThe rest", ["A headline", "The text", "The rest"]),
    "white space has no sentences": (" \n\n\t\n", []),
}


@pytest.mark.parametrize("case", SPLIT)
def test_sentences_by_hand(case):
    text, sentences = SPLIT[case]
    assert split(text) == sentences


def test_languages_have_their_own_abbreviations_and_marks():
    german = "Das ist z.B. gut. Am 3. Mai kam sie."
    assert split(german, "de") == ["Das ist z.B. gut.", "Am 3. Mai kam sie."]
    assert split(german, "en") != split(german, "de")
    assert split("你好。我是人。什么？", "zh") == ["你好。", "我是人。", "什么？"]


@pytest.mark.parametrize("language", ["english", "xx", ""])
def test_an_unknown_language_is_refused_with_the_choices(language):
    with pytest.raises(UserError, match=rf"^language={language} .*one of: am, .* en, .*zh") as caught:
        split("One.", language)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_keep_all_characters_and_are_not_empty(language):
    random = Random(language)
    pieces = [
        "Mr.",
        "cat",
        "3.14",
        "ran.",
        "\n",
        "\n\n",
        "U.S.",
        "(so",
        "what?)",
        '"Oh!"',
        "z.B.",
        "1.",
        "-",
        "。",
        "…",
        "\t",
    ]
    for _ in range(10):
        text = " ".join(random.choices(pieces, k=random.randint(0, 30)))
        sentences = split(text, language)
        assert "".join("".join(sentences).split()) == "".join(text.split())
        assert all(sentence == " ".join(sentence.split()) != "" for sentence in sentences)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_blank_line_ends_a_sentence_in_every_language(language):
    assert split("one two\n \nthree four\r\n\r\n\r\nfive", language) == ["one two", "three four", "five"]
