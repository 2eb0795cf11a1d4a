"""What no training reaches: the rows beside which a model's scores mean something."""

from __future__ import annotations

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


def mean_colour_fill(images: Array, masks: Array) -> Array:
    """Each hole in the mean colour of the image's known pixels."""
    known = (masks <= 0.5).astype(np.float32)
    count = known.sum(axis=(1, 2), keepdims=True)
    colour = (images * known).sum(axis=(1, 2), keepdims=True) / np.maximum(count, 1)
    return np.where(known > 0, images, np.where(count > 0, colour, GREY))


def harmonic_fill(images: Array, masks: Array) -> Array:
    """Laplace's equation by a multigrid cascade; see `tfrecon.layers.harmonic_fill`."""
    from tfrecon.layers.harmonic_fill import harmonic_fill as fill

    return fill(images, masks).numpy()


def biharmonic_fill(images: Array, masks: Array) -> Array:
    """scikit-image's biharmonic inpainting (Damelin and Hoang 2018), images in parallel."""
    from skimage.restoration import inpaint_biharmonic

    def one(image: Array, mask: Array) -> Array:
        hole = mask[..., 0] > 0.5
        if hole.all():
            return np.full_like(image, GREY)
        # Region by region gives the same values; many small holes take twenty times as long.
        filled = inpaint_biharmonic(image, hole, channel_axis=-1, split_into_regions=False)
        return np.where(mask > 0.5, np.clip(filled, 0, 1), image).astype(np.float32)

    # SciPy's sparse solver releases the GIL, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(one, images, masks)))


FILLS: dict[str, Fill] = {
    "mean-colour fill": mean_colour_fill,
    "harmonic fill": harmonic_fill,
    "biharmonic fill": biharmonic_fill,
}
"""The classical fills by the name that tables show."""

DAMAGED = "damaged input"
"""The row of the input as it is."""

BIHARMONIC = "biharmonic fill"
"""The slow one."""
