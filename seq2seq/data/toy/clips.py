"""Toy dataset for attention over time: short clips in which drawn objects appear one after another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from PIL import Image
from typing_extensions import override

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.scenes import NOVEL, SIZES, Painter, Scene, Thing, check_novel, held_out
from seq2seq.errors import UserError

Said = list[tuple[str, int]]
"""Caption: each word with the number of the moment that it names; -1 = none."""


@dataclass(frozen=True)
class Moment:
    """Object that is visible and moves a little during some frames."""

    thing: Thing
    start: int  # first frame
    end: int  # frame after the last one


@dataclass(frozen=True)
class ToyClips(Generated):
    """Clips with two or three moments. A caption names the objects forwards or backwards in time; both are references.

    Some combinations of attributes are held out: each clip of test has one, no clip of train or valid does.

    Args:
        train, valid, test: Number of records of the split.
        seed: Seed of the clips.
        size: Pixels of a side.
        frames: Frames of a clip.
        novel: Attributes whose combinations are held out.
        share: Share of the combinations that is held out.
    """

    train: Count = 1500
    valid: CountOrZero = 200
    test: CountOrZero = 300
    seed: int = 1
    size: int = 32
    frames: int = 8
    novel: Sequence[str] = NOVEL
    share: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges of the options."""
        check_novel(self.novel, self.share)
        if self.frames < 3:
            raise UserError(f"frames={self.frames} must be at least 3, because a clip can have three moments")

    @override
    def generate(self) -> dict[str, list[Record]]:
        random = Random(self.seed)
        painter = Painter(random, held_out(random, self.novel, self.share), self.novel, most=1)
        counts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {
            split: [self._record(painter, random, split, number) for number in range(count)]
            for split, count in counts.items()
        }

    def _record(self, painter: Painter, random: Random, split: str, number: int) -> Record:
        """Return the record of a new clip; in test one of its objects is a held-out combination."""
        # Draw the objects.
        count = random.randint(2, 3)
        novel = random.randrange(count) if split == "test" else -1
        things = [painter.scene(novel=place == novel).things[0] for place in range(count)]
        # Divide the frames between them.
        ends = [*sorted(random.sample(range(1, self.frames), count - 1)), self.frames]
        moments = [Moment(thing, start, end) for thing, start, end in zip(things, [0, *ends], ends, strict=False)]
        # Describe the clip in both orders.
        captions = [_forwards(moments), _backwards(moments)]
        random.shuffle(captions)
        return Record(
            source=f"{split}/{number:05d}.png",
            target=" ".join(word for word, _ in captions[0]),
            references=[" ".join(word for word, _ in caption) for caption in captions],
            regions=[[self._box(moments[place]) if place >= 0 else [] for _, place in caption] for caption in captions],
            image=self._draw(moments, random),
        )

    def _box(self, moment: Moment) -> list[float]:
        """Return the region of a moment, as if the frames were the columns of an image."""
        return [round(moment.start / self.frames, 4), 0.0, round(moment.end / self.frames, 4), 1.0]

    def _draw(self, moments: Sequence[Moment], random: Random) -> bytes:
        """Return a clip as an animated PNG file."""
        # Draw the frames, with the object at a random place near its own.
        ground = random.randint(190, 255)
        frames = []
        for moment in moments:
            for _ in range(moment.start, moment.end):
                reach = SIZES[moment.thing.size]
                x, y = (
                    min(1.0 - reach, max(reach, round(place + random.uniform(-0.1, 0.1), 3)))
                    for place in (moment.thing.x, moment.thing.y)
                )
                scene = Scene((replace(moment.thing, x=x, y=y),), ground)
                frames.append(Image.open(io.BytesIO(scene.draw(self.size))))
        # Make one pixel of each frame unique: PNG would store equal frames as one.
        for place, frame in enumerate(frames):
            frame.putpixel((0, 0), (place, place, place))
        file = io.BytesIO()
        frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
        return file.getvalue()


def _forwards(moments: Sequence[Moment]) -> Said:
    """Return the caption in order of time: ``first a small red circle , then a big star``."""
    caption: Said = []
    for place, moment in enumerate(moments):
        caption += [(word, -1) for word in ("first a" if place == 0 else ", then a").split()]
        caption += [(word, place) for word in moment.thing.words]
    return caption


def _backwards(moments: Sequence[Moment]) -> Said:
    """Return the caption in reverse order of time: ``a big star after a small red circle``."""
    caption: Said = []
    for place in reversed(range(len(moments))):
        caption += [(word, -1) for word in ("a" if place == len(moments) - 1 else "after a").split()]
        caption += [(word, place) for word in moments[place].thing.words]
    return caption
