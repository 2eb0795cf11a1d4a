"""DIV2K, 2K photos for super-resolution (Agustsson and Timofte, CVPRW 2017): 640 / 160 / 100.

`root` holds ``DIV2K_train_HR`` (800 images) and ``DIV2K_valid_HR`` (100), as published. Validation
is a fifth of the former, drawn by `seed` from the sorted names; the latter is the test split. For
academic research only.

`prepare` downloads both by TensorFlow Datasets. It keeps neither names nor order, so that `seed`
draws other photos for validation than from the published folder; the test split is the same.
"""

from __future__ import annotations

from pathlib import Path

from tfrecon.base.errors import UserError
from tfrecon.data.photos import drawn, photos
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample
from tfrecon.data.tfds_images import write_split

SPLITS = ("train", "val", "test")
TRAIN, TEST = "DIV2K_train_HR", "DIV2K_valid_HR"


def samples(root: Path | None, split: str, *, seed: int = 42) -> list[Sample]:
    """The photos of one split, sorted by id, their stem.

    Raises UserError for a folder that is missing or empty, too few images to divide and two files
    of one stem.
    """
    folder = required_root(root, "div2k")
    if not (folder / TRAIN).is_dir():
        raise UserError(f"{str(folder)!r} holds no folder {TRAIN!r}; {_REMEDY}")
    if split == "test":
        if not (folder / TEST).is_dir():
            raise UserError(
                f"{str(folder)!r} holds {TRAIN!r} but not {TEST!r}, the test split; {_REMEDY}"
            )
        return [Sample(path.stem, target=path) for path in photos(folder / TEST)]
    paths = photos(folder / TRAIN)
    if len(paths) < 2:
        raise UserError(
            f"{str(folder / TRAIN)!r} holds {len(paths)} image, and train and val need at least 2 "
            "(published: 800); add the others"
        )
    training = set(drawn(paths, len(paths) * 4 // 5, seed))
    return [
        Sample(path.stem, target=path) for path in paths if (path in training) == (split == "train")
    ]


def prepare(root: Path) -> None:
    """Downloads DIV2K by TensorFlow Datasets and writes both folders; a filled one is kept."""
    for split, name in (("train", TRAIN), ("validation", TEST)):
        write_split("div2k/bicubic_x2", split, root / name, image="hr", ending=".png")


_REMEDY = "unpack the published DIV2K archives there, or download them with --prepare"
