"""Reads every file of a data set once before the long work starts, and reports all that fail."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.data.boxes import describe, drawn, outside
from tfrecon.data.sample import Sample
from tfrecon.data.store import Read

SHOWN = 20
"""Unreadable files that an error names; it counts the rest."""

Size = tuple[int, int]


def readable(
    samples: Sequence[Sample], skip_unreadable: bool = False, read: Read | None = None
) -> list[Sample]:
    """The samples whose files all decode, in order; what they declare is checked against the files.
    `read` takes the place of `images.read`.

    Raises one UserError that lists all unreadable files, or, with `skip_unreadable`, drops their
    samples and prints how many. Also raises UserError when input and target differ in size, and
    when a box or region reaches outside its file.
    """
    sizes, reasons = _decode(samples, read or images.read)
    if reasons and not skip_unreadable:
        raise UserError(_listing(reasons))
    kept = [sample for sample in samples if not reasons.keys() & set(sample.files)]
    if not kept:
        raise UserError(f"none of the {len(samples)} samples is readable; {_listing(reasons)}")
    if reasons:
        print(
            f"skipping {len(samples) - len(kept)} of {len(samples)} samples: "
            f"{len(reasons)} unreadable files"
        )
    for sample in kept:
        _check_declared(sample, sizes)
    return kept


def unreadable(samples: Sequence[Sample]) -> list[tuple[Sample, str]]:
    """Samples of which a file does not decode, each with the reason; every file is read once."""
    _, reasons = _decode(samples, images.read)
    return [
        (sample, reasons[path]) for sample in samples for path in sample.files if path in reasons
    ]


def _decode(samples: Sequence[Sample], read: Read) -> tuple[dict[Path, Size], dict[Path, str]]:
    """Height and width of each file that decodes, and why each other file does not."""
    files = list(dict.fromkeys(path for sample in samples for path in sample.files))

    def decode(path: Path) -> Size | str:
        try:
            height, width, _ = read(path).shape
        except UserError as error:
            return str(error)
        return height, width

    sizes: dict[Path, Size] = {}
    reasons: dict[Path, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(decode, files)
        bar = tqdm(results, "checking images", len(files), unit="file", delay=2, leave=False)
        for path, result in zip(files, bar, strict=True):
            if isinstance(result, str):
                reasons[path] = result
            else:
                sizes[path] = result
    return sizes, reasons


def _listing(reasons: dict[Path, str]) -> str:
    if len(reasons) == 1:
        return f"{next(iter(reasons.values()))}, or go on without it with --skip-unreadable"
    names = sorted(str(path) for path in reasons)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"{len(names)} image files cannot be read: {', '.join(names[:SHOWN])}{more}; replace or "
        "remove them, or go on without them with --skip-unreadable"
    )


def _check_declared(sample: Sample, sizes: dict[Path, Size]) -> None:
    """Raises UserError unless the files of a sample are equally large and hold what it declares."""
    first = sample.files[0]
    for path in sample.files:
        height, width = sizes[path]
        if sizes[path] != sizes[first] and not sample.resize_input:
            raise UserError(
                f"input {str(first)!r} is {sizes[first][0]}×{sizes[first][1]} and its target "
                f"{str(path)!r} is {height}×{width}; a pair must have equal sizes, so replace one"
            )
        rectangles = (*sample.boxes, *((sample.region,) if sample.region else ()))
        if wrong := outside(rectangles, height, width):
            raise UserError(
                f"the {describe(wrong)} of {sample.id!r} reaches outside {str(path)!r} "
                f"({height}×{width}); correct the recipe or its table"
            )
        if _nothing_known(sample, height, width):
            raise UserError(
                f"the boxes of {sample.id!r} cover all of {str(path)!r}: nothing known is left to "
                "restore from; correct the recipe or its table"
            )


def _nothing_known(sample: Sample, height: int, width: int) -> bool:
    """Whether the boxes together cover the file, or the region of it that the sample is."""
    top, left, high, wide = sample.region or (0, 0, height, width)
    if sum(box[2] * box[3] for box in sample.boxes) < high * wide:
        return False
    mask = drawn(sample.boxes, height, width)
    return bool(mask[top : top + high, left : left + wide].all())
