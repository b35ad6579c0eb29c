"""Words of the toy language pair: English and an invented language.

An entry is an English word; colons separate its irregular forms: ``man:men``, ``see:sees:saw``. An underscore joins the
words of one entry. No spelling belongs to two entries, so that each word has one translation.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

# English words by part of speech.
PEOPLE = """farmer teacher doctor sailor baker king queen soldier singer lawyer nurse child:children man:men woman:women
friend brother sister aunt uncle neighbour thief:thieves judge hunter tailor miller priest student poet"""
ANIMALS = "dog cat horse cow bird wolf:wolves fox mouse:mice goose:geese rabbit lion goat donkey sheep_dog"
THINGS = """book letter apple bottle hammer basket candle lamp chair table knife:knives mirror carpet ring coin hat boat
drum flute kettle ladder needle pillow sword shoe stone blanket key cheese pear potato:potatoes fire_engine tea_pot
night_gown wine_glass gold_cup"""
PLACES = """house garden forest river bridge church market school kitchen tower village castle harbour stable meadow
island post_office wheat_field"""
ADJECTIVES = """old young big small black white red green happy sad tired hungry clever lazy brave rich poor tall strong
weak kind angry quiet strange lovely broken new blue yellow famous proud pale"""
TRANSITIVE = """see:sees:saw chase carry find:finds:found sell:sells:sold buy:buys:bought push pull wash follow admire
forget:forgets:forgot hide:hides:hid steal:steals:stole break:breaks:broke bring:brings:brought praise remember kick
lift look_for wait_for listen_to laugh_at take_care_of:takes_care_of:took_care_of"""
SEPARABLE = "open close choose:chooses:chose lose:loses:lost collect describe paint tidy_up"
INTRANSITIVE = """sleep:sleeps:slept run:runs:ran sing:sings:sang dance cry fall:falls:fell swim:swims:swam smile rest
work tremble arrive"""
SEPARABLE_INTRANSITIVE = "wake_up:wakes_up:woke_up disappear return give_up:gives_up:gave_up"
SAYING = "say:says:said think:thinks:thought believe hope claim fear"
ADVERBS = "often never always secretly slowly quickly gladly rarely"
PREPOSITIONS = "in near behind under"
NUMERALS = "two three four five"
CONJUNCTIONS = "because when although while"

# Sounds of which the invented words consist.
CODAS = "bdfgklmnprstvz"
ONSETS = (*CODAS, "br", "dr", "gr", "kl", "pl", "tr")
SYLLABLES = [onset + vowel for onset in ONSETS for vowel in "aeiou"]


@dataclass(frozen=True)
class Lexeme:
    """An English word with all its forms, and its stem in the invented language."""

    # Words of each form: of a noun singular and plural; of a verb base, third person and past.
    forms: tuple[tuple[str, ...], ...]
    stem: str
    gender: int = 0  # 0 or 1, of a noun; English does not show it
    particle: str | None = None  # second word of a separable verb
    animate: bool = False  # whether a noun names a person or an animal


class Lexicon:
    """Lexemes by part of speech. The invented words are always the same."""

    def __init__(self) -> None:
        # The stems are drawn in this order: another order would change the language.
        self._random, self._stems = Random("the words of the other language"), set[str]()
        self.people = [self._noun(entry, animate=True) for entry in PEOPLE.split()]
        self.animals = [self._noun(entry, animate=True) for entry in ANIMALS.split()]
        self.things = [self._noun(entry) for entry in THINGS.split()]
        self.places = [self._noun(entry) for entry in PLACES.split()]
        self.adjectives = [self._plain(entry) for entry in ADJECTIVES.split()]
        self.transitive = [self._verb(entry) for entry in TRANSITIVE.split()]
        self.transitive += [self._verb(entry, separable=True) for entry in SEPARABLE.split()]
        self.intransitive = [self._verb(entry) for entry in INTRANSITIVE.split()]
        self.intransitive += [self._verb(entry, separable=True) for entry in SEPARABLE_INTRANSITIVE.split()]
        self.saying = [self._verb(entry) for entry in SAYING.split()]
        self.adverbs = [self._plain(entry) for entry in ADVERBS.split()]
        self.prepositions = [self._plain(entry) for entry in PREPOSITIONS.split()]
        self.numerals = [self._plain(entry) for entry in NUMERALS.split()]
        self.conjunctions = [self._plain(entry) for entry in CONJUNCTIONS.split()]

    def _noun(self, entry: str, animate: bool = False) -> Lexeme:
        """Return the lexeme of a noun, with a random gender."""
        singular, *irregular = entry.split(":")
        forms = singular, *(irregular or [with_s(singular)])
        return Lexeme(_split(forms), self._stem(), gender=self._random.randrange(2), animate=animate)

    def _verb(self, entry: str, separable: bool = False) -> Lexeme:
        """Return the lexeme of a verb; a separable verb has a particle."""
        base, *irregular = entry.split(":")
        head, _, rest = base.partition("_")
        # The endings belong to the first word of the entry.
        rest = rest and f"_{rest}"
        forms = base, *(irregular or [with_s(head) + rest, with_ed(head) + rest])
        return Lexeme(_split(forms), self._stem(), particle=self._stem(1) if separable else None)

    def _plain(self, entry: str) -> Lexeme:
        """Return the lexeme of a word that does not change."""
        return Lexeme(_split((entry,)), self._stem())

    def _stem(self, syllables: int = 2) -> str:
        """Return a new word that ends in a consonant, to which endings are added."""
        while True:
            stem = "".join(self._random.choices(SYLLABLES, k=syllables)) + self._random.choice(CODAS)
            if stem not in self._stems:
                self._stems.add(stem)
                return stem


def with_s(word: str) -> str:
    """Return the regular plural of a noun, or the third person of a verb.

    Args:
        word: Singular of the noun, or base form of the verb.
    """
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def with_ed(word: str) -> str:
    """Return the regular past form of a verb.

    Args:
        word: Base form of the verb.
    """
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def _split(forms: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the words of each form."""
    return tuple(tuple(form.split("_")) for form in forms)
