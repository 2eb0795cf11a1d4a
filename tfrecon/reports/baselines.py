"""Methods without training: the rows beside which a model's scores mean something."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]
Fill = Callable[[Array, Array], Array]
"""(images (B,H,W,3) in [0,1], masks (B,H,W,1) with 1 = damaged) to the filled images."""

GREY = np.float32(0.5)
"""The fill of an image without a known pixel."""

DAMAGED = "damaged input"
"""The row of the input as it is."""

BIHARMONIC = "biharmonic fill"
"""The slow one."""

JPEG_BORDER_PX = 2
"""Border that the biharmonic fill leaves out of JPEG files."""


def mean_colour_fill(images: Array, masks: Array) -> Array:
    """Each hole in the mean colour of the image's known pixels."""
    known = (masks <= 0.5).astype(np.float32)
    count = known.sum(axis=(1, 2), keepdims=True)
    colour = (images * known).sum(axis=(1, 2), keepdims=True) / np.maximum(count, 1)
    return np.where(known > 0, images, np.where(count > 0, colour, GREY))


def harmonic_fill(images: Array, masks: Array) -> Array:
    """Laplace's equation by a multigrid cascade; see `tfrecon.layers.harmonic_fill`."""
    return _harmonic()(images, masks).numpy()


@functools.cache
def _harmonic() -> Callable[..., Any]:
    """The fill as a graph: operation by operation it takes four times as long."""
    import tensorflow as tf

    from tfrecon.layers.harmonic_fill import harmonic_fill as fill

    return tf.function(fill, reduce_retracing=True)


def biharmonic_fill(images: Array, masks: Array, border_px: int = 0) -> Array:
    """scikit-image's biharmonic inpainting (Damelin and Hoang 2018), images in parallel.

    So many pixels around each hole count as unknown too; the result keeps them as they are.
    """
    from scipy.ndimage import binary_dilation
    from skimage.restoration import inpaint_biharmonic

    def fill(image: Array, mask: Array) -> Array:
        hole = mask[..., 0] > 0.5
        if border_px and hole.any():
            hole = binary_dilation(hole, np.ones((3, 3), bool), iterations=border_px)
        if hole.all():
            return np.where(mask > 0.5, GREY, image)
        # Region by region gives the same values; many small holes take twenty times as long.
        filled = inpaint_biharmonic(image, hole, channel_axis=-1, split_into_regions=False)
        return np.where(mask > 0.5, np.clip(filled, 0, 1), image).astype(np.float32)

    # SciPy's sparse solver releases the GIL, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(fill, images, masks)))


def mean_colour(images: Array) -> Array:
    """Each image as the constant of its own mean colour: the best that no detail can do."""
    return np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), images.shape)


def thumbnail(images: Array, factor: int) -> Array:
    """Each image averaged over squares of `factor` pixels and enlarged again by bicubic
    interpolation: what three values a position of such a grid can keep."""
    import tensorflow as tf

    small = tf.nn.avg_pool2d(images, factor, factor, "VALID")
    return np.clip(tf.image.resize(small, images.shape[1:3], "bicubic").numpy(), 0, 1)


def fills(*, jpeg: bool) -> dict[str, Fill]:
    """The classical fills by the name that tables show; `jpeg`: the damaged files are JPEG.

    JPEG rings beside a hidden box, and a biharmonic fill continues slopes: over 135 such photos its
    hole MSE was 0.066, and 0.043 with `JPEG_BORDER_PX` pixels of border unknown (0.035 on photos
    damaged after decoding, where a border made it worse). The harmonic fill never gained by it.
    """
    return {
        "mean-colour fill": mean_colour_fill,
        "harmonic fill": harmonic_fill,
        BIHARMONIC: functools.partial(biharmonic_fill, border_px=JPEG_BORDER_PX if jpeg else 0),
    }
