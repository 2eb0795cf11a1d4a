"""The image contract: float32, RGB, values in [0,1], height before width, everywhere between
`read` and `write`. Only this module converts to and from uint8 and knows about image files.
"""

import contextlib
import itertools
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin, features

from tfrecon.base.depth import Stored
from tfrecon.base.errors import UserError
from tfrecon.base.files import replacing

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "BMP": (".bmp",),
    "WEBP": (".webp",), "TIFF": (".tif", ".tiff"), "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "AVIF": (".avif",),
}  # fmt: skip
"""The formats that are read, and their file names' endings in lower case. Pillow knows others, some
of which start programs (EPS runs Ghostscript), and would go by the content, not by the name."""
if not features.check("avif"):
    del FORMATS["AVIF"]

SUFFIXES = tuple(itertools.chain(*FORMATS.values()))
"""File name endings, in lower case, that are taken for images."""

MAX_PIXELS = 100_000_000
"""A larger image is refused: a few kilobytes of PNG can claim gigapixels (decompression bomb)."""

MAX_LARGE, PIXELS_PER_BYTE = 1_000_000_000, 100
"""Who asks for large images gets so many pixels, where the file has a byte for at most so many."""

DENSEST = {"BMP": PIXELS_PER_BYTE, "GIF": 3000}
"""Pixels for a byte of the file, at most, whoever asks. Pillow fills in what a packed BMP leaves
out, byte by byte; 12 bits of a GIF can stand for 4,096 pixels, and its frames grow the picture."""

ERROR_SCALE = 5
"""How much brighter than it is `error_map` shows the mean absolute error of a pixel."""

STRIP = 1024
"""Rows of a picture that become an array at once."""

_UPRIGHT = {number: Image.Transpose[name] for number, name in enumerate((
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE",
    "ROTATE_90"), start=2)}  # fmt: skip
"""What undoes each EXIF orientation; 1 is upright, and other values mean nothing."""

_NEW_SUBFILE_TYPE, _REDUCED_OR_MASK = 254, 1 | 4
"""The tag of a TIFF that says what a page is, and the bits of what is none."""

_opening = threading.Lock()

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Facts:
    """What the header of an image file tells."""

    height: int
    width: int
    """Both after the EXIF rotation."""
    pages: int
    """Pages of a TIFF, frames of an animation; 1 for the other formats."""
    bits: int
    """Of a value: 8, 12, 16 or 32."""
    has_alpha: bool
    is_grey: bool
    orientation: int
    """By EXIF: 1 is upright."""


