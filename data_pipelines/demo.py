"""Colour photos that ship inside scikit-image: no download, no account, no folder to give.

256×256 crops of eight scenes. The split is by photo, so no test crop shows a scene of training
(the two motorcycle photos are a stereo pair of one scene). Test and validation are cut with as
little overlap as covers the photo; training draws a 6×6 grid from each photo, so that the large
ones do not outweigh the others. Sources and licences: README.txt in skimage's data folder.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
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


def samples(root: Path | None, split: str) -> list[Sample]:
    """Crops of one split; `root` is ignored, as the photos lie inside the package scikit-image."""
    folder = _folder()
    crops: list[Sample] = []
    for name in PHOTOS[split]:
        path = folder / name
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


def _folder() -> Path:
    # Found, not imported: importing skimage takes longer than the whole recipe.
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("recipe 'demo' needs scikit-image; install it with pip")
    return Path(spec.submodule_search_locations[0]) / "data"
