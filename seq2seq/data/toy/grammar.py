"""A synchronous grammar: each phrase is built in both languages at once, and each target word knows its source words.

What the target language does otherwise than English:

- nouns have a gender; articles, adjectives and relative pronouns agree with it, and with number;
- adjectives follow the noun, nearest first; a possessor follows, after ``de``;
- definite people and animals as objects are marked by ``ak``; plurals without an article take one;
- the past is an auxiliary and a participle, which closes the clause; separable verbs leave a particle at the end too;
- verbs close subordinate clauses, the finite one last; subject pronouns are dropped;
- several English words may be one (``looks for``, ``fire engine``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import TypeVar

from seq2seq.data.records import Record
from seq2seq.data.toy.lexicon import Lexeme, Lexicon

ENDINGS = (("o", "oi"), ("a", "ai"))  # [gender][plural] of nouns and adjectives
THE, A = (("le", "los"), ("la", "las")), (("un", "uns"), ("una", "unas"))
RELATIVE = {"subject": (("kio", "kioi"), ("kia", "kiai")), "object": (("kiom", "kioim"), ("kiam", "kiaim"))}
PRESENT, PARTICIPLE, AUXILIARY = ("ar", "aren"), "id", ("hab", "haben")
OBJECT_MARK, OF, NOT, THAT = "ak", "de", "ne", "ke"
PRONOUNS = (("he", "she"), ("they",))  # [plural]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class GrammarWord:
    """A word; one of the target with the source words that it stands for, and those it may also be linked to."""

    text: str
    of: tuple[GrammarWord, ...] = ()
    maybe: tuple[GrammarWord, ...] = ()


@dataclass(frozen=True)
class Phrase:
    """The same said in both languages; of a noun phrase also what others agree with."""

    source: list[GrammarWord]
    target: list[GrammarWord]
    plural: bool = False
    gender: int = 0
    dropped: tuple[GrammarWord, ...] = ()  # a source subject that the target leaves to the verb's ending

    def record(self) -> Record:
        """The text of both sides, with the links between them."""
        place = {word: i for i, word in enumerate(self.source)}
        links = {
            name: [[place[s], j] for j, word in enumerate(self.target) for s in getattr(word, name)]
            for name in ("of", "maybe")
        }
        source, target = (" ".join(word.text for word in words) for words in (self.source, self.target))
        return Record(source=source, target=target, alignment=sorted(links["of"]), possible=sorted(links["maybe"]))


class Grammar:
    """Draws sentences from ``random``."""

    def __init__(self, random: Random) -> None:
        self.random, self.lexicon = random, Lexicon()

    def sentence(self) -> Phrase:
        """A statement with its full stop."""
        kinds = {self._simple: 5, self._reported: 2, self._adverbial: 2, self._relative: 3}
        said = self._draw(kinds)()
        stop = GrammarWord(".")
        return Phrase([*said.source, stop], [*said.target, GrammarWord(".", (stop,))])

    def _simple(self) -> Phrase:
        return self._clause(self._subject())

    def _reported(self) -> Phrase:
        """... says that ..."""
        verb = self.random.choice(self.lexicon.saying)
        main = self._clause(self._subject(), verb, bare=True)
        return _join(main, _word("that", THAT), self._clause(self._subject(), subordinate=True))

    def _adverbial(self) -> Phrase:
        """... because ..., or the other way round."""
        conjunction = self._plain(self.lexicon.conjunctions)
        aside = _join(conjunction, self._clause(self._subject(), subordinate=True, bare=self._chance(0.5)))
        main = self._clause(self._subject(), bare=self._chance(0.5))
        return _join(aside, main) if self._chance(0.4) else _join(main, aside)

    def _relative(self) -> Phrase:
        """A relative clause on the subject, or on the object of a clause that ends with it."""
        if self._chance(0.5):
            return self._clause(self._noun_phrase(self._who(), relative=True), bare=True)
        verb, thing = self.random.choice(self.lexicon.transitive), self._noun_phrase(self._what(), True, relative=True)
        return self._clause(self._subject(), verb, thing, bare=True)

    def _clause(
        self,
        subject: Phrase,
        verb: Lexeme | None = None,
        thing: Phrase | None = None,
        *,
        subordinate: bool = False,
        bare: bool = False,
        before: Phrase | None = None,
    ) -> Phrase:
        """Subject and predicate; ``bare`` without a place, ``before`` what opens it (the object's relative pronoun)."""
        if verb is None:
            verb = self.random.choice(self.lexicon.transitive if self._chance(0.6) else self.lexicon.intransitive)
            thing = self._noun_phrase(self._what(), True) if verb in self.lexicon.transitive else None
        past, negated = self._chance(0.35), self._chance(0.15)
        adverb = self._plain(self.lexicon.adverbs) if self._chance(0.2) else Phrase([], [])
        place = Phrase([], [])
        if not bare and self._chance(0.25 if thing else 0.6):
            place = _join(self._plain(self.lexicon.prepositions), self._noun_phrase(self.lexicon.places, simple=True))
        rest = _join(*filter(None, [thing]), place)

        form = 0 if negated or (subject.plural and not past) else 2 if past else 1
        said = tuple(map(GrammarWord, verb.forms[form]))
        do = (GrammarWord("did" if past else "do" if subject.plural else "does"), GrammarWord("not")) if negated else ()
        source = [*subject.source, *do, *adverb.source, *said, *rest.source]

        whole = said if verb.particle is None or len(said) == 1 else said[:1]  # "wakes up": each word has its own
        particle = [GrammarWord(verb.particle, said[len(said) - 1 :])] if verb.particle else []
        if past:
            bearer = do[:1] or said[:1]  # of the tense
            finite = GrammarWord(AUXILIARY[subject.plural], bearer, said[:1] * bool(do) + subject.dropped)
            last = [*particle, GrammarWord(verb.stem + PARTICIPLE, whole)]
        else:
            finite = GrammarWord(verb.stem + PRESENT[subject.plural], whole, do[:1] + subject.dropped)
            last = particle
        verbs = [*([GrammarWord(NOT, do[1:])] if do else []), finite]
        if subordinate:
            target = [*subject.target, *adverb.target, *rest.target, *last, *verbs]
        else:
            target = [*subject.target, *verbs, *adverb.target, *rest.target, *last]
        return _join(*filter(None, [before]), Phrase(source, target))

    def _subject(self) -> Phrase:
        if self._chance(0.12):
            plural = self._chance(0.4)
            word = GrammarWord(self.random.choice(PRONOUNS[plural]))
            return Phrase([word], [], plural, dropped=(word,))
        return self._noun_phrase(self._who())

    def _noun_phrase(
        self, nouns: Sequence[Lexeme], is_object: bool = False, *, simple: bool = False, relative: bool = False
    ) -> Phrase:
        """Determiner, adjectives, noun; sometimes a possessor. ``simple`` has neither possessor nor many adjectives."""
        noun, plural = self.random.choice(nouns), self._chance(0.35)
        head = tuple(map(GrammarWord, noun.forms[plural]))
        ending = ENDINGS[noun.gender][plural]
        adjectives = self.random.sample(self.lexicon.adjectives, 0 if simple else self._draw({0: 5, 1: 4, 2: 1}))
        english = [GrammarWord(adjective.forms[0][0]) for adjective in adjectives]
        named = [*english, *head]
        core = [
            GrammarWord(noun.stem + ending, head),
            *(GrammarWord(a.stem + ending, (word,)) for a, word in zip(adjectives[::-1], english[::-1], strict=True)),
        ]
        kind = self._draw(
            {"the": 6, "a": 3, "numeral": 1 if plural else 0, "possessor": 0 if simple or relative else 1}
        )
        before, after = list[GrammarWord](), list[GrammarWord]()
        if kind == "possessor":
            owner = self._noun_phrase(self.lexicon.people, simple=True)
            mark = GrammarWord("'" if owner.source[-1].text.endswith("s") else "'s")
            before, after = [*owner.source, mark], [GrammarWord(OF, (mark,)), *owner.target]
            determiner = GrammarWord(THE[noun.gender][plural], maybe=(mark, *head))
        elif kind == "numeral":
            numeral = self._plain(self.lexicon.numerals)
            before, (determiner,) = numeral.source, numeral.target
        elif kind == "a" and plural:
            determiner = GrammarWord(A[noun.gender][plural], maybe=head)
        else:
            before = [GrammarWord("the" if kind == "the" else "an" if named[0].text[0] in "aeiou" else "a")]
            determiner = GrammarWord((THE if kind == "the" else A)[noun.gender][plural], tuple(before), head)
        source = [*before, *named]
        marked = is_object and noun.animate and kind in ("the", "possessor")
        mark_word = [GrammarWord(OBJECT_MARK, maybe=(*before[-1:], *head))] if marked else []
        phrase = Phrase(source, [*mark_word, determiner, *core, *after], plural, noun.gender)
        return self._with_relative_clause(phrase, noun) if relative else phrase

    def _with_relative_clause(self, phrase: Phrase, noun: Lexeme) -> Phrase:
        """Who sees the dog; whom the dog sees."""
        role = "subject" if noun.animate and self._chance(0.6) else "object"
        pronoun = GrammarWord("who" if noun in self.lexicon.people else "which")
        form = GrammarWord(RELATIVE[role][phrase.gender][phrase.plural], (pronoun,))
        opening = Phrase([pronoun], [form], phrase.plural, phrase.gender)
        if role == "subject":
            clause = self._clause(opening, subordinate=True, bare=self._chance(0.7))
        else:
            verb = self.random.choice(self.lexicon.transitive)
            clause = self._clause(self._noun_phrase(self._who()), verb, subordinate=True, bare=True, before=opening)
        return Phrase([*phrase.source, *clause.source], [*phrase.target, *clause.target], phrase.plural, phrase.gender)

    def _plain(self, lexemes: Sequence[Lexeme]) -> Phrase:
        lexeme = self.random.choice(lexemes)
        return _word(lexeme.forms[0][0], lexeme.stem)

    def _who(self) -> Sequence[Lexeme]:
        return self.lexicon.people if self._chance(0.65) else self.lexicon.animals

    def _what(self) -> Sequence[Lexeme]:
        return self.lexicon.things if self._chance(0.6) else self._who()

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _draw(self, weights: dict[T, int]) -> T:
        return self.random.choices(list(weights), list(weights.values()))[0]


def _word(source: str, target: str) -> Phrase:
    word = GrammarWord(source)
    return Phrase([word], [GrammarWord(target, (word,))])


def _join(*phrases: Phrase) -> Phrase:
    return Phrase(
        list(chain.from_iterable(p.source for p in phrases)), list(chain.from_iterable(p.target for p in phrases))
    )
