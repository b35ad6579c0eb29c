"""Synchronous grammar: it builds each phrase in both languages at once, and each target word knows its source words.

The target language differs from English in these points:

- Nouns have a gender. Articles, adjectives and relative pronouns agree with gender and number.
- Adjectives follow the noun, in reverse order. A possessor follows too, after ``de``.
- ``ak`` marks objects that are definite people or animals. Plurals without an article get one.
- The past is an auxiliary and a participle that ends the clause. Separable verbs also leave a particle at the end.
- Verbs end subordinate clauses, with the finite verb last. Subject pronouns are dropped.
- Several English words may be one word (``looks for``, ``fire engine``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import TypeVar

from seq2seq.data.records import Record
from seq2seq.data.toy.lexicon import Lexeme, Lexicon

# Words and endings of the target language.
ENDINGS = (("o", "oi"), ("a", "ai"))  # [gender][plural] of nouns and adjectives
THE, A = (("le", "los"), ("la", "las")), (("un", "uns"), ("una", "unas"))
RELATIVE = {"subject": (("kio", "kioi"), ("kia", "kiai")), "object": (("kiom", "kioim"), ("kiam", "kiaim"))}
PRESENT, PARTICIPLE, AUXILIARY = ("ar", "aren"), "id", ("hab", "haben")
OBJECT_MARK, OF, NOT, THAT = "ak", "de", "ne", "ke"
PRONOUNS = (("he", "she"), ("they",))  # [plural]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class GrammarWord:
    """Word of a sentence. A target word has its source words (sure links), and those that it may be linked to."""

    text: str
    of: tuple[GrammarWord, ...] = ()
    maybe: tuple[GrammarWord, ...] = ()


@dataclass(frozen=True)
class Phrase:
    """Phrase in both languages. A noun phrase also has the number and gender with which other words agree."""

    source: list[GrammarWord]
    target: list[GrammarWord]
    plural: bool = False
    gender: int = 0
    dropped: tuple[GrammarWord, ...] = ()  # source subject that is only the ending of the target's verb

    def record(self) -> Record:
        """Return the texts of both sides, with their links."""
        place = {word: i for i, word in enumerate(self.source)}
        links = {
            name: [[place[s], j] for j, word in enumerate(self.target) for s in getattr(word, name)]
            for name in ("of", "maybe")
        }
        source, target = (" ".join(word.text for word in words) for words in (self.source, self.target))
        return Record(source=source, target=target, alignment=sorted(links["of"]), possible=sorted(links["maybe"]))


class Grammar:
    """Generator of random sentences.

    Args:
        random: Generator of random numbers.
    """

    def __init__(self, random: Random) -> None:
        self.random, self.lexicon = random, Lexicon()

    def sentence(self) -> Phrase:
        """Return a statement with its full stop."""
        # Draw the kind of the sentence by weight.
        kinds = {self._simple: 5, self._reported: 2, self._adverbial: 2, self._relative: 3}
        statement = self._draw(kinds)()
        stop = GrammarWord(".")
        return Phrase([*statement.source, stop], [*statement.target, GrammarWord(".", (stop,))])

    def _simple(self) -> Phrase:
        """Return a main clause."""
        return self._clause(self._subject())

    def _reported(self) -> Phrase:
        """Return a sentence with reported speech: ... says that ..."""
        verb = self.random.choice(self.lexicon.saying)
        main = self._clause(self._subject(), verb, bare=True)
        return _join(main, _word("that", THAT), self._clause(self._subject(), subordinate=True))

    def _adverbial(self) -> Phrase:
        """Return a sentence with an adverbial clause (... because ...), which may come first."""
        conjunction = self._plain(self.lexicon.conjunctions)
        aside = _join(conjunction, self._clause(self._subject(), subordinate=True, bare=self._chance(0.5)))
        main = self._clause(self._subject(), bare=self._chance(0.5))
        return _join(aside, main) if self._chance(0.4) else _join(main, aside)

    def _relative(self) -> Phrase:
        """Return a clause with a relative clause on its subject, or on an object at its end."""
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
        """Return a clause of a subject and a predicate.

        Args:
            subject: Subject of the clause.
            verb: Verb; None = draw a verb and its object.
            thing: Object of the verb.
            subordinate: Put the verbs of the target at the end.
            bare: Leave out the place.
            before: Phrase that opens the clause (the relative pronoun that is the object).
        """
        # Draw the verb with its object, tense, negation, adverb and place.
        if verb is None:
            verb = self.random.choice(self.lexicon.transitive if self._chance(0.6) else self.lexicon.intransitive)
            thing = self._noun_phrase(self._what(), True) if verb in self.lexicon.transitive else None
        past, negated = self._chance(0.35), self._chance(0.15)
        adverb = self._plain(self.lexicon.adverbs) if self._chance(0.2) else Phrase([], [])
        place = Phrase([], [])
        if not bare and self._chance(0.25 if thing else 0.6):
            place = _join(self._plain(self.lexicon.prepositions), self._noun_phrase(self.lexicon.places, simple=True))
        rest = _join(*filter(None, [thing]), place)

        # Build the English clause.
        form = 0 if negated or (subject.plural and not past) else 2 if past else 1
        verb_words = tuple(map(GrammarWord, verb.forms[form]))
        do = (GrammarWord("did" if past else "do" if subject.plural else "does"), GrammarWord("not")) if negated else ()
        source = [*subject.source, *do, *adverb.source, *verb_words, *rest.source]

        # Build the verbs of the target language. In "wakes up" each word has its own counterpart.
        whole = verb_words if verb.particle is None or len(verb_words) == 1 else verb_words[:1]
        particle = [GrammarWord(verb.particle, verb_words[len(verb_words) - 1 :])] if verb.particle else []
        if past:
            bearer = do[:1] or verb_words[:1]  # the word that shows the tense
            finite = GrammarWord(AUXILIARY[subject.plural], bearer, verb_words[:1] * bool(do) + subject.dropped)
            last = [*particle, GrammarWord(verb.stem + PARTICIPLE, whole)]
        else:
            finite = GrammarWord(verb.stem + PRESENT[subject.plural], whole, do[:1] + subject.dropped)
            last = particle
        verbs = [*([GrammarWord(NOT, do[1:])] if do else []), finite]
        # Put the words of the target in order.
        if subordinate:
            target = [*subject.target, *adverb.target, *rest.target, *last, *verbs]
        else:
            target = [*subject.target, *verbs, *adverb.target, *rest.target, *last]
        return _join(*filter(None, [before]), Phrase(source, target))

    def _subject(self) -> Phrase:
        """Return a subject, sometimes a pronoun."""
        if self._chance(0.12):
            plural = self._chance(0.4)
            word = GrammarWord(self.random.choice(PRONOUNS[plural]))
            return Phrase([word], [], plural, dropped=(word,))
        return self._noun_phrase(self._who())

    def _noun_phrase(
        self, nouns: Sequence[Lexeme], is_object: bool = False, *, simple: bool = False, relative: bool = False
    ) -> Phrase:
        """Return a noun phrase: determiner, adjectives, noun, and sometimes a possessor.

        Args:
            nouns: Nouns from which one is drawn.
            is_object: Mark the phrase as an object where the target language does so.
            simple: Use neither adjectives nor a possessor.
            relative: Add a relative clause.
        """
        # Draw the noun and its adjectives.
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
        # Draw the determiner, and build it in both languages.
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
        # Put the phrase together, with the mark of an object.
        source = [*before, *named]
        marked = is_object and noun.animate and kind in ("the", "possessor")
        mark_word = [GrammarWord(OBJECT_MARK, maybe=(*before[-1:], *head))] if marked else []
        phrase = Phrase(source, [*mark_word, determiner, *core, *after], plural, noun.gender)
        return self._with_relative_clause(phrase, noun) if relative else phrase

    def _with_relative_clause(self, phrase: Phrase, noun: Lexeme) -> Phrase:
        """Add a relative clause whose pronoun is its subject (who sees the dog) or its object (whom the dog sees)."""
        # Choose the pronoun.
        role = "subject" if noun.animate and self._chance(0.6) else "object"
        pronoun = GrammarWord("who" if noun in self.lexicon.people else "which")
        form = GrammarWord(RELATIVE[role][phrase.gender][phrase.plural], (pronoun,))
        opening = Phrase([pronoun], [form], phrase.plural, phrase.gender)
        # Build the clause.
        if role == "subject":
            clause = self._clause(opening, subordinate=True, bare=self._chance(0.7))
        else:
            verb = self.random.choice(self.lexicon.transitive)
            clause = self._clause(self._noun_phrase(self._who()), verb, subordinate=True, bare=True, before=opening)
        return Phrase([*phrase.source, *clause.source], [*phrase.target, *clause.target], phrase.plural, phrase.gender)

    def _plain(self, lexemes: Sequence[Lexeme]) -> Phrase:
        """Return a random lexeme that does not change, as a phrase."""
        lexeme = self.random.choice(lexemes)
        return _word(lexeme.forms[0][0], lexeme.stem)

    def _who(self) -> Sequence[Lexeme]:
        """Return the nouns of people or animals, at random."""
        return self.lexicon.people if self._chance(0.65) else self.lexicon.animals

    def _what(self) -> Sequence[Lexeme]:
        """Return the nouns of things, people or animals, at random."""
        return self.lexicon.things if self._chance(0.6) else self._who()

    def _chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.random.random() < probability

    def _draw(self, weights: dict[T, int]) -> T:
        """Return a random key of a dictionary {value: weight}."""
        return self.random.choices(list(weights), list(weights.values()))[0]


def _word(source: str, target: str) -> Phrase:
    """Return a phrase of one word on each side."""
    word = GrammarWord(source)
    return Phrase([word], [GrammarWord(target, (word,))])


def _join(*phrases: Phrase) -> Phrase:
    """Return one phrase after the other, on both sides."""
    return Phrase(
        list(chain.from_iterable(p.source for p in phrases)), list(chain.from_iterable(p.target for p in phrases))
    )
