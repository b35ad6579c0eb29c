"""Drawn scenes: objects of some shape, colour, size and texture, what is true to say of them, and where they stand.

Lengths are shares of the image's side; boxes are (left, top, right, bottom).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from math import cos, pi, sin
from random import Random

from PIL import Image, ImageDraw

from seq2seq.errors import UserError

SHAPES = ("circle", "square", "triangle", "cross", "star")
COLOURS = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 80, 200),
    "yellow": (240, 200, 20),
    "purple": (148, 60, 180),
    "orange": (255, 127, 14),
}
TEXTURES = ("plain", "striped", "dotted")
MARKS = (25, 25, 25)  # stripes and dots
SIZES = {"small": 0.13, "big": 0.2}
"""Half of an object's side."""
ATTRIBUTES = {"size": tuple(SIZES), "texture": TEXTURES, "colour": tuple(COLOURS), "shape": SHAPES}
NOVEL = tuple(ATTRIBUTES)
"""Attributes of which some combinations are held out, if nothing else is said: any three of them are seen together."""
TRIES = 10_000  # draws of what to hold out
SUPERSAMPLING = 4  # drawn larger and reduced: smooth edges

Point = tuple[float, float]
Combination = tuple[str, ...]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thing:
    """An object in a scene, around (x, y)."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float

    @property
    def words(self) -> list[str]:
        """What it is called, a plain texture being left out."""
        return [self.size, *([] if self.texture == "plain" else [self.texture]), self.colour, self.shape]

    @property
    def box(self) -> Box:
        """Return the box that the object covers."""
        reach = SIZES[self.size]
        return self.x - reach, self.y - reach, self.x + reach, self.y + reach

    @property
    def kind(self) -> tuple[str, str]:
        """What tells it from the others of its scene."""
        return self.colour, self.shape

    def combined(self, attributes: Sequence[str]) -> Combination:
        """Its values of these attributes, which training may never have shown together."""
        return tuple(str(getattr(self, attribute)) for attribute in attributes)


Said = list[tuple[str, Thing | None]]
"""A caption: each word with the object that it names."""


@dataclass(frozen=True)
class Scene:
    """Objects that don't overlap, on a ground of some brightness."""

    things: tuple[Thing, ...]
    ground: int

    def captions(self) -> list[Said]:
        """All that the grammar says of it, each true: of one object that it is there, of two how one stands to the
        other, of three their order from either side.
        """
        if len(self.things) == 1:
            (only,) = self.things
            return [[*_the("there is a"), *_named(only)], [*_the("a"), *_named(only)]]
        if len(self.things) == 2:
            return [caption for pair in (self.things, self.things[::-1]) for caption in _related(*pair)]
        across = sorted(self.things, key=lambda thing: thing.x)
        return [
            [*_the(f"from {start} to {end} :"), *_listed(order)]
            for start, end, order in (("left", "right", across), ("right", "left", across[::-1]))
        ]

    def draw(self, size: int) -> bytes:
        """As a PNG file of ``size`` x ``size`` pixels."""
        side = size * SUPERSAMPLING
        image = Image.new("RGB", (side, side), (self.ground,) * 3)
        for thing in self.things:
            _paint(image, thing, side)
        file = io.BytesIO()
        image.resize((size, size), Image.Resampling.BOX).save(file, "PNG")
        return file.getvalue()


@dataclass(frozen=True)
class Painter:
    """Draws scenes at random. ``held_out`` combinations of ``attributes`` are in every scene with ``novel``, in no
    other.
    """

    random: Random
    held_out: frozenset[Combination]
    attributes: Sequence[str] = NOVEL
    most: int = 3  # objects of a scene

    def scene(self, *, novel: bool = False) -> Scene:
        """One to ``most`` objects, no two of one kind; which stands where is plain: centres differ by their sizes."""
        count = self.random.randint(1, self.most)
        while True:
            things = tuple(self._thing() for _ in range(count))
            kinds = {thing.kind for thing in things}
            hidden = any(thing.combined(self.attributes) in self.held_out for thing in things)
            if len(kinds) == count and hidden is novel and _apart(things):
                return Scene(things, self.random.randint(190, 255))

    def _thing(self) -> Thing:
        choose = self.random.choice
        thing = Thing(choose(SHAPES), choose(list(COLOURS)), choose(TEXTURES), choose(list(SIZES)), 0.5, 0.5)
        reach = SIZES[thing.size]
        x, y = (round(self.random.uniform(reach, 1.0 - reach), 3) for _ in range(2))
        return replace(thing, x=x, y=y)


