"""The animals inpainting contest: photos of cats, dogs, elephants and tigers with two black boxes.

    Training_Data/{Cat,Dog,Elephant,Tiger}/Masked_Train/      damaged photos and masked_info.csv
    Training_Data/{Cat,Dog,Elephant,Tiger}/Unmasked_Train/    the same names, whole
    Testing_Data/                                             damaged photos and masked_info.csv

The contest withholds the truth of Testing_Data, which is the split ``submit``; train, val and test
are a hash split of the training photos (80/10/10), so that test has truth and no model saw it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfrecon.base import images, kaggle
from tfrecon.base.bars import tqdm
from tfrecon.base.errors import UserError, unknown
from tfrecon.base.platforms import nfc
from tfrecon.data.boxes import describe, outside, read_boxes
from tfrecon.data.photos import listed
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Box, Sample, split_by_hash

SPLITS = ("train", "val", "test", "submit")
CLASSES = ("Cat", "Dog", "Elephant", "Tiger")
BOX = 75
"""Side of the boxes in pixels."""
TABLE = "masked_info.csv"

# JPEG rings at the edges of a box: 1% of a real box's values exceed 27, single ones reach 95.
BLANK_VALUE = 40
BLANK_SHARE = 0.95


def samples(root: Path | None, split: str, *, classes: list[str] | None = None) -> list[Sample]:
    """The photos of one split; `classes` restricts all splits but ``submit``.

    ids are the file names in masked_info.csv. Raises UserError naming file, row and remedy for
    what is missing, unmatched or listed twice, and for a box that is not blank in the photo.
    """
    folder = required_root(root, "animals_inpainting")
    if split == "submit":
        testing = _folder(folder / "Testing_Data")
        listed = _listed(testing, _table(testing))
        _check_boxes(listed, {sample.id: _table(testing) for sample in listed})
        return listed
    pairs, tables = _training(folder, classes)
    chosen = [
        sample
        for sample in pairs
        if split_by_hash(f"{_class_folder(sample).name}/{sample.id}") == split
    ]
    _check_boxes(chosen, tables)
    return chosen


def prepare(root: Path, competition: str) -> None:
    """Downloads the contest's data from Kaggle, as `kaggle.download`."""
    kaggle.download(competition, root, ("Training_Data", "Testing_Data"))


def _training(folder: Path, classes: Sequence[str] | None) -> tuple[list[Sample], dict[str, Path]]:
    """All training pairs, and the table that lists each."""
    pairs: dict[str, Sample] = {}
    tables: dict[str, Path] = {}
    for name in dict.fromkeys(CLASSES if classes is None else classes):
        if name not in CLASSES:
            raise unknown("class", name, CLASSES)
        masked = _folder(folder / "Training_Data" / name / "Masked_Train")
        whole = _folder(folder / "Training_Data" / name / "Unmasked_Train")
        table = _table(masked, masked.parent)
        for sample in _paired(_listed(masked, table), whole):
            if sample.id in pairs:
                raise UserError(
                    f"{str(sample.input)!r} and {str(pairs[sample.id].input)!r} share their name, "
                    "which must be unique over all classes; rename one of them and its row"
                )
            pairs[sample.id], tables[sample.id] = sample, table
    return list(pairs.values()), tables


def _class_folder(sample: Sample) -> Path:
    return sample.files[0].parents[1]


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(
            f"folder {str(path)!r} does not exist; --root must hold Training_Data and Testing_Data "
            "(the option classes leaves animals out)"
        )
    return path


def _table(*folders: Path) -> Path:
    """The table of boxes in the first folder that has one."""
    paths = [folder / TABLE for folder in folders]
    return next((path for path in paths if path.is_file()), paths[0])


def _images(folder: Path) -> dict[str, Path]:
    return {nfc(path.name): path for path in listed(folder, used=(TABLE,))}


def _listed(folder: Path, table: Path) -> list[Sample]:
    """The damaged photos of `folder` in the order of `table`, each with its two boxes."""
    boxes, files = read_boxes(table, BOX), _images(folder)
    if not boxes:
        raise UserError(f"{str(table)!r} lists no photo; add a row for each in {str(folder)!r}")
    for name in boxes:
        if nfc(name) not in files:
            raise UserError(
                f"{str(table)!r} lists {name!r}, which is not in {str(folder)!r}; "
                "add the photo or remove the row"
            )
    for name, path in files.items():
        if name not in boxes:
            raise UserError(
                f"{str(path)!r} has no row in {str(table)!r}; add the row or remove the photo"
            )
    return [Sample(name, input=files[nfc(name)], boxes=pair) for name, pair in boxes.items()]


def _paired(masked: Sequence[Sample], folder: Path) -> list[Sample]:
    """The same photos with their whole partners of the same name in `folder`."""
    whole, names = _images(folder), {nfc(sample.id) for sample in masked}
    for sample in masked:
        if nfc(sample.id) not in whole:
            raise UserError(
                f"{str(sample.input)!r} has no whole photo of the same name in {str(folder)!r}; "
                "add it, or remove the masked photo and its row"
            )
    for name, path in whole.items():
        if name not in names:
            raise UserError(
                f"{str(path)!r} has no masked photo of the same name; add it and its row, "
                "or remove the whole photo"
            )
    return [
        Sample(sample.id, sample.input, whole[nfc(sample.id)], sample.boxes) for sample in masked
    ]


def _check_boxes(samples: Sequence[Sample], tables: Mapping[str, Path]) -> None:
    """Raises UserError for the first sample whose boxes do not fit or are not blank."""

    def problem(sample: Sample) -> str:
        path = sample.files[0]
        return _problem(path, path.stat().st_mtime_ns, sample.boxes)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = pool.map(problem, samples)
        bar = tqdm(problems, "checking boxes", len(samples), delay=2, leave=False)
        for sample, problem_text in zip(samples, bar, strict=True):
            if problem_text:
                pool.shutdown(cancel_futures=True)
                raise UserError(f"{str(tables[sample.id])!r}, row of {sample.id!r}: {problem_text}")


@functools.cache  # a run asks for each split more than once
def _problem(path: Path, changed_ns: int, boxes: tuple[Box, ...]) -> str:
    """What is wrong with the boxes of one damaged photo; "" when nothing is."""
    try:
        pixels = images.read(path)
    except UserError:
        return ""  # `tfrecon.data.check` lists all unreadable files together
    swapped = tuple((left, top, height, width) for top, left, height, width in boxes)
    if _blank(pixels, boxes):
        return ""
    if _blank(pixels, swapped):
        return (
            "x and y are swapped (the photo is blank at the transposed boxes only); columns 3 to 6 "
            "must be y1, x1, y2, x2, the row before the column, whatever the header calls them"
        )
    height, width = pixels.shape[:2]
    wrong = outside(boxes, height, width)
    if wrong is not None:
        return (
            f"the {describe(wrong)} reaches outside the photo ({height}×{width}); correct the row"
        )
    wrong = next(box for box in boxes if not _blank(pixels, (box,)))
    return f"the photo is not blank in the {describe(wrong)}; correct the row or replace the photo"


def _blank(pixels: np.ndarray, boxes: Sequence[Box]) -> bool:
    """Whether all boxes lie inside the photo (H,W,3) uint8 and are black there."""
    if outside(boxes, *pixels.shape[:2]) is not None:
        return False
    return all(
        np.mean(pixels[top : top + height, left : left + width] <= BLANK_VALUE) >= BLANK_SHARE
        for top, left, height, width in boxes
    )
