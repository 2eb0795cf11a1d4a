"""The 50,000 validation photos of ILSVRC2012 (Russakovsky et al., IJCV 2015), split 80/10/10.

`root` is the flat folder of ``ILSVRC2012_val_00000001.JPEG`` and so on, with the development kit's
``ILSVRC2012_validation_ground_truth.txt`` among them (one class number a line; needed for
`per_class` only), or holds one folder of photos for each class. The split is by a hash of the
stem, the same in both layouts and for any part of the photos.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tfrecon.base.errors import UserError
from tfrecon.data.photos import drawn, is_photo, photos, photos_by_class
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample, split_by_hash

SPLITS = ("train", "val", "test")
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
PREFIX, COUNT = "ILSVRC2012_val_", 50_000


def samples(root: Path | None, split: str, *, per_class: int | None = None) -> list[Sample]:
    """The photos of one split, sorted by id: the stem, or ``<class>/<stem>`` from class folders.

    `per_class` takes so many photos of each class, drawn by seed 42, before they are split. Raises
    UserError for a missing or empty folder, two files of one stem in a folder, a ground-truth file
    that does not fit the photos, and a class of fewer than `per_class`.
    """
    folder = required_root(root, "imagenet_val")
    if any(is_photo(path) for path in folder.iterdir()):
        paths = {path.stem: path for path in photos(folder, used=(TRUTH,))}
        classes = _classes(folder / TRUTH, list(paths), required=per_class is not None)
    else:
        named = photos_by_class(folder)
        paths = {f"{name}/{path.stem}": path for name in named for path in named[name]}
        classes = {name: [f"{name}/{path.stem}" for path in named[name]] for name in named}
    ids = sorted(paths)
    if per_class is not None:
        ids = sorted(each for name in classes for each in _of_class(name, classes[name], per_class))
    return [
        Sample(each, target=paths[each]) for each in ids if split_by_hash(paths[each].stem) == split
    ]


def _of_class(name: str, ids: list[str], count: int) -> list[str]:
    if len(ids) < count:
        raise UserError(f"class {name!r} has {len(ids)} photos, but per_class is {count}; lower it")
    return drawn(ids, count, seed=42)


def _classes(truth: Path, stems: list[str], required: bool) -> dict[str, list[str]]:
    """The stems of each class by `truth`: line n is photo n, or the n-th of the folder."""
    if not truth.is_file():
        if required:
            raise UserError(f"per_class needs {str(truth)!r}; add it from the development kit")
        return {}
    lines = truth.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    if len(lines) not in (COUNT, len(stems)):
        raise UserError(
            f"{str(truth)!r} has {len(lines)} lines for {len(stems)} photos; it needs one for each "
            f"photo of the folder, or all {COUNT}"
        )
    for number, line in enumerate(lines, start=1):
        if not line.strip().isdecimal():
            raise UserError(f"{str(truth)!r}, line {number}: expected a class number, not {line!r}")
    classes: dict[str, list[str]] = defaultdict(list)
    for place, stem in enumerate(stems):
        classes[lines[_number(stem) - 1 if len(lines) == COUNT else place].strip()].append(stem)
    return classes


def _number(stem: str) -> int:
    """17 for ``ILSVRC2012_val_00000017``."""
    digits = stem.removeprefix(PREFIX)
    if digits == stem or not digits.isdecimal() or not 1 <= int(digits) <= COUNT:
        raise UserError(
            f"photo {stem!r} has no line among the {COUNT} of {TRUTH}; expected names from "
            f"{PREFIX}00000001 to {PREFIX}000{COUNT}"
        )
    return int(digits)
