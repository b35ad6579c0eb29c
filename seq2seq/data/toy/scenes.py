"""Drawn scenes: objects with shape, colour, size, texture and position, and the captions that are true of them.

Lengths are shares of the image's side. Boxes are (left, top, right, bottom).
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

# Attributes of objects and their values.
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
MARKS = (25, 25, 25)  # colour of stripes and dots
SIZES = {"small": 0.13, "big": 0.2}
"""Half of an object's side, by the name of its size."""
ATTRIBUTES = {"size": tuple(SIZES), "texture": TEXTURES, "colour": tuple(COLOURS), "shape": SHAPES}
NOVEL = tuple(ATTRIBUTES)
"""Default attributes of which some combinations are held out; all combinations of three of them stay in train."""
TRIES = 10_000  # largest number of attempts to choose what to hold out
SUPERSAMPLING = 4  # images are drawn so many times larger and then reduced, for smooth edges

Point = tuple[float, float]
Combination = tuple[str, ...]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thing:
    """Object of a scene, with its centre at (x, y)."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float

    @property
    def words(self) -> list[str]:
        """Words of a caption for the object; a plain texture is left out."""
        return [self.size, *([] if self.texture == "plain" else [self.texture]), self.colour, self.shape]

    @property
    def box(self) -> Box:
        """Box that the object covers."""
        reach = SIZES[self.size]
        return self.x - reach, self.y - reach, self.x + reach, self.y + reach

    @property
    def kind(self) -> tuple[str, str]:
        """Attributes that identify the object in its scene."""
        return self.colour, self.shape

    def combined(self, attributes: Sequence[str]) -> Combination:
        """Return the object's combination of some attributes.

        Args:
            attributes: Names of the attributes.
        """
        return tuple(str(getattr(self, attribute)) for attribute in attributes)


Said = list[tuple[str, Thing | None]]
"""Caption: each word with the object that it names."""


@dataclass(frozen=True)
class Scene:
    """Objects that do not overlap, on a grey background."""

    things: tuple[Thing, ...]
    ground: int  # brightness of the background (0-255)

    def captions(self) -> list[Said]:
        """Return all captions of the grammar, which are all true.

        They name the only object, the relation of two objects, or the order of three objects from either side.
        """
        if len(self.things) == 1:
            (only,) = self.things
            return [[*_the("there is a"), *_named(only)], [*_the("a"), *_named(only)]]
        if len(self.things) == 2:
            return [caption for pair in (self.things, self.things[::-1]) for caption in _related(*pair)]
        # Order three objects from left to right.
        across = sorted(self.things, key=lambda thing: thing.x)
        return [
            [*_the(f"from {start} to {end} :"), *_listed(order)]
            for start, end, order in (("left", "right", across), ("right", "left", across[::-1]))
        ]

    def draw(self, size: int) -> bytes:
        """Return the scene as a PNG file.

        Args:
            size: Pixels of a side.
        """
        # Draw a larger image, and reduce it.
        side = size * SUPERSAMPLING
        image = Image.new("RGB", (side, side), (self.ground,) * 3)
        for thing in self.things:
            _paint(image, thing, side)
        file = io.BytesIO()
        image.resize((size, size), Image.Resampling.BOX).save(file, "PNG")
        return file.getvalue()


@dataclass(frozen=True)
class Painter:
    """Generator of random scenes.

    Args:
        random: Generator of random numbers.
        held_out: Combinations of attributes that are in each novel scene and in no other scene.
        attributes: Names of these attributes.
        most: Largest number of objects in a scene.
    """

    random: Random
    held_out: frozenset[Combination]
    attributes: Sequence[str] = NOVEL
    most: int = 3

    def scene(self, *, novel: bool = False) -> Scene:
        """Return a scene of one to ``most`` objects, no two of the same kind, with clear relations between them.

        Args:
            novel: Whether the scene has a held-out combination.
        """
        count = self.random.randint(1, self.most)
        while True:
            # Draw objects until they fulfil all conditions.
            things = tuple(self._thing() for _ in range(count))
            kinds = {thing.kind for thing in things}
            hidden = any(thing.combined(self.attributes) in self.held_out for thing in things)
            if len(kinds) == count and hidden is novel and _apart(things):
                return Scene(things, self.random.randint(190, 255))

    def _thing(self) -> Thing:
        """Return a random object inside the image."""
        choose = self.random.choice
        thing = Thing(choose(SHAPES), choose(list(COLOURS)), choose(TEXTURES), choose(list(SIZES)), 0.5, 0.5)
        reach = SIZES[thing.size]
        x, y = (round(self.random.uniform(reach, 1.0 - reach), 3) for _ in range(2))
        return replace(thing, x=x, y=y)


def held_out(random: Random, attributes: Sequence[str], share: float) -> frozenset[Combination]:
    """Return a random share of the combinations of attributes, to be held out from training.

    Training keeps all combinations of one attribute fewer.

    Args:
        random: Generator of random numbers.
        attributes: Names of the attributes.
        share: Share of the combinations that is held out.

    Raises:
        UserError: With such a share, training lacks some combination of one attribute fewer.
    """
    # List all combinations, and the choices of one attribute fewer.
    every = sorted(product(*(ATTRIBUTES[attribute] for attribute in attributes)))
    count = max(1, round(share * len(every)))
    fewer = list(combinations(range(len(attributes)), len(attributes) - 1))

    def parts(given: Sequence[Combination]) -> list[set[Combination]]:
        """Return the combinations that occur, for each choice of one attribute fewer."""
        return [{tuple(one[n] for n in places) for one in given} for places in fewer]

    # Draw until the rest has all smaller combinations.
    for _ in range(TRIES):
        hidden = frozenset(random.sample(every, count))
        if parts([one for one in every if one not in hidden]) == parts(every):
            return hidden
    raise UserError(
        f"data.reader.share={share}: if so many of {len(every)} combinations of {', '.join(attributes)} are held out, "
        f"training lacks some combination of {len(attributes) - 1} of them; set a smaller share"
    )


def check_novel(attributes: Sequence[str], share: float) -> None:
    """Check the options of held-out combinations.

    Args:
        attributes: Names of the attributes.
        share: Share of their combinations that is held out.

    Raises:
        UserError: An option has an impossible value.
    """
    known = ", ".join(ATTRIBUTES)
    if len(set(attributes)) != len(attributes) or len(attributes) < 2 or not set(attributes) <= set(ATTRIBUTES):
        raise UserError(f"novel={list(attributes)} must be two or more of: {known}")
    if not 0 < share <= 0.4:
        raise UserError(f"share={share} must lie above 0 and not above 0.4, because a model has to learn from the rest")


def sentence(said: Said) -> str:
    """Return the text of a caption.

    Args:
        said: Caption.
    """
    return " ".join(word for word, _ in said)


def regions(said: Said) -> list[list[float]]:
    """Return the box of the object that each word names; empty for a word that names none.

    Args:
        said: Caption.
    """
    return [[] if thing is None else [round(side, 4) for side in thing.box] for _, thing in said]


def _named(thing: Thing) -> Said:
    """Return the words for an object."""
    return [(word, thing) for word in thing.words]


def _the(words: str) -> Said:
    """Return words that name no object."""
    return [(word, None) for word in words.split()]


def _related(one: Thing, other: Thing) -> Iterator[Said]:
    """Yield captions of two objects, with their relation along the axis on which they are further apart."""
    # Choose the relation.
    right, down = one.x - other.x, one.y - other.y
    across, along = "right of" if right > 0 else "left of", "below" if down > 0 else "above"
    relation = across if abs(right) >= abs(down) else along
    yield [*_the("a"), *_named(one), *_the(relation + " a"), *_named(other)]
    yield [*_the("there is a"), *_named(one), *_the(relation + " a"), *_named(other)]


def _listed(things: Sequence[Thing]) -> Iterable[tuple[str, Thing | None]]:
    """Yield the words of an enumeration of objects."""
    for place, thing in enumerate(things):
        yield from _the(("a", ", a", "and a")[min(place, 2)])
        yield from _named(thing)


def _apart(things: Sequence[Thing]) -> bool:
    """Return whether no objects overlap and all relations are clear.

    The distance of a pair differs between the axes; three objects have different places from left to right.
    """
    for one in range(len(things)):
        for other in things[:one]:
            # Compare each pair, with a small gap between them.
            gap = SIZES[things[one].size] + SIZES[other.size] + 0.02
            x, y = abs(things[one].x - other.x), abs(things[one].y - other.y)
            if max(x, y) < gap or abs(x - y) < 0.08:
                return False
    # Compare three objects from left to right.
    across = sorted(thing.x for thing in things)
    return len(things) < 3 or all(b - a > 0.12 for a, b in pairwise(across))


def _paint(image: Image.Image, thing: Thing, side: int) -> None:
    """Paint an object: its shape is a mask, and its texture is painted through the mask."""
    reach = SIZES[thing.size] * side
    whole = round(2 * reach)
    mask, paint = Image.new("L", (whole, whole)), Image.new("RGB", (whole, whole), COLOURS[thing.colour])
    pen, marks = ImageDraw.Draw(mask), ImageDraw.Draw(paint)
    # Draw the shape.
    if thing.shape == "circle":
        pen.ellipse((0, 0, whole, whole), fill=255)
    else:
        pen.polygon([((1 + x) * reach, (1 + y) * reach) for x, y in _OUTLINES[thing.shape]], fill=255)
    # Draw the texture.
    step = max(side / 16, 4 * SUPERSAMPLING)  # at least four pixels, because a finer texture would look like a shade
    places = [n * step for n in range(int(whole / step) + 1)]
    if thing.texture == "striped":
        for y in places:
            marks.rectangle((0, y, whole, y + step * 0.4), fill=MARKS)
    elif thing.texture == "dotted":
        for x, y in product(places, places):
            marks.ellipse((x + step * 0.25, y + step * 0.25, x + step * 0.75, y + step * 0.75), fill=MARKS)
    # Put the object into the image.
    image.paste(paint, (round(thing.x * side - reach), round(thing.y * side - reach)), mask)


def _star() -> list[Point]:
    """Return the corners of a star with five points."""
    spikes = ((n * pi / 5, 1.0 if n % 2 == 0 else 0.45) for n in range(10))
    return [(r * sin(angle), -r * cos(angle)) for angle, r in spikes]


# Corners of each shape, around (0, 0) with sides from -1 to 1.
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
