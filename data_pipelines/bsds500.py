"""The Berkeley segmentation photos (Arbeláez et al., PAMI 2011): 200 train, 100 val, 200 test.

`root` holds the folders ``train``, ``val`` and ``test``, or is the unpacked archive with
``BSDS500/data/images`` (or any folder on the way there).

Where there is no ``test`` folder, ``val`` serves as test too. Scores on it are then of the images
that picked the checkpoint, and so a little too good.
"""

from __future__ import annotations

from pathlib import Path

from tfrecon.data.photos import holding, photos
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample

SPLITS = ("train", "val", "test")
PLACES = ("", "images", "data/images", "BSDS500/data/images")


def samples(root: Path | None, split: str) -> list[Sample]:
    """The photos of one split, sorted by id, their stem.

    Raises UserError for a folder that is missing or empty and for two files of one stem.
    """
    folder = holding(required_root(root, "bsds500"), PLACES, "train")
    if split == "test" and not (folder / "test").is_dir():
        split = "val"
    return [Sample(path.stem, target=path) for path in photos(folder / split)]
