"""Kaggle's contest Denoising Dirty Documents: scanned pages, stained and clean, of several sizes.

    train/, train_cleaned/        stained and clean pages of the same names, 1.png, …
    test/                         stained pages alone

The contest withholds the truth of ``test``, which is the split ``submit``; train, val and test are
a hash split of the training pages (80/10/10).
"""

from __future__ import annotations

from pathlib import Path

from tfrecon.base import kaggle
from tfrecon.data.photos import photos
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample, pair_by_stem, split_by_hash

SPLITS = ("train", "val", "test", "submit")
TRAIN, CLEAN, SUBMIT = "train", "train_cleaned", "test"


def samples(root: Path | None, split: str) -> list[Sample]:
    """The pages of one split by number; ids are their stems.

    Raises UserError for a folder that is missing or empty and for a page without its partner.
    """
    folder = required_root(root, "denoising_dirty_documents")
    if split == "submit":
        listed = [Sample(path.stem, input=path) for path in photos(folder / SUBMIT)]
    else:
        pairs = pair_by_stem(photos(folder / TRAIN), photos(folder / CLEAN), "training pages")
        listed = [Sample(stained.stem, stained, clean) for stained, clean in pairs]
        listed = [sample for sample in listed if split_by_hash(sample.id) == split]
    return sorted(listed, key=lambda sample: (len(sample.id), sample.id))


def prepare(root: Path, competition: str) -> None:
    """Downloads the contest's data from Kaggle, as `kaggle.download`."""
    kaggle.download(competition, root, (TRAIN, CLEAN, SUBMIT))
