"""Reads every file of a data set once before the long work starts, and reports all that fail."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tfrecon.base.bars import tqdm
from tfrecon.base.depth import Extent
from tfrecon.base.errors import UserError, some
from tfrecon.base.spread import Each, Work, here
from tfrecon.data import value_ranges
from tfrecon.data.boxes import describe, drawn, nothing_known, outside
from tfrecon.data.masks import check_masks
from tfrecon.data.sample import Sample
from tfrecon.data.store import Place, Reader

SHOWN = 20
"""Unreadable files that an error names; it counts the rest."""

FEW = 10_000
"""So many files are decoded sooner than other processes begin."""


@dataclass(frozen=True)
class Look:
    """What is kept of a page that was decoded; its extent where its values have to be scaled."""

    height: int
    width: int
    extent: Extent | None


def readable(
    samples: Sequence[Sample], skip_unreadable: bool = False, reader: Reader | None = None,
    range: float | Literal["auto"] = "auto", each: Each = here,
) -> list[Sample]:  # fmt: skip
    """The samples whose files all decode, in order; what they declare is checked against the files.
    `reader` decodes them, many where `each` says. Each has its `range`: its own, as given, or
    found by `value_ranges`.

    Raises one UserError that lists all unreadable files, or, with `skip_unreadable`, drops their
    samples and prints how many. Also raises UserError when input and target differ in size, when
    a box or region reaches outside its file, a mask does not fit, as `check_masks` says, and where
    the range of files cannot be told.
    """
    ranged, looks, reasons = _looked_at(samples, reader or Reader(), range, each)
    if reasons and not skip_unreadable:
        raise UserError(_listing(reasons))
    kept = [sample for sample in ranged if not reasons.keys() & set(_places(sample))]
    if not kept:
        raise UserError(f"none of the {len(samples)} samples is readable; {_listing(reasons)}")
    if reasons:
        print(
            f"skipping {len(samples) - len(kept)} of {len(samples)} samples: "
            f"{len({path for path, _ in reasons})} unreadable files"
        )
    for sample in kept:
        _check_declared(sample, looks)
    if masked := [sample for sample in kept if sample.mask]:
        check_masks(masked)
    return kept


def unreadable(
    samples: Sequence[Sample], range: float | Literal["auto"] = "auto"
) -> tuple[list[Sample], list[tuple[Sample, str]]]:
    """The samples with their `range`, and those of which a file does not decode, each with the
    reason; every file is read once. Raises UserError where the range of files cannot be told."""
    ranged, _, reasons = _looked_at(samples, Reader(), range)
    bad = [(s, reasons[place]) for s in ranged for place in _places(s) if place in reasons]
    return ranged, bad


def _looked_at(
    samples: Sequence[Sample], reader: Reader, range: float | Literal["auto"], each: Each = here
) -> tuple[list[Sample], dict[Place, Look], dict[Place, str]]:
    """The samples with their range, each page that decodes, and why each other does not."""
    looks, reasons = _decode(samples, reader, each)
    extents = {place: look.extent for place, look in looks.items() if look.extent}
    ranged = list(samples)
    if extents:
        found = value_ranges.found(extents, range)
        ranged = [value_ranges.with_range(sample, found) for sample in samples]
        for sample in ranged:
            for place in _places(sample):
                if place in extents and (problem := extents[place].problem(sample.range)):
                    reasons[place] = f"image file {str(place[0])!r} {problem}"
    return ranged, looks, reasons


def _places(sample: Sample) -> list[Place]:
    return [(path, sample.page) for path in sample.files]


def _decode(
    samples: Sequence[Sample], reader: Reader, each: Each
) -> tuple[dict[Place, Look], dict[Place, str]]:
    """What each page that decodes holds, and why each other does not."""
    places = list(dict.fromkeys(place for sample in samples for place in _places(sample)))
    looks: dict[Place, Look] = {}
    reasons: dict[Place, str] = {}
    where = each if len(places) > FEW else here
    results = where(functools.partial(_looking, reader), places)
    bar = tqdm(results, "checking images", len(places), unit="file", delay=2, leave=False)
    for place, result in zip(places, bar, strict=True):
        if isinstance(result, str):
            reasons[place] = result
        else:
            looks[place] = result
    return looks, reasons


def _looking(reader: Reader) -> Work[Place, Look | str]:
    """What a page holds, or why it does not decode."""

    def decode(place: Place) -> Look | str:
        try:
            stored = reader.decoded(*place)
        except UserError as error:
            return str(error)
        return Look(*stored.values.shape[:2], stored.extent() if stored.kind else None)

    def look(places: Iterable[Place]) -> Iterator[Look | str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(decode, places)

    return look


def _listing(reasons: dict[Place, str]) -> str:
    if len(reasons) == 1:
        return f"{next(iter(reasons.values()))}, or go on without it with --skip-unreadable"
    names = sorted({str(path) for path, _ in reasons})
    return (
        f"{len(names)} image files cannot be read: {some(names, SHOWN)}; replace or remove them, "
        "or go on without them with --skip-unreadable"
    )


def _check_declared(sample: Sample, looks: dict[Place, Look]) -> None:
    """Raises UserError unless the files of a sample are equally large and hold what it declares."""
    first, *_ = sizes = [(looks[place].height, looks[place].width) for place in _places(sample)]
    for path, (height, width) in zip(sample.files, sizes, strict=True):
        if (height, width) != first and not sample.resize_input:
            raise UserError(
                f"input {str(sample.files[0])!r} is {first[0]}×{first[1]} and its target "
                f"{str(path)!r} is {height}×{width}; a pair must have equal sizes, so replace "
                "one (recipe 'folder' has the option resize_inputs=true)"
            )
        rectangles = [*sample.boxes, *(r for r in (sample.region, sample.input_region) if r)]
        if wrong := outside(rectangles, height, width):
            raise UserError(
                f"the {describe(wrong)} of {sample.id!r} reaches outside {str(path)!r} "
                f"({height}×{width}); correct the recipe or its table"
            )
        if _nothing_known(sample, height, width):
            raise nothing_known(
                f"the boxes of {sample.id!r} cover", path, "correct the recipe or its table"
            )


def _nothing_known(sample: Sample, height: int, width: int) -> bool:
    """Whether the boxes together cover the file, or the region of it that the sample is."""
    top, left, high, wide = sample.region or (0, 0, height, width)
    if sum(box[2] * box[3] for box in sample.boxes) < high * wide:
        return False
    mask = drawn(sample.boxes, height, width)
    return bool(mask[top : top + high, left : left + wide].all())
