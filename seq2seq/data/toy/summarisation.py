"""Toy summarisation dataset: short reports with new names, with the source sentence and word of each summary word.

One sentence tells the event and says when it happened; it may stand anywhere in the report. Other sentences tell
similar events of the past, with other names. In half of the reports, a second sentence adds a detail. Names and numbers
are too rare for a vocabulary, and so they have to be copied. Verbs have to be understood, because a summary has one
verb for several of the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from typing_extensions import override

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.grammar import GrammarWord, Phrase
from seq2seq.data.toy.lexicon import CODAS, SYLLABLES
from seq2seq.data.toy.reports import FILLERS, FUNCTION_WORDS, KINDS, NAMES, SLOTS, Kind

SENTENCES, WORDS = (5, 9), (40, 80)  # least and most in a report


@dataclass(frozen=True)
class Sentence:
    """Sentence and its part of the summary, which is empty for most sentences."""

    source: list[GrammarWord]
    target: list[GrammarWord]


class Reporter:
    """Generator of random reports. Each name is used once.

    Args:
        random: Generator of random numbers.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names, self.numbers = set[str](), set[str]()  # names and numbers that were used
        self.avoided = set[str]()  # numbers that are not used again

    def report(self) -> Record:
        """Return a report of a fitting length."""
        while True:
            record = self._draw()
            if WORDS[0] <= len(record["source"].split()) <= WORDS[1]:
                return record

    def _draw(self) -> Record:
        """Return a report, which may have any length."""
        kind, count = self.random.choice(KINDS), self.random.randint(*SENTENCES)
        # Choose the sentences with news, and those without.
        news, others = [self._sentence(*self.random.choice(kind.events))], [self._older(kind)]
        if self._perhaps():
            news.append(self._sentence(*kind.detail))
        if self._perhaps():
            others.append(self._sentence(kind.aside))
        if self._perhaps():
            others.append(self._older(self.random.choice(KINDS)))
        # Fill up with other sentences, and shuffle all.
        others += map(self._sentence, self.random.sample(FILLERS, count - len(news) - len(others)))
        return _record(self.random.sample([*news, *others], count), news)

    def _older(self, kind: Kind) -> Sentence:
        """Return a sentence about a past event of a kind."""
        template, _ = self.random.choice(kind.events)
        return self._sentence(template.replace("{when}", "{then}"))

    def _sentence(self, template: str, summary: str = "") -> Sentence:
        """Return a sentence by a template, with its part of the summary."""
        # Fill the slots of the sentence.
        source, summary_words = list[GrammarWord](), dict[str, GrammarWord]()
        for token in template.split():
            words, summary_words[token] = self._fill(token[1:-1]) if token[0] == "{" else _plain(token)
            source += words
        # Take the words of the summary from the slots; function words may be linked to any equal word.
        target = [
            GrammarWord(token, maybe=tuple(word for word in source if word.text == token))
            if token in FUNCTION_WORDS
            else summary_words[token]
            for token in summary.split()
        ]
        return Sentence(source, target)

    def _fill(self, slot: str) -> tuple[list[GrammarWord], GrammarWord]:
        """Return the words for a slot, and the word that stands for them in a summary."""
        if slot == "person":
            first, last = GrammarWord(self._name("")), GrammarWord(self._name(self.random.choice(CODAS)))
            return [first, last], GrammarWord(last.text, (last,), (first,))
        if slot == "number":
            return _plain(self._number())
        if slot in NAMES:
            return _plain(self._name(self.random.choice(NAMES[slot])))
        phrase, _, short = self.random.choice(SLOTS[slot]).partition(":")
        words = [GrammarWord(text) for text in phrase.split("_")]
        return words, GrammarWord(short or phrase, tuple(words))

    def _name(self, ending: str) -> str:
        """Return a new name."""
        syllables = self.random.randint(2, 3)
        while True:
            name = "".join(self.random.choices(SYLLABLES, k=syllables)).capitalize() + ending
            if name not in self.names:
                self.names.add(name)
                return name
            syllables += 1

    def _number(self) -> str:
        """Return a random number that is not avoided."""
        most = 10_000
        # Look among more numbers if many are avoided, so that there always is one.
        while (number := str(self.random.randrange(10, most))) in self.avoided:
            most += 1000
        self.numbers.add(number)
        return number

    def _perhaps(self) -> bool:
        """Return True in half of the calls."""
        return self.random.random() < 0.5


def _plain(text: str) -> tuple[list[GrammarWord], GrammarWord]:
    """Return a word that is the same in the sentence and in the summary."""
    word = GrammarWord(text)
    return [word], GrammarWord(text, (word,))


def _record(report: list[Sentence], news: list[Sentence]) -> Record:
    """Return the record of a report and of its sentences with news, in the order of the summary."""
    words = Phrase([w for s in report for w in s.source], [w for s in news for w in s.target]).record()
    # Find the sentence of each source word, and so the origin of each target word.
    home = {word: place for place, sentence in enumerate(report) for word in sentence.source}
    return Record(
        source="\n".join(" ".join(word.text for word in sentence.source) for sentence in report),
        target="\n".join(" ".join(word.text for word in sentence.target) for sentence in news),
        alignment=words["alignment"],
        possible=words["possible"],
        origins=[home[word.of[0]] if word.of else -1 for sentence in news for word in sentence.target],
    )


@dataclass(frozen=True)
class ToySummarisation(Generated):
    """Reports that are all different. No name or number of valid and test is in train, and no name of valid is in test.

    Args:
        train, valid, test: Number of records of the split.
        seed: Seed of the reports.
    """

    train: Count = 1000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1

    @override
    def generate(self) -> dict[str, list[Record]]:
        reporter = Reporter(Random(self.seed))
        train = [reporter.report() for _ in range(self.train)]
        # Avoid the numbers of train in the other splits.
        reporter.avoided = set(reporter.numbers)
        return {"train": train, **{s: [reporter.report() for _ in range(getattr(self, s))] for s in ("valid", "test")}}
