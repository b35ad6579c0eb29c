"""The embedded summarisation set: short reports of fresh names, with the sentences and words that the summary is of.

What happened is told in one sentence, somewhere in the report, which says when: other sentences tell the like of older
days, with other names. In half of the reports a second sentence adds a detail. Names and numbers are in no vocabulary
of use, so they have to be copied; verbs have to be understood, since a summary has one for several.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.grammar import GrammarWord, Phrase
from seq2seq.data.toy.lexicon import CODAS, SYLLABLES
from seq2seq.data.toy.reports import FILLERS, FUNCTION_WORDS, KINDS, NAMES, SLOTS, Kind

SENTENCES, WORDS = (5, 9), (40, 80)  # least and most of a report


@dataclass(frozen=True)
class Sentence:
    """A sentence and what the summary says of it, which is nothing of most."""

    source: list[GrammarWord]
    target: list[GrammarWord]


class Reporter:
    """Draws reports from ``random``. Each name is used once."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names, self.numbers = set[str](), set[str]()  # those used
        self.avoided = set[str]()  # numbers to do without

    def report(self) -> Record:
        """A report of a fitting length."""
        while True:
            record = self._draw()
            if WORDS[0] <= len(record["source"].split()) <= WORDS[1]:
                return record

    def _draw(self) -> Record:
        kind, count = self.random.choice(KINDS), self.random.randint(*SENTENCES)
        news, others = [self._sentence(*self.random.choice(kind.events))], [self._older(kind)]
        if self._perhaps():
            news.append(self._sentence(*kind.detail))
        if self._perhaps():
            others.append(self._sentence(kind.aside))
        if self._perhaps():
            others.append(self._older(self.random.choice(KINDS)))
        others += map(self._sentence, self.random.sample(FILLERS, count - len(news) - len(others)))
        return _record(self.random.sample([*news, *others], count), news)

    def _older(self, kind: Kind) -> Sentence:
        template, _ = self.random.choice(kind.events)
        return self._sentence(template.replace("{when}", "{then}"))

    def _sentence(self, template: str, summary: str = "") -> Sentence:
        source, said = list[GrammarWord](), dict[str, GrammarWord]()
        for token in template.split():
            words, said[token] = self._fill(token[1:-1]) if token[0] == "{" else _plain(token)
            source += words
        target = [
            GrammarWord(token, maybe=tuple(word for word in source if word.text == token))
            if token in FUNCTION_WORDS
            else said[token]
            for token in summary.split()
        ]
        return Sentence(source, target)

    def _fill(self, slot: str) -> tuple[list[GrammarWord], GrammarWord]:
        """The words for a slot, and the one that stands for them in a summary."""
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
        syllables = self.random.randint(2, 3)
        while True:
            name = "".join(self.random.choices(SYLLABLES, k=syllables)).capitalize() + ending
            if name not in self.names:
                self.names.add(name)
                return name
            syllables += 1

    def _number(self) -> str:
        most = 10_000
        while (number := str(self.random.randrange(10, most))) in self.avoided:
            most += 1000  # however many are taken, there is one
        self.numbers.add(number)
        return number

    def _perhaps(self) -> bool:
        return self.random.random() < 0.5


def _plain(text: str) -> tuple[list[GrammarWord], GrammarWord]:
    word = GrammarWord(text)
    return [word], GrammarWord(text, (word,))


def _record(report: list[Sentence], news: list[Sentence]) -> Record:
    """``news`` are the sentences of ``report`` that the summary tells, in its order."""
    words = Phrase([w for s in report for w in s.source], [w for s in news for w in s.target]).record()
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
    """Reports all different; no name or number of valid and test is in train, nor a name of one in the other."""

    train: Count = 1000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1

    def generate(self) -> dict[str, list[Record]]:
        """Drawn one after another; numbers of train are avoided from then on."""
        reporter = Reporter(Random(self.seed))
        train = [reporter.report() for _ in range(self.train)]
        reporter.avoided = set(reporter.numbers)
        return {"train": train, **{s: [reporter.report() for _ in range(getattr(self, s))] for s in ("valid", "test")}}
