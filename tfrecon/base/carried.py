"""A photo with all that is kept where it is restored: depth, greyness, transparency, colours, EXIF
and resolution."""

import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.base.files import replacing

OF_TIFF = {
    ExifTags.Base[name].value
    for name in ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright",
                 "ExifOffset", "GPSInfo")
}  # fmt: skip
"""The tags of a TIFF that are kept: most others tell how its pixels are stored."""

JPEG = {"quality": 95, "subsampling": 0}
"""Of a JPEG that is written: hardly to be told from a PNG, and colours as sharp as brightness."""

Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Carried:
    """A photo, upright.

    `pixels` are (H,W,3) uint8, uint16, or float32 in [0,1] where the file has other values; of a
    photo with transparency they are the colours behind it. `alpha` is (H,W) uint8 or uint16.
    """

    pixels: Pixels
    alpha: Pixels | None
    is_grey: bool
    bits: int
    options: dict[str, Any] = field(default_factory=dict)
    """Of Pillow's writers: ``icc_profile``, ``exif`` and ``dpi``, those that there are."""
    lost: tuple[str, ...] = ()
    """What cannot be kept."""

    def write(self, path: Path, restored: Pixels, opaque: Pixels | None = None) -> None:
        """Writes `restored` as PNG, or as JPEG where `path` ends so, with all that is kept; never a
        half-written file.

        restored: (H,W,3), or (H,W,1) for a grey photo, uint8, or uint16 for a PNG. Where `opaque`
        (H,W) is true nothing is transparent. Raises UserError where JPEG cannot hold it.
        """
        if path.suffix.lower() in images.FORMATS["JPEG"]:
            self._write_jpeg(path, restored)
            return
        planes = self.planes(restored, opaque)
        with replacing(path) as temporary:
            if planes.dtype == np.uint8:
                to_picture(planes).save(temporary, format="PNG", **self.options)
            else:
                temporary.write_bytes(_png_of_16_bits(planes, self.options))

    def planes(self, restored: Pixels, opaque: Pixels | None = None) -> Pixels:
        """`restored`, and behind it the transparency where the photo has some."""
        if self.alpha is None:
            return restored
        most = np.iinfo(restored.dtype).max
        alpha = _of_depth(self.alpha, restored.dtype)
        if opaque is not None:
            alpha = np.where(opaque, most, alpha).astype(restored.dtype)
        return np.concatenate((restored, alpha[..., None]), axis=-1)

    def _write_jpeg(self, path: Path, restored: Pixels) -> None:
        if self.alpha is not None:
            raise UserError(
                f"a JPEG has no transparency, and the photo for {str(path)!r} has; name a .png"
            )
        with replacing(path) as temporary, temporary.open("wb") as file:
            try:
                to_picture(restored).save(file, format="JPEG", **JPEG, **self.options)
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno:  # of the disk
                    raise
                raise UserError(
                    f"{str(path)!r} cannot be written as JPEG ({error}); name a .png"
                ) from error


def read(
    path: Path, page: int = 0, range: float | None = None, large: bool | int = True
) -> Carried:
    """The photo in an image file. `page`, `range` and `large` as for `images.read`, which it raises
    UserError like."""
    with images.opened(path, page, large=large) as (picture, orientation):
        facts = images.facts(path, page, large=large)
        is_grey, planes = facts.is_grey, None
        deep = facts.bits == 16 and (facts.has_alpha or not is_grey)
        if deep and picture.format == "PNG":
            with contextlib.suppress(Exception):  # TensorFlow refuses some that Pillow reads
                planes = upright(_decoded_with_16_bits(path), orientation)
                is_grey = planes.shape[-1] < 3  # where Pillow says RGBA
        options, lost = _options(picture, is_grey)
        if deep and planes is None:
            lost = (*lost, "what colours of 16 bits hold beyond the upper 8")
        if facts.has_alpha and planes is None:
            planes = np.asarray(picture.convert("RGBA"))
            if picture.format != "TIFF":  # which Pillow turns as it loads it
                planes = upright(planes, orientation)
    if planes is None:
        stored = images.decoded(path, page, large=large)
        eight = stored.values.dtype == np.uint8
        pixels = stored.values if eight else stored.to_float(range)
        return Carried(pixels, None, is_grey, facts.bits, options, lost)
    channels = planes.shape[-1]
    pixels = np.broadcast_to(planes[..., : 1 if channels < 3 else 3], (*planes.shape[:2], 3))
    alpha = planes[..., -1] if channels in (2, 4) else None
    return Carried(pixels, alpha, is_grey, facts.bits, options, lost)


