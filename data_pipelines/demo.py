"""Colour photos that ship inside scikit-image: no download, no account, no folder to give.

256×256 crops of eight scenes. The split is by photo, so no test crop shows a scene of training
(the two motorcycle photos are a stereo pair of one scene). Test and validation are cut with as
little overlap as covers the photo; training draws a 6×6 grid from each photo, so that the large
ones do not outweigh the others. Sources and licences: README.txt in skimage's data folder.
"""

from __future__ import annotations

import math
from pathlib import Path

from tfrecon.base import images
from tfrecon.base.registry import Spec
from tfrecon.data.photos import of_skimage
from tfrecon.data.sample import Sample

SPLITS = ("train", "val", "test")
DAMAGE = Spec("boxes", {"count": 2, "size": 75})
CROP = 256
TRAIN_GRID = 6
PHOTOS = {
    "train": (
        "astronaut.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "ihc.png",
        "retina.jpg",
        "hubble_deep_field.jpg",
    ),
    "val": ("rocket.jpg",),
    "test": ("chelsea.png", "coffee.png"),
}
GREY = "camera.png", "brick.png", "grass.png", "gravel.png", "moon.png"


def samples(root: Path | None, split: str, *, grey: bool = False) -> list[Sample]:
    """Crops of one split; `root` is ignored, as the photos lie inside the package scikit-image.
    `grey` adds five grey photos, mostly textures, to training."""
    crops: list[Sample] = []
    for name in (*PHOTOS[split], *(GREY if grey and split == "train" else ())):
        path = of_skimage(name)
        tops, lefts = (
            _starts(extent, TRAIN_GRID if split == "train" else math.ceil(extent / CROP))
            for extent in images.size(path)
        )
        crops += [
            Sample(f"{path.stem}_{top}_{left}", target=path, region=(top, left, CROP, CROP))
            for top in tops
            for left in lefts
        ]
    return crops


def _starts(extent: int, count: int) -> list[int]:
    """`count` evenly spaced positions from 0 to the last at which a crop fits into `extent`."""
    room = extent - CROP
    return sorted({round(step * room / max(count - 1, 1)) for step in range(count)})
