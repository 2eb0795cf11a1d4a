"""The image contract: float32, RGB, values in [0,1], height before width, everywhere between
`read` and `write`. Only this module converts to and from uint8 and knows about image files.
"""

import contextlib
import itertools
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfrecon.base.errors import UserError
from tfrecon.base.files import replacing

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "BMP": (".bmp",),
    "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
}  # fmt: skip
"""The formats that are read, and their file names' endings in lower case. Pillow knows others, some
of which start programs (EPS runs Ghostscript), and would go by the content, not by the name."""

SUFFIXES = tuple(itertools.chain(*FORMATS.values()))
"""File name endings, in lower case, that are taken for images."""

MAX_PIXELS = 100_000_000
"""A larger image is refused: a few kilobytes of PNG can claim gigapixels (decompression bomb)."""


_UPRIGHT = {number: Image.Transpose[name] for number, name in enumerate((
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE",
    "ROTATE_90"), start=2)}  # fmt: skip
"""What undoes each EXIF orientation; 1 is upright, and other values mean nothing."""

_opening = threading.Lock()


def read(path: str | os.PathLike[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decodes an image file of `FORMATS` to (H,W,3) uint8 RGB.

    EXIF rotation is applied, CMYK and grey become RGB, 16-bit values are scaled to 8 bits, and
    transparency is put on black. Raises UserError naming the file when it is missing, empty,
    truncated, no image, or larger than MAX_PIXELS.
    """
    with _opened(path) as (picture, orientation):
        picture.load()
        if orientation in _UPRIGHT:
            picture = picture.transpose(_UPRIGHT[orientation])
        if picture.mode.startswith("I") or picture.mode == "F":
            return np.repeat(_grey_to_uint8(picture)[..., None], 3, axis=-1)
        if "A" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            background = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = Image.alpha_composite(background, picture)
        return np.array(picture.convert("RGB"))


def resized(
    pixels: np.ndarray[Any, np.dtype[np.uint8]], height: int, width: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H,W,3) uint8 brought to `height` × `width` by Pillow's bicubic, which antialiases."""
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of an image file after the EXIF rotation, from its first bytes. Raises
    UserError as `read` does."""
    with _opened(path) as (picture, orientation):
        width, height = picture.size[::-1] if orientation in (5, 6, 7, 8) else picture.size
        return height, width


def write(path: str | os.PathLike[str], image: np.ndarray[Any, Any]) -> None:
    """Writes (H,W,3) as PNG: uint8 as it is, float in [0,1] rounded; never a half-written file."""
    pixels = image if image.dtype == np.uint8 else to_uint8(image)
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def finest_diagonal(planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Haar's finest diagonal band of (H,W,C): (H/2,W/2,C), an odd last row and column left out.

    Noise of deviation σ stays one of σ, edges hardly show: its median absolute value over 0.6745
    estimates σ (Donoho and Johnstone 1994).
    """
    height, width = (side // 2 * 2 for side in planes.shape[:2])
    planes = planes[:height, :width]
    return (planes[::2, ::2] - planes[::2, 1::2] - planes[1::2, ::2] + planes[1::2, 1::2]) / 2


def to_float(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """uint8 to float32 in [0,1]."""
    return pixels.astype(np.float32) / np.float32(255)


def to_uint8(image: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """float in [0,1] to the nearest uint8; values outside are clipped."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


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
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Image.Image, Any]]:
    """The file as Pillow's lazy image, and its EXIF orientation (whatever the file holds there)."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"image file {str(path)!r} does not exist")
    if path.stat().st_size == 0:
        raise UserError(f"image file {str(path)!r} is empty (0 bytes); replace or remove it")
    try:
        # Pillow warns of large images and odd metadata; ours is the limit that counts, and it is an
        # error. The lock is for the table of warning filters, which all threads share.
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(path, formats=tuple(FORMATS))
            # Image's own method: that of PngImageFile decodes all pixels to look for EXIF behind.
            orientation = Image.Image.getexif(picture).get(0x0112)
        with picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise UserError(
                    f"image file {str(path)!r} claims {picture.width}×{picture.height} pixels, "
                    f"more than the limit of {MAX_PIXELS:,}; shrink it first"
                )
            yield picture, orientation
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise anything inside Pillow
        raise UserError(
            f"image file {str(path)!r} cannot be decoded ({error}); replace or remove it; "
            f"formats read: {', '.join(FORMATS)}"
        ) from error


def _grey_to_uint8(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
    scale = 65535.0
    if not picture.mode.startswith("I;16"):
        # Modes I and F do not tell their range: the least usual one that holds the largest value.
        largest = values.max(initial=0.0)
        scale = next((usual for usual in (1.0, 255.0) if largest <= usual), scale)
    return np.rint(np.clip(values / scale, 0, 1) * 255).astype(np.uint8)
