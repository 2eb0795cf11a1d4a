"""Drawn images for training without photos: shapes that hide each other, see
`tfrecon.data.dead_leaves`. Nothing is downloaded.

Image N of a split depends on `seed`, the split and N alone, so that a larger `count` adds images to
those that are there. They are drawn once, as PNG files, into `root`, or into the user's cache where
there is none; `data.extra` mixes them into any training:
``data.extra = [{name = "dead_leaves", count = 1000}]``. With `photo_colours` most leaves have the
colours of photos inside scikit-image, which the recipe `demo` trains on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np

from tfrecon.base import images, weights
from tfrecon.base.registry import AtLeast, Between, Positive, checked
from tfrecon.data import dead_leaves
from tfrecon.data.photos import of_skimage
from tfrecon.data.sample import Sample

SPLITS = ("train", "val", "test")
PALETTE = "astronaut.png", "motorcycle_left.png", "ihc.png", "retina.jpg", "hubble_deep_field.jpg"
THINNED = 16
"""One of so many rows and columns of a photo gives its colours."""


@checked
def samples(
    root: Path | None, split: str, *, count: Positive = 600,
    size: Annotated[int, Between(16, dead_leaves.TEXTURE)] = 256, photo_colours: bool = True,
    seed: Annotated[int, AtLeast(0)] = 0,
) -> list[Sample]:  # fmt: skip
    """`count` images of `size` pixels to train on, a tenth as many to validate and to test.

    Raises UserError for an option out of range and for a folder that cannot be written to.
    """
    number = count if split == "train" else -(-count // 10)
    colours = "photos" if photo_colours else "random"
    kind = f"v{dead_leaves.VERSION}_{colours}_{size}_seed{seed}"
    folder = (root or weights.cache() / "dead_leaves") / kind / split
    palette = _palette() if photo_colours else None
    paths = dead_leaves.draw_missing(folder, number, size, (seed, SPLITS.index(split)), palette)
    return [Sample(f"{split}_{path.stem}", target=path) for path in paths]


def _palette() -> np.ndarray:
    """(N,3) in [0,1]: every so many pixels of each photo."""
    photos = (images.read(of_skimage(name)) for name in PALETTE)
    return np.concatenate([images.to_float(p[::THINNED, ::THINNED].reshape(-1, 3)) for p in photos])
