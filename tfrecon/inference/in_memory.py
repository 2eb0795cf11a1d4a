"""`tfrecon.restore`: photos in memory, given as arrays, Pillow's images or paths."""

import functools
import os
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from tfrecon.base import carried, images
from tfrecon.base.cards import default, find
from tfrecon.base.errors import UserError
from tfrecon.data.check import readable
from tfrecon.data.masks import Hidden, Masks, hidden_by, hidden_in, holes
from tfrecon.data.sample import Sample
from tfrecon.inference.presets import open_preset
from tfrecon.inference.restorer import PhotoRestorer, restore_tiled
from tfrecon.inference.restoring import Settings, restored_photos

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]

SETTINGS = Settings(depth="8")
"""Tiles as the command has them."""

ABOVE = 1e-3
"""By how much floats may lie outside [0,1], as filters and interpolation leave them."""


@overload
def restore(image: Array, mask: Any = None, preset: str | None = None) -> Array: ...
@overload
def restore(
    image: Image.Image | PathLike, mask: Any = None, preset: str | None = None
) -> Image.Image: ...
def restore(image: Any, mask: Any = None, preset: str | None = None) -> Any:
    """Restores a photo, or a batch of them, and gives back the kind that was given.

    The preset is loaded once in a process. Large photos are restored in tiles.

    Args:
        image: an array (H,W,3), grey (H,W) or (H,W,1), or (B,H,W,3), of uint8, uint16 or floats in
            [0,1]; one of Pillow's images, whose transparency, profile and EXIF are kept; or the
            path of a photo, for which Pillow's image is given, upright and with 8 bits.
        mask: what is damaged: an array (H,W), (H,W,1) or (B,H,W), of bool, uint8 or floats in
            [0,1], where the larger values are the hole; one of Pillow's images; or a path, with
            that of a photo also one of a folder or table as for ``reconstruct --masks``.
        preset: one of `tfrecon.presets()` by its name, your own by the path of its weights,
            ``NAME.npz``, or a repository of the hub, ``hf://user/name``; if not given,
            ``inpainting`` with a mask and ``scratches`` without.

    Raises:
        UserError: for an unknown or damaged preset, one that lacks its mask or takes none, arrays
            of other types, ranges or shapes, a mask that does not fit, or hides nothing or all.

    Example:
        restored = tfrecon.restore("photo.jpg")
        filled = tfrecon.restore(pixels, mask=pixels[..., 0] == 0)
    """
    opened = open_preset(find(preset or default(mask is not None)))
    if opened.has_mask and mask is None:
        raise UserError(f"{opened.title} must be told what is damaged; give a mask")
    if mask is not None and not opened.has_mask:
        raise UserError(f"{opened.title} takes no mask; leave it out, or choose another preset")
    if isinstance(image, np.ndarray):
        return _restored_array(opened, image, mask)
    if isinstance(image, Image.Image):
        return _restored_picture(opened, carried.of_picture(image), mask)
    if not isinstance(image, str | os.PathLike):
        raise UserError(
            f"image is a {type(image).__name__}; give an array, one of Pillow's images, or a path"
        )
    sample = Sample(str(image), Path(image))
    if images.facts(image, large=True).bits > 8:  # which of its values is white?
        (sample,) = readable([sample])
    if isinstance(mask, str | os.PathLike):
        mask = hidden_in(Masks(Path(mask), Path(image)).attached([sample])[0])
    return _restored_picture(opened, carried.read(Path(image), range=sample.range), mask)


def _restored_picture(opened: PhotoRestorer, photo: carried.Carried, mask: Any) -> Image.Image:
    hidden = _hidden(mask, (1, *photo.pixels.shape[:2]))
    hole = None if hidden is None else hidden[0]
    (restored,) = restored_photos([photo], [hole], opened.restore, SETTINGS)
    if restored is None:
        raise _not_finite(opened)
    picture = carried.to_picture(photo.planes(restored, hole))
    picture.info |= photo.options
    return picture


