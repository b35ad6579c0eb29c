"""Images from files: opened whatever their kind, made one size, changed at random for training.

Letters: F frames, h rows and w columns of pixels.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError

from seq2seq.errors import UserError

Pixels = NDArray[np.uint8]
FITS = ("pad", "crop", "stretch")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
"""Files of a folder that are taken for images."""


class BadImage(Exception):
    """Why a file can't be used as an image."""


@dataclass(frozen=True)
class Images:
    """How images are opened (``data.images``).

    ``fit``: ``pad`` keeps all of an image and its shape, its longer side being ``size``; ``crop`` keeps the middle
    square; ``stretch`` makes it square. While training, an image is mirrored with probability ``flip``, cut to a
    random part of at least the share ``crop`` of its area, and changed in brightness, contrast and saturation by
    factors within 1 +- ``colour``. With ``frames``, so many of an animation, evenly spaced, are read; else the first
    alone. An image of more than ``max_pixels`` is refused before it is unpacked.
    """

    size: int = 224
    fit: str = "pad"
    flip: float = 0.0
    crop: float = 1.0
    colour: float = 0.0
    frames: int | None = None
    max_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        """Check the choices and ranges of the options."""
        if self.fit not in FITS:
            raise UserError(f"fit={self.fit} is none of: {', '.join(FITS)}")
        for option in ("size", "frames", "max_pixels"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise UserError(f"{option}={value} must be at least 1")
        for option, low in (("flip", 0.0), ("crop", 0.01), ("colour", 0.0)):
            if not low <= getattr(self, option) <= 1.0:
                raise UserError(f"{option}={getattr(self, option)} must lie in {low:g}..1")

    @property
    def reads(self) -> str:
        """What a file is read as: an image, or with ``frames`` a video."""
        return "image" if self.frames is None else "video"

    @property
    def random_changes(self) -> list[str]:
        """The options by which a training image is another one each time."""
        return [name for name in ("flip", "colour") if getattr(self, name)] + ["crop"] * (self.crop < 1)

    @property
    def tokens(self) -> int:
        """What an image counts as, in tokens of a batch: its squares of 16 x 16."""
        return max(1, self.size // 16) ** 2 * (self.frames or 1)

    @property
    def options(self) -> dict[str, Any]:
        """Return the options that decide what a model sees of an image, by the names that users type."""
        return {f"data.images.{name}": getattr(self, name) for name in ("size", "fit", "frames")}

    def open(self, file: Path, draw: tuple[int, ...] | None = None) -> Pixels:
        """(F, 3, h, w), h and w at most ``size``, of which one is, and F = 1 without ``frames``.

        ``draw`` seeds what is changed at random; None changes nothing.

        Raises:
            BadImage: the file can't be read, is no image, is cut off or is too large.
        """
        changed = _Changes.drawn(self, draw) if draw is not None else _Changes()
        frames = [np.asarray(self._fitted(changed(frame))) for frame in self.frames_of(file)]
        return np.stack(frames).transpose(0, 3, 1, 2)

    def shown(self, file: Path) -> Image.Image:
        """What a model sees without random changes, frames side by side: for plots."""
        frames = [self._fitted(frame) for frame in self.frames_of(file)]
        strip = Image.new("RGB", (sum(frame.width for frame in frames), frames[0].height))
        for place, frame in enumerate(frames):
            strip.paste(frame, (place * frame.width, 0))
        return strip

    def frames_of(self, file: Path) -> Iterator[Image.Image]:
        """The frames that are wanted, upright and in RGB, at least ``size`` large if the file is."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on odd metadata
                with _pillows_limit(None):
                    opened = Image.open(file)
                with opened as image, _pillows_limit(self.max_pixels):
                    self._check_size(image)
                    if self.frames is None:
                        if image.format == "JPEG":
                            enough = round(self.size / self.crop**0.5)  # of which a random part still has ``size``
                            image.draft(image.mode, (enough, enough))  # unpacked small, where that costs nothing
                        yield _rgb(image)
                        return
                    there, size = getattr(image, "n_frames", 1), None
                    for place in range(self.frames):
                        image.seek(place * there // self.frames)
                        self._check_size(image)
                        frame = _rgb(image)
                        if frame.size != (size := size or frame.size):
                            raise BadImage(f"frames of {size[0]} x {size[1]} and {frame.width} x {frame.height} pixels")
                        yield frame
        except UnidentifiedImageError as error:
            raise BadImage("not an image") from error
        except BadImage:
            raise
        except Image.DecompressionBombError as error:  # a later frame that makes the whole larger
            raise BadImage(f"a frame is over data.images.max_pixels={self.max_pixels}") from error
        except Exception as error:  # Pillow's readers raise whatever they stumble over in broken files
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise BadImage(reason.splitlines()[0]) from error

    def _check_size(self, image: Image.Image) -> None:
        """Refuse an image that is too large, before it is unpacked."""
        width, height = image.size
        if width * height > self.max_pixels:
            raise BadImage(f"{width} x {height} pixels, over data.images.max_pixels={self.max_pixels}")

    def _fitted(self, image: Image.Image) -> Image.Image:
        square = self.size, self.size
        if self.fit == "stretch":
            return image.resize(square, Image.Resampling.BILINEAR)
        if self.fit == "crop":
            return ImageOps.fit(image, square, Image.Resampling.BILINEAR)
        scale = self.size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class ImageFile:
    """A file and how it is opened, which is when its batch is made."""

    file: Path
    images: Images
    draw: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """What its owner calls it; "" of one that came as bytes, whose file is named by its content."""
        return "" if re.fullmatch("[0-9a-f]{32}", self.file.stem) else self.file.name

    def pixels(self) -> Pixels:
        """(F, 3, h, w).

        Raises:
            BadImage: as ``Images.open``.
        """
        return self.images.open(self.file, self.draw)


@dataclass(frozen=True)
class _Changes:
    """What is changed at random, in all frames alike."""

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom, of what is kept
    mirrored: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    @staticmethod
    def drawn(images: Images, seed: tuple[int, ...]) -> _Changes:
        """A part of the same shape as the whole, anywhere in it."""
        random = np.random.default_rng(seed)
        side = float(random.uniform(images.crop, 1.0)) ** 0.5
        left, top = (float(random.uniform(0.0, 1.0 - side)) for _ in range(2))
        mirrored = bool(random.random() < images.flip)
        factors = (float(random.uniform(1.0 - images.colour, 1.0 + images.colour)) for _ in range(3))
        return _Changes((left, top, left + side, top + side), mirrored, *factors)

    def __call__(self, image: Image.Image) -> Image.Image:
        if self.box != (0.0, 0.0, 1.0, 1.0):
            width, height = image.size
            left, top, right, bottom = (round(x * y) for x, y in zip(self.box, (width, height) * 2, strict=True))
            image = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
        if self.mirrored:
            image = ImageOps.mirror(image)
        for kind, factor in (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        ):
            if factor != 1.0:
                image = kind(image).enhance(factor)
        return image


@contextmanager
def _pillows_limit(pixels: int | None) -> Iterator[None]:
    """Pillow refuses what has more, whose own limit is half of that."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels and -(-pixels // 2)
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image is put upright, by its EXIF orientation."""


def _orientation(image: Image.Image) -> int:
    """Of the camera; metadata that can't be read say nothing."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Upright, in RGB of 8 bits; what is transparent shows white."""
    upright = image.copy()
    if (turn := _TURNS.get(_orientation(image))) is not None:
        upright = upright.transpose(turn)
    if upright.mode.startswith(("I", "F")):  # 16 bits and more, which convert("RGB") would clip
        levels = np.asarray(upright, np.float64)
        most = levels.max(initial=0.0)  # of 32 bits, and of fractions, the file does not say what white is
        tops = (1.0, 255.0, 65535.0) if not upright.mode.startswith("I;16") else (65535.0,)
        top = next((top for top in tops if most <= top), most)
        upright = Image.fromarray((levels.clip(0.0, top) * (255.0 / top)).round().astype(np.uint8))
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        colours = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return upright.convert("RGB")
