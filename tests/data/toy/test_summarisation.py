"""The toy reports against a hand-made analysis, and what holds of every one."""

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
    reader = ToySummarisation()
    return {split: [row.record for row in reader.rows(split, AT)] for split in reader.splits(AT)}


@pytest.fixture(scope="module")
def everything(splits) -> list[Record]:
    return [record for records in splits.values() for record in records]


def is_name(word: str) -> bool:
    return word[0].isupper() or word.isdecimal()


def names(records: list[Record]) -> set[str]:
    return {word for record in records for word in record["source"].split() if is_name(word)}


def glossed(record: Record, links: str = "alignment") -> str:
    """``target=source words`` of each target word."""
    source, target = record["source"].split(), record["target"].split()
    return " ".join(f"{t}={'+'.join(source[i] for i, j in record[links] if j == n)}" for n, t in enumerate(target))


# Summaries of the default training split, read by a person beside their reports: sure links, possible ones and origins.
ANALYSED = {
    # the detail comes before the event; the loser is told first; of a person's names the last is kept
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
    # the same happened long ago, and the older accident's number is no news; "as" is in no sentence of the report
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


def test_the_split_sizes_and_lengths(splits, everything):
    assert {split: len(records) for split, records in splits.items()} == {"train": 1000, "valid": 300, "test": 500}
    words = [len(record["source"].split()) for record in everything]
    assert WORDS[0] <= min(words) and max(words) <= WORDS[1]
    sentences = Counter(record["source"].count("\n") + 1 for record in everything)
    assert (min(sentences), max(sentences)) == SENTENCES
    summaries = Counter(len(record["target"].split()) for record in everything)
    assert (min(summaries), max(summaries)) == (6, 13)
    assert 0.4 < sum("\n" in record["target"] for record in everything) / len(everything) < 0.6


def test_every_sentence_ends_in_a_full_stop_of_its_own(everything):
    for record in everything:
        for line in (record["source"] + "\n" + record["target"]).split("\n"):
            assert line.endswith(" .") and line == " ".join(line.split())


def test_names_of_the_evaluation_are_new(splits):
    train, valid, test = (names(splits[split]) for split in ("train", "valid", "test"))
    assert not train & (valid | test)
    assert not {name for name in valid & test if not name.isdecimal()}


def test_a_name_belongs_to_one_report(splits):
    seen = Counter(name for record in splits["train"] for name in names([record]) if not name.isdecimal())
    assert max(seen.values()) == 1


def test_a_summary_says_nothing_that_its_sentences_do_not(everything):
    """Content words are linked, into the sentence of their origin; copied ones are the word itself."""
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


def test_the_news_are_told_by_when_they_happened(everything):
    """The cue: of all sentences that tell an event, one is of these days, and it is where the summary begins."""
    now, then = ([entry.replace("_", " ") for entry in SLOTS[slot]] for slot in ("when", "then"))

    def says(line: str, times: list[str]) -> bool:
        return any(f" {time} " in f" {line} " for time in times)

    older = 0
    for record in everything:
        lines = record["source"].split("\n")
        assert [n for n, line in enumerate(lines) if says(line, now)] == [record["origins"][0]]
        older += sum(says(line, then) for line in lines)
    assert older > len(everything)


def test_the_news_are_anywhere(everything):
    places = Counter(record["origins"][0] for record in everything)
    assert len(places) == SENTENCES[1] and places[0] < len(everything) / 4  # the lead is not the summary


def test_a_summary_follows_from_its_sentences(everything):
    """The same sentences, names aside, have the same summary: nothing is left to chance."""
    told: dict[str, str] = {}
    for record in everything:
        lines = record["source"].split("\n")
        origins = list(dict.fromkeys(o for o in record["origins"] if o >= 0))
        masks: dict[str, str] = {}
        said = [
            " ".join(masks.setdefault(w, f"<{len(masks)}>") if is_name(w) else w for w in line.split())
            for line in (*(lines[o] for o in origins), record["target"])
        ]
        assert told.setdefault("\n".join(said[:-1]), said[-1]) == said[-1]
    assert len(told) > 500


def test_summaries_are_not_extracts(everything):
    """A sentence of a summary is shorter than the one that it tells, and most say a word of their own."""
    own = 0
    for record in everything:
        assert len(record["target"].split()) < sum(
            len(record["source"].split("\n")[o].split()) for o in set(record["origins"]) - {-1}
        )
        own += not set(record["target"].split()) <= set(record["source"].split())
    assert own / len(everything) > 0.9


def test_the_vocabulary_of_the_yaml_leaves_names_out(splits):
    options = OmegaConf.load(CONF).tokenizer
    texts = [record[side] for record in splits["train"] for side in ("source", "target")]
    tokenizer = Tokenizer.train(texts, type=options.type, vocab_size=options.vocab_size)
    pieces = {piece.removeprefix("▁") for piece in tokenizer.pieces(range(4, len(tokenizer)))}
    assert pieces == {word for text in texts for word in text.split() if not is_name(word)}
    unknown = [word not in pieces for record in splits["test"] for word in record["target"].split()]
    assert 0.25 < sum(unknown) / len(unknown) < 0.5  # what a model without copying cannot say


def test_each_kind_is_there_and_each_slot_is_used(splits):
    templates = [t for kind in KINDS for pair in (*kind.events, kind.detail) for t in pair]
    slots = set(re.findall(r"{(\w+)}", " ".join([*templates, *FILLERS, *(kind.aside for kind in KINDS)])))
    assert slots | {"then"} == {*SLOTS, *NAMES, "person", "number"}
    shares = Counter(
        re.sub(r"[A-Z]\w+|\d+", "", record["target"]).split()[0] for record in splits["train"]
    )  # the first known word tells the kind, roughly
    assert all(shares[word] > len(splits["train"]) / 35 for word in ("beats", "delivers", "backs", "hires", "hurt"))


def test_the_seed_makes_the_reports():
    small = ToySummarisation(train=30, valid=5, test=5)
    assert small.fingerprint("train", AT) == ToySummarisation(train=30, valid=5, test=5).fingerprint("train", AT)
    other = ToySummarisation(train=30, valid=5, test=5, seed=2)
    assert small.fingerprint("train", AT) != other.fingerprint("train", AT)