def held_out(random: Random, attributes: Sequence[str], share: float) -> frozenset[Combination]:
    """A share of the combinations of attributes that training shall not show; of one attribute fewer it shows all."""
    every = sorted(product(*(ATTRIBUTES[attribute] for attribute in attributes)))
    count = max(1, round(share * len(every)))
    fewer = list(combinations(range(len(attributes)), len(attributes) - 1))

    def parts(of: Sequence[Combination]) -> list[set[Combination]]:
        return [{tuple(one[n] for n in places) for one in of} for places in fewer]

    for _ in range(TRIES):
        hidden = frozenset(random.sample(every, count))
        if parts([one for one in every if one not in hidden]) == parts(every):
            return hidden
    raise UserError(
        f"data.reader.share={share}: so many of {len(every)} combinations of {', '.join(attributes)} can't be held out "
        "and all of one attribute fewer be seen; take a smaller share"
    )


def check_novel(attributes: Sequence[str], share: float) -> None:
    """Refuse what could not be held out."""
    known = ", ".join(ATTRIBUTES)
    if len(set(attributes)) != len(attributes) or len(attributes) < 2 or not set(attributes) <= set(ATTRIBUTES):
        raise UserError(f"novel={list(attributes)} must be two or more of: {known}")
    if not 0 < share <= 0.4:
        raise UserError(f"share={share} must lie above 0 and at 0.4 at most: the rest has to be learnt")


def sentence(said: Said) -> str:
    """Return the text of the caption."""
    return " ".join(word for word, _ in said)


def regions(said: Said) -> list[list[float]]:
    """For each word the box of the object that it names, or nothing."""
    return [[] if thing is None else [round(side, 4) for side in thing.box] for _, thing in said]


def _named(thing: Thing) -> Said:
    return [(word, thing) for word in thing.words]


def _the(words: str) -> Said:
    return [(word, None) for word in words.split()]


def _related(one: Thing, other: Thing) -> Iterator[Said]:
    """Along the axis on which they are further apart."""
    right, down = one.x - other.x, one.y - other.y
    across, along = "right of" if right > 0 else "left of", "below" if down > 0 else "above"
    relation = across if abs(right) >= abs(down) else along
    yield [*_the("a"), *_named(one), *_the(relation + " a"), *_named(other)]
    yield [*_the("there is a"), *_named(one), *_the(relation + " a"), *_named(other)]


def _listed(things: Sequence[Thing]) -> Iterable[tuple[str, Thing | None]]:
    for place, thing in enumerate(things):
        yield from _the(("a", ", a", "and a")[min(place, 2)])
        yield from _named(thing)


def _apart(things: Sequence[Thing]) -> bool:
    """No two overlap, and where they stand to each other can be seen: pairs differ more along one axis than the other,
    and of three none stands over another.
    """
    for one in range(len(things)):
        for other in things[:one]:
            gap = SIZES[things[one].size] + SIZES[other.size] + 0.02
            x, y = abs(things[one].x - other.x), abs(things[one].y - other.y)
            if max(x, y) < gap or abs(x - y) < 0.08:
                return False
    across = sorted(thing.x for thing in things)
    return len(things) < 3 or all(b - a > 0.12 for a, b in pairwise(across))


def _paint(image: Image.Image, thing: Thing, side: int) -> None:
    """The shape as a mask, through which the texture is painted."""
    reach = SIZES[thing.size] * side
    whole = round(2 * reach)
    mask, paint = Image.new("L", (whole, whole)), Image.new("RGB", (whole, whole), COLOURS[thing.colour])
    pen, marks = ImageDraw.Draw(mask), ImageDraw.Draw(paint)
    if thing.shape == "circle":
        pen.ellipse((0, 0, whole, whole), fill=255)
    else:
        pen.polygon([((1 + x) * reach, (1 + y) * reach) for x, y in _OUTLINES[thing.shape]], fill=255)
    step = max(side / 16, 4 * SUPERSAMPLING)  # four pixels at least, or it would be a shade
    places = [n * step for n in range(int(whole / step) + 1)]
    if thing.texture == "striped":
        for y in places:
            marks.rectangle((0, y, whole, y + step * 0.4), fill=MARKS)
    elif thing.texture == "dotted":
        for x, y in product(places, places):
            marks.ellipse((x + step * 0.25, y + step * 0.25, x + step * 0.75, y + step * 0.75), fill=MARKS)
    image.paste(paint, (round(thing.x * side - reach), round(thing.y * side - reach)), mask)


def _star() -> list[Point]:
    spikes = ((n * pi / 5, 1.0 if n % 2 == 0 else 0.45) for n in range(10))
    return [(r * sin(angle), -r * cos(angle)) for angle, r in spikes]


_ARM = 0.38
_OUTLINES: dict[str, list[Point]] = {
    "square": [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
    "triangle": [(0.0, -0.95), (0.95, 0.85), (-0.95, 0.85)],
    "cross": [
        *((-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM)),
        *((_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM)),
    ],
    "star": _star(),
}