def read(
    path: PathLike, page: int = 0, range: float | None = None, *, large: bool | int = False
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decodes an image file of `FORMATS` to (H,W,3) uint8 RGB.

    EXIF rotation is applied, CMYK and grey become RGB, values of more than 8 bits are scaled (their
    largest is `range`, see `depth.Stored`), and transparency is put on black. `page` counts the
    pages of a TIFF and the frames of an animation from 0. Raises UserError naming the file when it
    is missing, empty, truncated, no image, larger than MAX_PIXELS (`large` allows MAX_LARGE, or so
    many), or does not fit into `range`.
    """
    return decoded(path, page, large=large).to_uint8(range)


def decoded(path: PathLike, page: int = 0, *, large: bool | int = False) -> Stored:
    """The values of an image file as `read` takes them, but not scaled: all bits of a grey file,
    the upper 8 of 16-bit colour. Raises UserError as `read` does, but for the range."""
    with opened(path, page, large) as (picture, orientation):
        bits, is_ppm, is_tiff = _bits(picture), picture.format == "PPM", picture.format == "TIFF"
        picture.load()
        if orientation in _UPRIGHT and not is_tiff:  # which Pillow turns as it loads it
            picture = picture.transpose(_UPRIGHT[orientation])
        if picture.mode == "F":
            return Stored(str(path), np.asarray(picture), "32-bit float")
        if picture.mode[0] == "I":
            values = np.asarray(picture)
            if is_ppm or bits == 12:  # the file itself tells its range
                return Stored(str(path), np.float32(values / (4095 if bits == 12 else 65535)))
            return Stored(str(path), values, f"{bits}-bit")
        if has_alpha(picture):
            picture = picture.convert("RGBA")
            background = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = Image.alpha_composite(background, picture)
        pixels = _rgb(picture)
        if bits == 16 and not is_ppm:
            return Stored(str(path), pixels.astype(np.uint16) * 257, "16-bit colour")
        return Stored(str(path), pixels)


def _rgb(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H,W,3), by strips: Pillow's ways from picture to array copy it two or three times. A small
    photo that is RGB already is copied as rarely as can be."""
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    for top in range(0, picture.height, STRIP):
        strip = picture
        if picture.height > STRIP:
            strip = picture.crop((0, top, picture.width, min(top + STRIP, picture.height)))
        pixels[top : top + STRIP] = strip if strip.mode == "RGB" else strip.convert("RGB")
    return pixels


def resized(
    pixels: np.ndarray[Any, np.dtype[np.uint8]], height: int, width: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H,W,3) uint8 brought to `height` × `width` by Pillow's bicubic, which antialiases."""
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def size(path: PathLike, page: int = 0, *, large: bool | int = False) -> tuple[int, int]:
    """(height, width) of an image file after the EXIF rotation, from its first bytes. Raises
    UserError as `read` does."""
    with opened(path, page, large) as found:
        return _size(*found)


def facts(path: PathLike, page: int = 0, *, large: bool | int = False) -> Facts:
    """What the header of an image file tells, of one page. Raises UserError as `read` does."""
    with opened(path, page, large) as (picture, orientation):
        height, width = _size(picture, orientation)
        return Facts(
            height, width, bits=_bits(picture),
            has_alpha=has_alpha(picture), is_grey=is_grey(picture),
            orientation=orientation if orientation in _UPRIGHT else 1,
            pages=len(_pages(picture)),  # last, as it turns the pages
        )  # fmt: skip


def has_alpha(picture: Image.Image) -> bool:
    """Whether one of Pillow's images is transparent anywhere, or could be."""
    # LAB has a band of the name A, too.
    return picture.mode.endswith("A") or "transparency" in picture.info


def is_grey(picture: Image.Image) -> bool:
    """Whether one of Pillow's images has no colours."""
    return picture.mode[0] in "1LIF" and picture.mode != "LAB"


def pages(path: PathLike) -> list[int]:
    """The numbers of an image file's pages or frames; 0 alone for a file that has one picture.
    Reduced copies and masks in a TIFF are no pages. Raises UserError as `read` does."""
    with opened(path, 0, large=True) as (picture, _):
        return _pages(picture)


def write(path: PathLike, image: np.ndarray[Any, Any]) -> None:
    """Writes (H,W,3) as PNG: uint8 as it is, float in [0,1] rounded; never a half-written file."""
    pixels = image if image.dtype == np.uint8 else to_uint8(image)
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def marked(picture: Any) -> np.ndarray[Any, Any]:
    """`picture` (H,W,3), or in place of one that is not finite, which would be black, a grey one
    that says so."""
    image = np.asarray(picture)
    if np.isfinite(image).all():
        return image
    height, width = image.shape[:2]
    cell = Image.new("RGB", (width, height), "silver")
    font = ImageFont.load_default(max(6, min(width // 6, 15)))
    place = (width / 2, height / 2)
    ImageDraw.Draw(cell).text(place, "not finite", "black", font, anchor="mm")
    return to_float(np.asarray(cell))


def error_map(target: Any, restored: Any) -> np.ndarray[Any, Any]:
    """How far two images (H,W,3) in [0,1] are from each other: a grey one (H,W,3), brighter by
    ERROR_SCALE than it is."""
    error = np.abs(np.asarray(target) - np.asarray(restored)).mean(-1, keepdims=True)
    return np.repeat(np.clip(ERROR_SCALE * error, 0, 1), 3, -1)


def finest_diagonal(planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Haar's finest diagonal band of (H,W,C): (H/2,W/2,C), an odd last row and column left out.

    Noise of deviation σ stays one of σ, edges hardly show: its median absolute value over 0.6745
    estimates σ (Donoho and Johnstone 1994).
    """
    height, width = (side // 2 * 2 for side in planes.shape[:2])
    planes = planes[:height, :width]
    return (planes[::2, ::2] - planes[::2, 1::2] - planes[1::2, ::2] + planes[1::2, 1::2]) / 2


def to_float(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """uint8 or uint16 to float32 in [0,1]."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def check_float(**images_by_name: Any) -> None:
    """Raises UserError for images whose numbers are no floats: 0 to 255 passes for [0,1] nowhere.

    Arrays, tensors and lists; inside a graph, too, as the type alone is looked at."""
    import tensorflow as tf

    for name, values in images_by_name.items():
        dtype = np.asarray(values).dtype if isinstance(values, list | tuple) else values.dtype
        if not tf.as_dtype(dtype).is_floating:
            raise UserError(
                f"{name} holds {tf.as_dtype(dtype).name} and must hold floats in [0,1]; convert "
                "pixels with tfrecon.images.to_float"
            )


def to_uint8(image: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """float in [0,1] to the nearest uint8; values outside are clipped."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def to_uint16(image: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """`to_uint8` with 16 bits."""
    return np.rint(np.clip(image, 0, 1) * 65535).astype(np.uint16)


def to_float_tensor(pixels: Any) -> Any:
    """`to_float` for a tensor of uint8, or of unrounded values in 0…255 as resizing gives them."""
    import tensorflow as tf

    if pixels.dtype == tf.uint8:  # inside a graph a division by a constant is one bit off
        levels = tf.constant(to_float(np.arange(256, dtype=np.uint8)))
        return tf.gather(levels, tf.cast(pixels, tf.int32))
    return tf.cast(pixels, tf.float32) / 255.0


def to_uint8_tensor(image: Any) -> Any:
    """`to_uint8` for a tensor."""
    import tensorflow as tf

    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)


@contextlib.contextmanager
def opened(path: PathLike, page: int, large: bool | int) -> Iterator[tuple[Image.Image, Any]]:
    """A page of the file as Pillow's lazy image, and its EXIF orientation (whatever the file holds
    there)."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"image file {str(path)!r} does not exist; correct its name")
    if path.stat().st_size == 0:
        raise UserError(f"image file {str(path)!r} is empty (0 bytes); replace or remove it")
    try:
        with contextlib.ExitStack() as stack:
            with _pillow_settings():
                picture = stack.enter_context(Image.open(path, formats=tuple(FORMATS)))
                # On the way to a frame of a GIF Pillow paints those before it.
                for number in range(1, page) if picture.format == "GIF" else ():
                    picture.seek(number)
                    _check_pixels(path, picture, large)
                if page:
                    picture.seek(page)
                # Image's own method: that of PngImageFile decodes all pixels to look for EXIF.
                orientation = Image.Image.getexif(picture).get(0x0112)
            _check_pixels(path, picture, large)
            yield picture, orientation
    except UserError:
        raise
    # Not `foreign`: a file that the system refuses to open is one to be skipped on request, too.
    except Exception as error:  # a damaged file can raise anything inside Pillow
        raise UserError(
            f"image file {str(path)!r} cannot be decoded ({error}); replace or remove it; "
            f"formats read: {', '.join(FORMATS)}"
        ) from error


@contextlib.contextmanager
def _pillow_settings() -> Iterator[None]:
    """Pillow warns of large images and odd metadata, and refuses very large ones; ours is the limit
    that counts, and it is an error. The lock is for the settings, which all threads share."""
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_pixels(path: Path, picture: Image.Image, large: bool | int) -> None:
    """Raises UserError where the size that a file claims is not allowed."""
    of_file = PIXELS_PER_BYTE * path.stat().st_size
    limit = max(MAX_PIXELS, min(MAX_LARGE, of_file) if large is True else large)
    densest = DENSEST.get(picture.format or "")
    limit = min(limit, densest * path.stat().st_size) if densest else limit
    if picture.width * picture.height > limit:
        by_size = densest or (large is True and limit < MAX_LARGE)
        of_size = " for a file of its size" if by_size else ""
        raise UserError(
            f"image file {str(path)!r} claims {picture.width}×{picture.height} pixels, more than "
            f"the limit of {limit:,}{of_size}; shrink it first"
        )


def _size(picture: Image.Image, orientation: Any) -> tuple[int, int]:
    """(height, width) after the EXIF rotation, which Pillow counts in for a TIFF."""
    turned = orientation in (5, 6, 7, 8) and picture.format != "TIFF"
    width, height = picture.size[::-1] if turned else picture.size
    return height, width


def _bits(picture: Image.Image) -> int:
    """Of a value, by how Pillow is about to unpack the file."""
    arguments = picture.tile[0].args if picture.tile else ""
    raw = arguments if isinstance(arguments, str) else str((arguments or [""])[0])
    if picture.mode == "F" or ";32" in raw:
        return 32
    return 12 if ";12" in raw else 16 if ";16" in raw or picture.mode[0] == "I" else 8


def _pages(picture: Image.Image) -> list[int]:
    count = getattr(picture, "n_frames", 1) if picture.format in FORMATS else 1
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return list(range(count))
    numbers: list[int] = []
    for number in range(count):
        picture.seek(number)
        kind = picture.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
        if not number or not kind & _REDUCED_OR_MASK:
            numbers.append(number)
    return numbers
