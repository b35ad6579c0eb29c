"""Tests of reading images: files of many kinds are decoded correctly, or refused with the reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seq2seq.data.images import BadImage, ImageFile, Images
from seq2seq.errors import UserError

PLAIN = Images(size=16, fit="stretch")
RED, BLUE = (220, 30, 30), (30, 30, 220)


def halves(size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Return an image that is red on the left and blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def looks_like_halves(pixels: np.ndarray, tolerance: int = 40) -> bool:
    """Return whether the left is red and the right is blue."""
    left, right = pixels[0, :, 8, 2].astype(int), pixels[0, :, 8, 13].astype(int)
    return bool((abs(left - RED) <= tolerance).all() and (abs(right - BLUE) <= tolerance).all())


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.jpg", "RGB"), ("a.png", "RGB"), ("a.png", "P"), ("a.jpg", "CMYK"), ("a.gif", "P"), ("a.webp", "RGB"),
     ("a.bmp", "RGB"), ("a.tif", "CMYK"), ("a.png", "RGBA")],
)  # fmt: skip
def test_images_of_any_mode_keep_their_colours(tmp_path: Path, name: str, mode: str) -> None:
    halves().convert(mode).save(tmp_path / name)
    pixels = PLAIN.open(tmp_path / name)
    assert pixels.shape == (1, 3, 16, 16) and pixels.dtype == np.uint8
    assert looks_like_halves(pixels)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_images_have_three_equal_channels(tmp_path: Path, mode: str) -> None:
    Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 32, 1).repeat(64, 0)).convert(mode).save(
        tmp_path / "g.png"
    )
    pixels = PLAIN.open(tmp_path / "g.png")[0]
    assert (pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all()
    assert pixels[0, 8, 2] < 10 and pixels[0, 8, 13] > 245


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.repeat(np.array([0, 128 * 257, 65535], np.uint16)[None], 30, 0).repeat(10, 1)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert np.round(PLAIN.open(tmp_path / "deep.png")[0, 0, 8, [1, 8, 14]]).tolist() == [0, 128, 255]
    Image.fromarray(levels // 1000).save(tmp_path / "dark.png")  # the scale does not depend on the image
    assert PLAIN.open(tmp_path / "dark.png").max() == 0


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    image = halves().convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.array([[255, 0]], np.uint8), 16, 1).repeat(32, 0)))
    image.save(tmp_path / "a.png")
    palette = halves().quantize(4)
    palette.info["transparency"] = palette.getpixel((31, 0))
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((31, 0)))
    for name in ("a.png", "p.png"):
        pixels = PLAIN.open(tmp_path / name)[0, :, 8]
        assert (pixels[:, 13] == 255).all() and (abs(pixels[:, 2].astype(int) - RED) < 5).all()


@pytest.mark.parametrize(("orientation", "back"), [(1, 0), (3, 180), (6, 90), (8, 270)])
def test_rotation_by_the_camera_is_undone(tmp_path: Path, orientation: int, back: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves().rotate(back, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert looks_like_halves(PLAIN.open(tmp_path / "turned.jpg"))


@pytest.mark.parametrize(
    ("orientation", "taken"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (7, Image.Transpose.TRANSVERSE),
    ],
)
def test_mirroring_by_the_camera_is_undone(tmp_path: Path, orientation: int, taken: Image.Transpose) -> None:
    """Four greys in the corners distinguish all eight orientations; each of these four is its own inverse."""
    corners = Image.fromarray(np.array([[0, 80], [160, 240]], np.uint8)).resize((32, 32), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners.transpose(taken).save(tmp_path / "mirrored.png", exif=exif)
    found = Images(size=32).open(tmp_path / "mirrored.png")[0, 0]
    assert found[[8, 8, 24, 24], [8, 24, 8, 24]].tolist() == [0, 80, 160, 240]


@pytest.mark.parametrize("tag", [0x0100, 0x011A, 0x0112])
def test_broken_metadata_are_ignored(tmp_path: Path, tag: int) -> None:
    """The tag of the size, the resolution or the orientation has a text."""
    entry = struct.pack("<HHI4s", tag, 2, 4, b"abc\0")  # type 2 is text
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    halves().save(tmp_path / "odd.jpg", exif=exif, quality=95)
    assert looks_like_halves(PLAIN.open(tmp_path / "odd.jpg"))


def test_pillows_own_limit_of_pixels_is_ignored_and_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit
    halves((50, 40)).save(tmp_path / "large.png")
    assert PLAIN.open(tmp_path / "large.png").shape == (1, 3, 16, 16)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_animations_give_their_first_frame_or_several_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), (level, 0, 0)) for level in (0, 60, 120, 180, 240)]
    for name in ("a.gif", "a.png", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert PLAIN.open(tmp_path / name).shape == (1, 3, 16, 16)
        assert PLAIN.open(tmp_path / name).max() < 5
        clip = Images(size=16, frames=3).open(tmp_path / name)
        assert clip[:, 0, 8, 8].tolist() == pytest.approx([0, 60, 180], abs=3)
    halves().save(tmp_path / "still.png")
    assert Images(size=16, frames=3).open(tmp_path / "still.png").shape == (3, 3, 16, 16)


def test_enormous_images_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    """A small file that claims 60,000 x 60,000 pixels and an image over ``max_pixels`` are refused."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(BadImage, match=r"60000 x 60000 pixels, over data\.images\.max_pixels"):
        PLAIN.open(tmp_path / "bomb.png")
    halves((50, 40)).save(tmp_path / "large.png")
    with pytest.raises(BadImage, match=r"50 x 40 pixels, over data\.images\.max_pixels=1999"):
        Images(max_pixels=1999).open(tmp_path / "large.png")


