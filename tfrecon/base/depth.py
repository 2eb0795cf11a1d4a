"""Images of more than 8 bits: what their values mean.

A file of 16 bits may hold values up to 65,535, or those of a camera up to 4,095; floats may end at
1 or at 255. The file does not tell. `usual_range` answers for the files of one folder together, and
`Stored` refuses to scale values that do not fit the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecon.base.errors import UserError

OWN = {"16-bit": 65535.0, "16-bit colour": 65535.0, "32-bit": 65535.0, "32-bit float": 1.0}
"""The kinds of files whose values have to be scaled, and what their largest value is where nobody
says otherwise."""

STRAY = 0.001
"""So large a share of an image's values may lie outside its range, and is clipped."""

TOLERANCE = 0.05
"""Values this share of the range outside it count as inside: filters overshoot."""

DARK = 2**14 - 1
"""Whole numbers that do not exceed it may have 16 bits and be dark, or have fewer bits."""

FLOAT_RANGES = (1.0, 255.0, 65535.0)

AT_ONCE = 2**20
"""Values that are scaled together."""

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Stored:
    """The values of an image file as they are stored, upright.

    Without a `kind` they mean what they say: (H,W,3) uint8, or (H,W) float32 in [0,1]. With one of
    OWN they are (H,W), or (H,W,3) for colour, in a range that the type does not tell.
    """

    path: str
    values: Values
    kind: str = ""

    def to_uint8(self, range: float | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(H,W,3). `range` is the largest value of a file of some kind, 0 the smallest; None takes
        that of OWN. Raises UserError naming the file where its values do not fit."""
        if self.values.dtype == np.uint8:
            return self.values
        return _rgb(self._scaled(range, lambda unit: np.rint(unit * 255).astype(np.uint8)))

    def to_float(self, range: float | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(H,W,3) in [0,1], with all bits; otherwise as `to_uint8`."""
        if self.values.dtype == np.uint8:
            return self.values.astype(np.float32) / np.float32(255)
        return _rgb(self._scaled(range, lambda unit: unit.astype(np.float32)))

    def extent(self) -> Extent:
        """How far the values of a file of some kind reach."""
        flat = self.values.ravel()
        first, last = int(STRAY * flat.size), int((1 - STRAY) * (flat.size - 1))
        ordered = np.partition(flat, sorted({first, last}))
        low, high = ordered[first], ordered[last]
        return Extent(self.kind, *map(float, (flat.min(), low, high, flat.max())))

    def _scaled(self, range: float | None, finish: Callable[[Values], Values]) -> Values:
        """The values in [0,1], finished. A few rows at a time: as float64, which rounding wants,
        the whole would take much memory."""
        largest = (range or OWN[self.kind]) if self.kind else 1.0
        if self.kind:
            least, most = float(self.values.min()), float(self.values.max())
            # Most fit as they are; else it matters how many do not, which takes longer to see.
            if Extent(self.kind, least, least, most, most).problem(range) and (
                problem := self.extent().problem(range)
            ):
                raise UserError(f"image file {self.path!r} {problem}")
        blocks = np.array_split(self.values, 1 + self.values.size // AT_ONCE)
        units = (np.clip(block.astype(np.float64) / largest, 0, 1) for block in blocks)
        return np.concatenate([finish(unit) for unit in units])


@dataclass(frozen=True)
class Extent:
    """How far the values of a file of a `kind` of OWN reach: from `least` to `most`, from `low` to
    `high` but for a share of STRAY on either side."""

    kind: str
    least: float
    low: float
    high: float
    most: float

    def problem(self, range: float | None) -> str:
        """What does not fit into 0 … `range`, that of OWN for None, as the end of a sentence; ""
        where all does."""
        largest = range or OWN[self.kind]
        if not np.isfinite((self.least, self.most)).all():
            return "has pixels that are no number (NaN or infinite); fill them, or remove the file"
        if self.kind == "16-bit colour" and largest != OWN[self.kind]:
            return (
                f"has colours of 16 bits, of which only the upper 8 are read, and a range of "
                f"{largest:,g} does not show in them; scale it to {OWN[self.kind]:,g}, or save it "
                "with 8 bits"
            )
        slack = TOLERANCE * largest
        if (
            self.low < -slack or self.high > largest + slack
            or self.least < -largest or self.most > 2 * largest
        ):  # fmt: skip
            return (
                f"holds values from {self.least:,.6g} to {self.most:,.6g}, far outside the range "
                f"of 0 to {largest:,g}; scale it, or say its range with data.range (--range)"
            )
        return ""


def usual_range(kind: str, highs: Sequence[float]) -> float | None:
    """The largest value of files of one kind and folder, by their `Extent.high`; None where it
    could be more than one.

    Whole numbers are of 16 bits if any exceeds 14 bits: photos that dark are rare, and values of 10
    or 12 bits usual. Floats end at 1, 255 or 65,535, whichever is the first to hold most files.
    """
    highest, middle = max(highs), float(np.median(highs))
    if kind != "32-bit float":
        return OWN[kind] if highest > DARK or not highest else None  # black is black in any
    largest = next((usual for usual in FLOAT_RANGES if middle <= (1 + TOLERANCE) * usual), None)
    return largest if largest and (largest == 1 or highest > largest / 4) else None


def _rgb(values: Values) -> Values:
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=-1)
