"""Which range the files of more than 8 bits have: one decision for all those of a folder."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tfrecon.base.depth import OWN, Extent, usual_range
from tfrecon.base.errors import UserError
from tfrecon.data.photos import print_once
from tfrecon.data.sample import Sample
from tfrecon.data.store import Place

DARKER = 15
"""Photos that reach no more than this part of the range of their folder are warned of: those of 12
bits among such of 16 are."""


def found(
    extents: Mapping[Place, Extent], asked: float | Literal["auto"]
) -> dict[Place, float | None]:
    """The range of each page; None is its type's own. `asked` is that of all, or ``"auto"``: as
    `usual_range` says of those of one folder and kind. Prints what was decided.

    Raises UserError where that could be more than one.
    """
    groups: defaultdict[tuple[Path, str], list[Place]] = defaultdict(list)
    for place, extent in extents.items():
        groups[place[0].parent, extent.kind].append(place)
    of_place: dict[Place, float | None] = {}
    for (folder, kind), places in groups.items():
        highs = [e.high for place in places if math.isfinite((e := extents[place]).high)] or [1.0]
        largest = usual_range(kind, highs) if asked == "auto" else asked
        if largest is None:
            raise UserError(_ambiguous(folder, kind, max(highs)))
        print_once(f"{kind} files of {str(folder)!r} read with range {largest:,g}")
        dark = [path for path, page in places if extents[path, page].most <= largest / DARKER]
        if dark:
            print_once(
                f"warning: {len(dark)} of them are black or nearly so in that range, e.g. "
                f"{dark[0].name!r}"
            )
        of_place |= dict.fromkeys(places, largest if largest != OWN[kind] else None)
    return of_place


def with_range(sample: Sample, found: Mapping[Place, float | None]) -> Sample:
    """The sample with the range `found` for its files, unless it has one. Raises UserError where
    its files have two."""
    places = [(path, sample.page) for path in sample.files if (path, sample.page) in found]
    own = {found[place] for place in places}
    if sample.range is not None or not own:
        return sample
    if len(own) > 1:
        raise UserError(
            f"the files of {sample.id!r}, {' and '.join(repr(str(path)) for path, _ in places)}, "
            "have values of different ranges; save both with the same"
        )
    return dataclasses.replace(sample, range=own.pop())


def _ambiguous(folder: Path, kind: str, highest: float) -> str:
    where = f"{kind} files of {str(folder)!r} hold values up to {highest:,.4g}"
    usual = next((2**bits - 1 for bits in (8, 10, 12, 14) if highest <= 1.01 * (2**bits - 1)), 0)
    if kind == "32-bit float" or not usual:
        return (
            f"{where}: neither 0 to 1 nor 0 to 255 nor 0 to 65,535; scale them, or say which value "
            f"is white with data.range={highest:.4g} {_WHERE}"
        )
    return (
        f"{where}: they may be dark ones of 16 bits, or {usual:,} is white; say which with "
        f"data.range={usual} or data.range=65535 {_WHERE}"
    )


_WHERE = "(evaluate, submit and reconstruct: --range)"