def test_frames_of_different_or_enormous_sizes_are_refused(tmp_path: Path) -> None:
    """Pages of different sizes and a later page that is too large are refused; the first page alone is read."""
    pages = [Image.new("RGB", (100, 50)), Image.new("RGB", (50, 100))]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(BadImage, match="frames of different sizes: 100 x 50 and 50 x 100 pixels"):
        Images(frames=2).open(tmp_path / "pages.tif")
    assert PLAIN.open(tmp_path / "pages.tif").shape == (1, 3, 16, 16)
    small, large = Image.new("RGB", (20, 20)), Image.new("RGB", (300, 200))
    small.save(tmp_path / "grows.tif", save_all=True, append_images=[large])
    with pytest.raises(BadImage, match=r"300 x 200 pixels, over data\.images\.max_pixels=1000"):
        Images(frames=2, max_pixels=1000).open(tmp_path / "grows.tif")
    assert Images(size=16, max_pixels=1000).open(tmp_path / "grows.tif").shape == (1, 3, 16, 16)


def test_unreadable_images_are_reported_with_the_reason(tmp_path: Path) -> None:
    halves((200, 200)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    for name, written, reason in (
        ("cut.jpg", content[: len(content) // 2], "truncated"),
        ("text.jpg", b"no image at all", "not an image"),
        ("empty.png", b"", "not an image"),
        ("noise.jpg", content[:200] + bytes(300), "."),
    ):
        (tmp_path / name).write_bytes(written)
        with pytest.raises(BadImage, match=reason):
            PLAIN.open(tmp_path / name)
    with pytest.raises(BadImage, match="No such file"):
        PLAIN.open(tmp_path / "missing.jpg")
    with pytest.raises(BadImage, match="directory"):
        PLAIN.open(tmp_path)


@pytest.mark.parametrize(
    ("fit", "shape"), [("pad", (1, 3, 8, 16)), ("crop", (1, 3, 16, 16)), ("stretch", (1, 3, 16, 16))]
)
def test_shape_follows_fit(tmp_path: Path, fit: str, shape: tuple[int, ...]) -> None:
    halves((80, 40)).save(tmp_path / "wide.png")
    assert Images(size=16, fit=fit).open(tmp_path / "wide.png").shape == shape
    halves((4, 3)).save(tmp_path / "tiny.png")  # small images are enlarged
    assert max(Images(size=16, fit=fit).open(tmp_path / "tiny.png").shape[2:]) == 16


def test_random_changes_depend_on_their_seed(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    changing = Images(size=16, flip=0.5, crop=0.4, colour=0.3)

    def seen(*draw: int) -> bytes:
        return ImageFile(tmp_path / "a.png", changing, draw).pixels().tobytes()

    assert seen(1, 0, 7) == seen(1, 0, 7)
    assert len({seen(1, epoch, 7) for epoch in range(6)}) == 6
    assert (ImageFile(tmp_path / "a.png", changing).pixels() == Images(size=16).open(tmp_path / "a.png")).all()
    mirrored = ImageFile(tmp_path / "a.png", Images(size=16, flip=1.0), (0,)).pixels()
    assert (mirrored[..., ::-1] == Images(size=16).open(tmp_path / "a.png")).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 0}, r"size=0 must be at least 1"), ({"fit": "fill"}, r"fit=fill is none of: pad, crop, stretch"),
     ({"flip": 2}, r"flip=2 must lie in 0\.\.1"), ({"crop": 0}, r"crop=0 must lie in 0\.01\.\.1")],
)  # fmt: skip
def test_invalid_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Images(**options)