def _restored_array(opened: PhotoRestorer, image: Array, mask: Any) -> Array:
    batch = image[..., None] if image.ndim == 2 else image
    batch = batch[None] if batch.ndim == 3 else batch
    if batch.ndim != 4 or not batch.size or batch.shape[-1] not in (1, 3):
        raise UserError(
            f"image has the shape {image.shape} and must have (H,W,3), (H,W) for grey, or (B,H,W,3)"
        )
    x = np.broadcast_to(_floats(batch, "image"), (*batch.shape[:3], 3))
    hidden = _hidden(mask, x.shape[:3])
    if hidden is not None:
        x = np.concatenate((x, hidden[..., None]), axis=-1, dtype=np.float32)
    restored = restore_tiled(opened.restore, x, SETTINGS.tile, SETTINGS.overlap)
    if not np.isfinite(restored).all():
        raise _not_finite(opened)
    restored = restored.mean(axis=-1, keepdims=True) if batch.shape[-1] == 1 else restored
    given = {"u1": images.to_uint8, "u2": images.to_uint16}.get(
        image.dtype.str[1:], functools.partial(np.asarray, dtype=image.dtype)
    )
    return given(restored).reshape(image.shape)


def _floats(values: Array, name: str) -> Array:
    """uint8, uint16 or floats as float32 in [0,1]. Raises UserError for all others."""
    if values.dtype in (np.uint8, np.uint16):
        return images.to_float(values)
    if values.dtype.kind != "f":
        raise UserError(
            f"{name} holds {values.dtype} and must hold uint8, uint16, or floats in [0,1]; convert "
            f"0 to 255 with {name}.astype('uint8')"
        )
    low, high = float(values.min()), float(values.max())
    if not -ABOVE <= low <= high <= 1 + ABOVE:  # nor NaN
        raise UserError(
            f"{name} holds floats from {low:.4g} to {high:.4g} and must hold finite ones in [0,1]; "
            f"give 0 to 255 as {name} / 255, or as uint8"
        )
    return np.clip(values, 0, 1).astype(np.float32)


def _hidden(mask: Any, shape: tuple[int, ...]) -> Hidden | None:
    """What is damaged in photos of the shape (B,H,W), of that shape; None without a mask."""
    if mask is None:
        return None
    if isinstance(mask, str | os.PathLike):
        mask = holes(Path(mask), 0, shape[1] * shape[2], None)[0]
    if isinstance(mask, Image.Image):
        mask = _of_picture(mask)
    if not isinstance(mask, np.ndarray):
        raise UserError(
            f"mask is a {type(mask).__name__}; give an array, one of Pillow's images, or a path"
        )
    values = mask
    if mask.shape not in (shape, shape[1:]) and mask.shape[-1:] in ((1,), (3,)):
        values = mask.max(axis=-1)
    if values.shape not in (shape, shape[1:]):
        raise UserError(
            f"mask has the shape {mask.shape} and its photo {shape[1:]} (height, width); they must "
            "be equal"
        )
    if values.dtype.kind == "b":
        hidden = values
    elif values.dtype.kind == "f":
        hidden, _ = hidden_by(_floats(values, "mask"), 1.0, "mask")
    else:
        hidden, _ = hidden_by(values, 65535.0 if values.dtype == np.uint16 else 255.0, "mask")
    if hidden.all() or not hidden.any():
        raise UserError(
            f"mask hides {'all of the photo' if hidden.all() else 'nothing'}; damaged pixels are "
            "True, 255, or 1 in floats"
        )
    return np.broadcast_to(hidden, shape)


def _of_picture(mask: Image.Image) -> Array:
    if images.has_alpha(mask):
        raise UserError(
            "mask has transparency; give a grey one, white where the photo is damaged, or an array"
        )
    return np.asarray(mask.convert("RGB") if mask.mode in ("P", "CMYK") else mask)


def _not_finite(opened: PhotoRestorer) -> UserError:
    return UserError(
        f"{opened.title} restores the photo to values that are not finite; take another restorer"
    )
