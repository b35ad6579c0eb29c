"""Tests of the toy reports: some are compared with an analysis by hand, and properties hold of all."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.data.toy.reports import FILLERS, FUNCTION_WORDS, KINDS, NAMES, SLOTS
from seq2seq.data.toy.summarisation import SENTENCES, WORDS, ToySummarisation

AT = DataLocation(None, "report", "summary")
CONF = Path(__file__).parents[3] / "conf" / "data" / "toy_summarisation.yaml"


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Record]]:
    """Return the records of each split."""
    reader = ToySummarisation()
    return {split: [row.record for row in reader.rows(split, AT)] for split in reader.splits(AT)}


@pytest.fixture(scope="module")
def everything(splits) -> list[Record]:
    """Return the records of all splits."""
    return [record for records in splits.values() for record in records]


def is_name(word: str) -> bool:
    """Return whether the word is a name or a number."""
    return word[0].isupper() or word.isdecimal()


def names(records: list[Record]) -> set[str]:
    """Return the names and numbers in the sources."""
    return {word for record in records for word in record["source"].split() if is_name(word)}


def glossed(record: Record, links: str = "alignment") -> str:
    """Return ``target=source words`` for each target word."""
    source, target = record["source"].split(), record["target"].split()
    return " ".join(f"{t}={'+'.join(source[i] for i, j in record[links] if j == n)}" for n, t in enumerate(target))


# Summaries of the default training split, analysed by hand: sure links, possible links and origins.
ANALYSED = {
    # the detail comes before the event; the loser is named first; the summary keeps the last of a person's names
    "Nogrusus beats Vileples in Puplidale by 6274 .\nKalosuz shines .": (
        "Nogrusus=Nogrusus beats=beat Vileples=Vileples in= Puplidale=Puplidale by= 6274=6274 .= "
        "Kalosuz=Kalosuz shines=the+best+player+was .=",
        "in=in by=by .=. Kalosuz=Viva .=.",
        [2, 2, 2, -1, 2, -1, 2, -1, 1, 1, -1],
    ),
    "Disos beats Troplas in Nibidale by 7012 .\nDrivotrut fails .": (
        "Disos=Disos beats=lost+to Troplas=Troplas in= Nibidale=Nibidale by= 7012=7012 .= "
        "Drivotrut=Drivotrut fails=the+culprit+was .=",
        "in=in by=by .=. Drivotrut=Tutro .=.",
        [3, 3, 3, -1, 3, -1, 3, -1, 1, 1, -1],
    ),
    # the report has an older accident with another number, which is not news; "as" is in no sentence of the report
    "9774 hurt as taxi hits gate in Sutiwick .": (
        "9774=9774 hurt=hurt as= taxi=taxi hits=struck gate=gate in= Sutiwick=Sutiwick .=",
        "in=in .=.",
        [5, 5, -1, 5, 5, 5, -1, 5, -1],
    ),
    "Klenopiton backs library for 5862 crowns .": (
        "Klenopiton=Klenopiton backs=voted+to+build library=library for= 5862=5862 crowns=crowns .=",
        "for=for .=.",
        [3, 3, 3, -1, 3, 3, -1],
    ),
    "Tekudrior hires Klobredrub as manager .\nearns 4547 crowns .": (
        "Tekudrior=Tekudrior hires=named Klobredrub=Klobredrub as= manager=manager .= "
        "earns=the+pay+is 4547=4547 crowns=crowns .=",
        "Klobredrub=Mufiplu as=as .=. .=.",
        [5, 5, 5, -1, 5, -1, 6, 6, 6, -1],
    ),
}


@pytest.mark.parametrize("summary", ANALYSED)
def test_links_and_origins_by_hand(splits, summary):
    record = next(record for record in splits["train"] if record["target"] == summary)
    sure, possible, origins = ANALYSED[summary]
    assert glossed(record) == sure
    assert " ".join(gloss for gloss in glossed(record, "possible").split() if not gloss.endswith("=")) == possible
    assert record["origins"] == origins


def test_split_sizes_and_lengths(splits, everything):
    assert {split: len(records) for split, records in splits.items()} == {"train": 1000, "valid": 300, "test": 500}
    words = [len(record["source"].split()) for record in everything]
    assert WORDS[0] <= min(words) and max(words) <= WORDS[1]
    sentences = Counter(record["source"].count("\n") + 1 for record in everything)
    assert (min(sentences), max(sentences)) == SENTENCES
    summaries = Counter(len(record["target"].split()) for record in everything)
    assert (min(summaries), max(summaries)) == (6, 13)
    assert 0.4 < sum("\n" in record["target"] for record in everything) / len(everything) < 0.6


def test_every_sentence_ends_in_a_separate_full_stop(everything):
    for record in everything:
        for line in (record["source"] + "\n" + record["target"]).split("\n"):
            assert line.endswith(" .") and line == " ".join(line.split())


def test_names_of_evaluation_are_not_in_training(splits):
    train, valid, test = (names(splits[split]) for split in ("train", "valid", "test"))
    assert not train & (valid | test)
    assert not {name for name in valid & test if not name.isdecimal()}


def test_a_name_belongs_to_one_report(splits):
    seen = Counter(name for record in splits["train"] for name in names([record]) if not name.isdecimal())
    assert max(seen.values()) == 1


def test_content_words_are_linked_to_their_sentence_of_origin(everything):
    """Content words are linked to words of their sentence of origin; a name is linked to the same name."""
    for record in everything:
        source, target = record["source"].split(), record["target"].split()
        home = [n for n, line in enumerate(record["source"].split("\n")) for _ in line.split()]
        sure: dict[int, list[int]] = {}
        for i, j in record["alignment"]:
            sure.setdefault(j, []).append(i)
        assert len(record["origins"]) == len(target)
        for j, word in enumerate(target):
            assert {home[i] for i in sure.get(j, [])} == ({record["origins"][j]} - {-1})
            assert (j not in sure) == (word in FUNCTION_WORDS)
            if is_name(word):
                assert [source[i] for i in sure[j]] == [word]
        assert not {tuple(link) for link in record["alignment"]} & {tuple(link) for link in record["possible"]}


def test_only_the_news_have_a_recent_time(everything):
    """One sentence of each report has a recent time, and the summary begins with it; others tell of older events."""
    now, then = ([entry.replace("_", " ") for entry in SLOTS[slot]] for slot in ("when", "then"))

    def contains_any(line: str, times: list[str]) -> bool:
        return any(f" {time} " in f" {line} " for time in times)

    older = 0
    for record in everything:
        lines = record["source"].split("\n")
        assert [n for n, line in enumerate(lines) if contains_any(line, now)] == [record["origins"][0]]
        older += sum(contains_any(line, then) for line in lines)
    assert older > len(everything)


def test_news_may_be_in_any_sentence(everything):
    places = Counter(record["origins"][0] for record in everything)
    assert len(places) == SENTENCES[1] and places[0] < len(everything) / 4  # often not the first one


def test_equal_sentences_have_equal_summaries(everything):
    """Equal sentences, with the names masked, have equal summaries."""
    summaries: dict[str, str] = {}
    for record in everything:
        lines = record["source"].split("\n")
        origins = list(dict.fromkeys(o for o in record["origins"] if o >= 0))
        masks: dict[str, str] = {}
        masked = [
            " ".join(masks.setdefault(w, f"<{len(masks)}>") if is_name(w) else w for w in line.split())
            for line in (*(lines[o] for o in origins), record["target"])
        ]
        assert summaries.setdefault("\n".join(masked[:-1]), masked[-1]) == masked[-1]
    assert len(summaries) > 500


def test_summaries_are_not_extracts(everything):
    """Each summary is shorter than the sentences it summarises, and most have a word that is not in the source."""
    own = 0
    for record in everything:
        assert len(record["target"].split()) < sum(
            len(record["source"].split("\n")[o].split()) for o in set(record["origins"]) - {-1}
        )
        own += not set(record["target"].split()) <= set(record["source"].split())
    assert own / len(everything) > 0.9


def test_vocabulary_of_the_configuration_has_no_names(splits):
    options = OmegaConf.load(CONF).tokenizer
    texts = [record[side] for record in splits["train"] for side in ("source", "target")]
    tokenizer = Tokenizer.train(texts, type=options.type, vocab_size=options.vocab_size)
    pieces = {piece.removeprefix("▁") for piece in tokenizer.pieces(range(4, len(tokenizer)))}
    assert pieces == {word for text in texts for word in text.split() if not is_name(word)}
    unknown = [word not in pieces for record in splits["test"] for word in record["target"].split()]
    assert 0.25 < sum(unknown) / len(unknown) < 0.5  # words that only a model with copying can produce


def test_all_kinds_and_slots_occur(splits):
    templates = [t for kind in KINDS for pair in (*kind.events, kind.detail) for t in pair]
    slots = set(re.findall(r"{(\w+)}", " ".join([*templates, *FILLERS, *(kind.aside for kind in KINDS)])))
    assert slots | {"then"} == {*SLOTS, *NAMES, "person", "number"}
    shares = Counter(
        re.sub(r"[A-Z]\w+|\d+", "", record["target"]).split()[0] for record in splits["train"]
    )  # the first word that is not a name indicates the kind
    assert all(shares[word] > len(splits["train"]) / 35 for word in ("beats", "delivers", "backs", "hires", "hurt"))


def test_fingerprint_depends_on_the_seed():
    small = ToySummarisation(train=30, valid=5, test=5)
    assert small.fingerprint("train", AT) == ToySummarisation(train=30, valid=5, test=5).fingerprint("train", AT)
    other = ToySummarisation(train=30, valid=5, test=5, seed=2)
    assert small.fingerprint("train", AT) != other.fingerprint("train", AT)
