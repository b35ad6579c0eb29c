"""Tests of toy scenes: objects are drawn in their boxes, captions are true, and held-out combinations are not shown."""

from __future__ import annotations

import io
from itertools import product
from random import Random

import numpy as np
import pytest
from PIL import Image

from seq2seq.data.toy import scenes
from seq2seq.data.toy.captioning import ToyCaptioning
from seq2seq.data.toy.scenes import (
    COLOURS,
    NOVEL,
    SHAPES,
    SIZES,
    TEXTURES,
    Painter,
    Scene,
    Thing,
    held_out,
    regions,
    sentence,
)
from seq2seq.errors import UserError


def pixels(scene: Scene, size: int = 64) -> np.ndarray:
    """Return the pixels of the drawn scene."""
    return np.asarray(Image.open(io.BytesIO(scene.draw(size))).convert("RGB")).astype(int)


@pytest.mark.parametrize(("shape", "colour"), list(product(SHAPES, COLOURS)))
def test_an_object_is_painted_in_its_box_and_nowhere_else(shape: str, colour: str) -> None:
    thing = Thing(shape, colour, "plain", "big", 0.4, 0.6)
    seen = pixels(Scene((thing,), 230), 100)
    assert abs(seen[60, 40] - COLOURS[colour]).max() <= 2  # the middle of the object
    left, top, right, bottom = (round(100 * side) for side in thing.box)
    painted = abs(seen - 230).max(2) > 8
    inside = np.zeros_like(painted)
    inside[top - 1 : bottom + 1, left - 1 : right + 1] = True
    assert not painted[~inside].any()
    assert painted.sum() > 0.25 * (right - left) * (bottom - top)


def test_shapes_and_textures_look_different() -> None:
    looks = {
        (shape, texture, size): pixels(Scene((Thing(shape, "red", texture, size, 0.5, 0.5),), 240))
        for shape in SHAPES
        for texture in ("plain", "striped", "dotted")
        for size in SIZES
    }
    for one, other in product(looks, looks):
        if one != other:
            assert (abs(looks[one] - looks[other]).max(2) > 60).sum() >= 12, (one, other)


def test_captions_by_hand() -> None:
    one = Thing("circle", "red", "plain", "small", 0.2, 0.3)
    two = Thing("star", "blue", "dotted", "big", 0.8, 0.5)
    three = Thing("cross", "green", "striped", "big", 0.5, 0.7)
    assert [sentence(caption) for caption in Scene((one,), 255).captions()] == [
        "there is a small red circle", "a small red circle",
    ]  # fmt: skip
    assert [sentence(caption) for caption in Scene((two, one), 255).captions()] == [
        "a big dotted blue star right of a small red circle",
        "there is a big dotted blue star right of a small red circle",
        "a small red circle left of a big dotted blue star",
        "there is a small red circle left of a big dotted blue star",
    ]
    below = Thing("circle", "red", "plain", "small", 0.7, 0.1)
    assert sentence(Scene((two, below), 255).captions()[0]) == "a big dotted blue star below a small red circle"
    assert [sentence(caption) for caption in Scene((two, three, one), 255).captions()] == [
        "from left to right : a small red circle , a big striped green cross and a big dotted blue star",
        "from right to left : a big dotted blue star , a big striped green cross and a small red circle",
    ]
    caption = Scene((two, one), 255).captions()[0]
    boxes = regions(caption)
    assert boxes[0] == boxes[5] == [] and boxes[1:5] == [[0.6, 0.3, 1.0, 0.7]] * 4
    assert boxes[-1] == pytest.approx([0.07, 0.17, 0.33, 0.43])


@pytest.mark.parametrize("novel_of", [NOVEL, ("texture", "colour", "shape"), ("size", "colour")])
def test_objects_do_not_overlap_and_only_novel_scenes_show_held_out_ones(novel_of: tuple[str, ...]) -> None:
    random = Random(3)
    hidden = held_out(random, novel_of, 0.2)
    painter = Painter(random, hidden, novel_of)
    for novel in (False, True):
        for _ in range(200):
            scene = painter.scene(novel=novel)
            kinds = [thing.kind for thing in scene.things]
            assert len(set(kinds)) == len(kinds)
            assert any(thing.combined(novel_of) in hidden for thing in scene.things) is novel
            for thing in scene.things:
                assert min(thing.box) >= -1e-9 and max(thing.box) <= 1 + 1e-9
            for a, b in product(scene.things, scene.things):
                apart = a.box[2] < b.box[0] or b.box[2] < a.box[0] or a.box[3] < b.box[1] or b.box[3] < a.box[1]
                assert a is b or apart


def test_share_that_can_not_be_held_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """72 of 180 combinations are held out: a draw in which no two differ in size alone is very improbable."""
    monkeypatch.setattr(scenes, "TRIES", 20)
    with pytest.raises(UserError, match=r"data\.reader\.share=0\.4: if so many of 180 .* smaller share"):
        held_out(Random(1), NOVEL, 0.4)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.4])
def test_training_keeps_every_combination_of_two_attributes(share: float) -> None:
    every = set(product(TEXTURES, COLOURS, SHAPES))
    for seed in range(10):
        hidden = held_out(Random(seed), ("texture", "colour", "shape"), share)
        shown = every - hidden
        assert len(hidden) == max(1, round(share * 90))
        for kept in ((0, 1), (0, 2), (1, 2)):
            assert {tuple(one[n] for n in kept) for one in shown} == {tuple(one[n] for n in kept) for one in every}


def test_generation_depends_on_the_seed_and_invalid_options_are_refused() -> None:
    small = ToyCaptioning(train=5, valid=2, test=3)
    assert small.generate() == ToyCaptioning(train=5, valid=2, test=3).generate()
    assert small.generate() != ToyCaptioning(train=5, valid=2, test=3, seed=2).generate()
    for option in ({"share": 0}, {"share": 0.5}, {"novel": ["colour"]}, {"novel": ["colour", "weight"]}, {"things": 4}):
        with pytest.raises(UserError, match=rf"^{next(iter(option))}="):
            ToyCaptioning(**option)