def of_picture(picture: Image.Image) -> Carried:
    """The photo in one of Pillow's images, which is not turned. Raises UserError for more than 8
    bits, of which Pillow has no colours."""
    if picture.mode[0] in "IF":
        raise UserError(
            f"image has the mode {picture.mode!r}; give an array, uint8, uint16 or floats in [0,1]"
        )
    alpha, facts = images.has_alpha(picture), ("icc_profile", "exif", "dpi")
    planes = np.asarray(picture.convert("RGBA"))
    options = {name: picture.info[name] for name in facts if name in picture.info}
    is_grey = images.is_grey(picture)
    return Carried(planes[..., :3], planes[..., 3] if alpha else None, is_grey, 8, options)


def upright(planes: Pixels, orientation: int) -> Pixels:
    """(H,W,…) turned as its EXIF orientation tells."""
    if orientation in (5, 6, 7, 8):
        planes = planes.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return planes[::rows, ::columns]


def _of_depth(plane: Pixels, depth: np.dtype[Any]) -> Pixels:
    if plane.dtype == depth:
        return plane
    return plane.astype(np.uint16) * 257 if depth == np.uint16 else (plane // 257).astype(np.uint8)


def to_picture(planes: Pixels) -> Image.Image:
    """Pillow's image of (H,W,1 to 4) uint8: grey or colours, and transparency where it is even."""
    return Image.fromarray(planes[..., 0] if planes.shape[-1] == 1 else planes)


def _decoded_with_16_bits(path: Path) -> Pixels:
    """(H,W,1 to 4) uint16 of a PNG, where Pillow has but 8 bits of colours."""
    import tensorflow as tf

    return tf.io.decode_png(path.read_bytes(), dtype=tf.uint16).numpy()


def _png_of_16_bits(planes: Pixels, options: dict[str, Any]) -> bytes:
    """A PNG as Pillow would write it, if it could write 16 bits of colours."""
    import tensorflow as tf

    pixels, carrier = tf.io.encode_png(planes).numpy(), io.BytesIO()
    Image.new("L", (1, 1)).save(carrier, format="PNG", **options)
    # Behind signature and header, 33 bytes; the chunk of pixels begins with its length, 4 bytes.
    kept = carrier.getvalue()[33 : carrier.getvalue().rindex(b"IDAT") - 4]
    return pixels[:33] + kept + pixels[33:]


def _options(picture: Image.Image, is_grey: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    options: dict[str, Any] = {}
    lost: list[str] = []
    profile = picture.info.get("icc_profile")
    if profile:
        space = bytes(profile[16:20]).decode("latin-1").strip()
        if space == ("GRAY" if is_grey else "RGB"):
            options["icc_profile"] = profile
        else:
            lost.append(f"the colour profile ({space!r}, not of the PNG's colours)")
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):  # of damaged metadata
        dpi = tuple(float(value) for value in picture.info.get("dpi", ()))
        if len(dpi) == 2 and all(1 < value < 1e6 for value in dpi):
            options["dpi"] = dpi
    try:
        exif = _exif(picture)
    except Exception:  # whatever damaged metadata raise inside Pillow
        lost.append("EXIF (damaged)")
    else:
        if exif:
            options["exif"] = exif
    return options, tuple(lost)


def _exif(picture: Image.Image) -> bytes:
    """The tags of a photo that is upright by now."""
    exif = Image.Exif()
    exif.load(Image.Image.getexif(picture).tobytes())
    if picture.format == "TIFF":
        for tag in set(exif) - OF_TIFF:
            del exif[tag]
    if ExifTags.Base.Orientation in exif:
        exif[ExifTags.Base.Orientation] = 1
    return exif.tobytes() if len(exif) else b""
