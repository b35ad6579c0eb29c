"""Images from files of any kind: opened, fitted to one size, and changed at random for training.

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
"""Suffixes of the files in a folder that count as images."""


class BadImage(Exception):
    """Error of a file that cannot be used as an image; its text is the reason."""


@dataclass(frozen=True)
class Images:
    """Options by which images are opened (``data.images``)."""

    size: int = 224  # pixels of the longer side
    fit: str = "pad"  # pad: keep the whole image and its shape | crop: keep the middle square | stretch: make it square
    flip: float = 0.0  # probability of mirroring a training image
    crop: float = 1.0  # a training image is cut to a random part of at least this share of its area
    colour: float = 0.0  # random factors within 1 +- colour change brightness, contrast and saturation in training
    frames: int | None = None  # number of evenly spaced frames of an animation; None = only the first frame
    max_pixels: int = 100_000_000  # larger images are refused before they are unpacked

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
        """Kind of a source: ``image``, or ``video`` with ``frames``."""
        return "image" if self.frames is None else "video"

    @property
    def random_changes(self) -> list[str]:
        """Names of the options that change a training image at random."""
        return [name for name in ("flip", "colour") if getattr(self, name)] + ["crop"] * (self.crop < 1)

    @property
    def tokens(self) -> int:
        """Number of tokens that an image counts as in a batch: its squares of 16 x 16 pixels."""
        return max(1, self.size // 16) ** 2 * (self.frames or 1)

    @property
    def options(self) -> dict[str, Any]:
        """Options that decide what a model sees of an image, under the names that users type."""
        return {f"data.images.{name}": getattr(self, name) for name in ("size", "fit", "frames")}

    def open(self, file: Path, draw: tuple[int, ...] | None = None) -> Pixels:
        """Return the pixels of a file, fitted to the size.

        Args:
            file: File of the image.
            draw: Seeds of the random changes; None changes nothing.

        Returns:
            Pixels (F, 3, h, w) uint8. The larger of h and w is ``size``. F = 1 without ``frames``.

        Raises:
            BadImage: The file cannot be read, is not an image, is cut off or is too large.
        """
        changed = _Changes.drawn(self, draw) if draw is not None else _Changes()
        frames = [np.asarray(self._fitted(changed(frame))) for frame in self.frames_of(file)]
        return np.stack(frames).transpose(0, 3, 1, 2)

    def shown(self, file: Path) -> Image.Image:
        """Return an image for plots as a model sees it without random changes; frames are side by side.

        Args:
            file: File of the image.

        Raises:
            BadImage: The file cannot be used, as in ``Images.open``.
        """
        frames = [self._fitted(frame) for frame in self.frames_of(file)]
        strip = Image.new("RGB", (sum(frame.width for frame in frames), frames[0].height))
        for place, frame in enumerate(frames):
            strip.paste(frame, (place * frame.width, 0))
        return strip

    def frames_of(self, file: Path) -> Iterator[Image.Image]:
        """Yield the requested frames, upright and in RGB, at least of the size ``size`` if the file is.

        Args:
            file: File of the image.

        Raises:
            BadImage: The file cannot be used, as in ``Images.open``.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # warnings about unusual metadata
                # Open any file, then refuse a large image with our own message.
                with _pillows_limit(None):
                    opened = Image.open(file)
                with opened as image, _pillows_limit(self.max_pixels):
                    self._check_size(image)
                    # Read one image.
                    if self.frames is None:
                        if image.format == "JPEG":
                            enough = round(self.size / self.crop**0.5)  # a random part of it still has ``size`` pixels
                            # A JPEG file can be unpacked into a smaller image, which is faster.
                            image.draft(image.mode, (enough, enough))
                        yield _rgb(image)
                        return
                    # Read evenly spaced frames; all must have the same size.
                    total, size = getattr(image, "n_frames", 1), None
                    for place in range(self.frames):
                        image.seek(place * total // self.frames)
                        self._check_size(image)
                        frame = _rgb(image)
                        if frame.size != (size := size or frame.size):
                            sizes = f"{size[0]} x {size[1]} and {frame.width} x {frame.height} pixels"
                            raise BadImage(f"frames of different sizes: {sizes}")
                        yield frame
        except UnidentifiedImageError as error:
            raise BadImage("not an image") from error
        except BadImage:
            raise
        except Image.DecompressionBombError as error:  # a later frame enlarges the image
            raise BadImage(f"a frame is over data.images.max_pixels={self.max_pixels}") from error
        except Exception as error:  # Pillow raises many kinds of errors for broken files
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise BadImage(reason.splitlines()[0]) from error

    def _check_size(self, image: Image.Image) -> None:
        """Refuse an image that is too large, before it is unpacked."""
        width, height = image.size
        if width * height > self.max_pixels:
            raise BadImage(f"{width} x {height} pixels, over data.images.max_pixels={self.max_pixels}")

    def _fitted(self, image: Image.Image) -> Image.Image:
        """Return an image with the size of the options."""
        square = self.size, self.size
        if self.fit == "stretch":
            return image.resize(square, Image.Resampling.BILINEAR)
        if self.fit == "crop":
            return ImageOps.fit(image, square, Image.Resampling.BILINEAR)
        # Scale the longer side; the batch pads the shorter one.
        scale = self.size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class ImageFile:
    """File of an image with its options; it is opened when its batch is made."""

    file: Path
    images: Images
    draw: tuple[int, ...] | None = None  # seeds of random changes; None changes nothing

    @property
    def name(self) -> str:
        """Name of the file; empty for an image in the cache, whose file is named by its content."""
        return "" if re.fullmatch("[0-9a-f]{32}", self.file.stem) else self.file.name

    def pixels(self) -> Pixels:
        """Return the pixels (F, 3, h, w) uint8.

        Raises:
            BadImage: The file cannot be used, as in ``Images.open``.
        """
        return self.images.open(self.file, self.draw)


@dataclass(frozen=True)
class _Changes:
    """Random changes of an image, the same for all its frames."""

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom of the part that is kept
    mirrored: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    @staticmethod
    def drawn(images: Images, seed: tuple[int, ...]) -> _Changes:
        """Draw the changes: a part with the shape of the whole image, mirroring, and factors of colours."""
        random = np.random.default_rng(seed)
        # The share of the area is the square of the share of a side.
        side = float(random.uniform(images.crop, 1.0)) ** 0.5
        left, top = (float(random.uniform(0.0, 1.0 - side)) for _ in range(2))
        mirrored = bool(random.random() < images.flip)
        factors = (float(random.uniform(1.0 - images.colour, 1.0 + images.colour)) for _ in range(3))
        return _Changes((left, top, left + side, top + side), mirrored, *factors)

    def __call__(self, image: Image.Image) -> Image.Image:
        # Keep a part of at least one pixel.
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
    """Let Pillow refuse images with more pixels; it refuses images over twice its own limit."""
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
"""Turn that puts an image upright, for each EXIF orientation."""


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image; 1 (upright) if the metadata cannot be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Return an image upright and in RGB of 8 bits; transparent parts become white."""
    upright = image.copy()
    if (turn := _TURNS.get(_orientation(image))) is not None:
        upright = upright.transpose(turn)
    # Scale images of 16 bits and more to 8 bits, because convert("RGB") would clip them.
    if upright.mode.startswith(("I", "F")):
        levels = np.asarray(upright, np.float64)
        # A file of 32 bits or of fractions does not tell which level is white.
        most = levels.max(initial=0.0)
        tops = (1.0, 255.0, 65535.0) if not upright.mode.startswith("I;16") else (65535.0,)
        top = next((top for top in tops if most <= top), most)
        upright = Image.fromarray((levels.clip(0.0, top) * (255.0 / top)).round().astype(np.uint8))
    # Put transparent images on white.
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        colours = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return upright.convert("RGB")
