"""Imagenette, ten classes of ImageNet (Howard, 2019): 9,469 photos to train and 3,925 to test.

`root`, or ``imagenette2``, ``imagenette2-320`` or ``imagenette2-160`` below it (the first that is
there), holds ``train/<class>/*.JPEG`` and ``val/<class>/*.JPEG``, each class named by its WordNet
id. The published ``val`` folder is the test split, which nothing is chosen by; validation is a
tenth of the ``train`` folder, divided by a hash of the id, so that no split shares a photo.

`prepare` downloads the version of 320 pixels by TensorFlow Datasets, which renames the photos.
"""

from __future__ import annotations

from pathlib import Path

from tfrecon.data.photos import drawn, holding, photos_by_class
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample, split_by_hash
from tfrecon.data.tfds_images import write_split

SPLITS = ("train", "val", "test")
PLACES = ("", "imagenette2", "imagenette2-320", "imagenette2-160")


def samples(
    root: Path | None, split: str, *, count: int | None = None, seed: int = 42
) -> list[Sample]:
    """The photos of one split, sorted by class and stem; ids are ``<class>/<stem>``.

    `count` keeps at most so many of each split, drawn by `seed`. Raises UserError for a folder that
    is missing or empty and for two files of one stem in a class.
    """
    folder = holding(required_root(root, "imagenette"), PLACES, "train")
    classes = photos_by_class(folder / ("val" if split == "test" else "train"))
    listed = [
        Sample(f"{name}/{path.stem}", target=path)
        for name, paths in classes.items()
        for path in paths
    ]
    if split != "test":
        listed = [each for each in listed if split_by_hash(each.id, val=0.1, test=0) == split]
    return listed if count is None else drawn(listed, count, seed)


def prepare(root: Path) -> None:
    """Downloads Imagenette by TensorFlow Datasets and writes both folders; a filled one is kept."""
    for split, name in (("train", "train"), ("validation", "val")):
        write_split(
            "imagenette/320px-v2", split, root / name, image="image", ending=".JPEG", label="label"
        )
