"""Damaged rectangles: reading a contest's table of them, and checking that they fit an image."""

import csv
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base.errors import UserError, foreign
from tfrecon.base.platforms import nfc
from tfrecon.data.sample import Box

LAYOUT = "index, filename, y1, x1, y2, x2"
"""Columns of ``masked_info.csv``, read by position, as the names in its header vary."""

MOST = 2**31
"""No file has a pixel so far out."""


class BoxTable(Mapping[str, tuple[Box, Box]]):
    """The two boxes of each photo by file name, in the table's order; 70 bytes a row, where tuples
    would take 700. Names are found as `nfc` compares them, and given as the table writes them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._names = bytearray()
        self._ends = array("Q")  # of the names
        self._hashes = array("q")
        self._lines = array("Q")
        self._corners = array("i")  # four a row
        self._order: Any = np.zeros(0, np.int64)
        self._sorted: Any = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        return map(self._name, range(len(self)))

    def __getitem__(self, name: str) -> tuple[Box, Box]:
        for row in self._rows_of(name):
            y1, x1, y2, x2 = self._corners[4 * row : 4 * row + 4]
            return (y1, x1, self._size, self._size), (y2, x2, self._size, self._size)
        raise KeyError(name)

    def append(self, name: str, corners: Sequence[int], line: int) -> None:
        """Adds a row; `index` finds it."""
        self._names += name.encode()
        self._ends.append(len(self._names))
        self._hashes.append(hash(nfc(name)))
        self._lines.append(line)
        self._corners.extend(corners)

    def index(self, path: Path) -> None:
        """Makes all names findable. Raises UserError for the first that is listed twice."""
        hashes = np.frombuffer(self._hashes, np.int64)
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]
        alike = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        for row in sorted(self._order[alike + 1].tolist()):
            name = self._name(row)
            first = next(self._rows_of(name))
            if first < row:
                raise UserError(
                    f"{str(path)!r}, line {self._lines[row]}: {name!r} is also listed in line "
                    f"{self._lines[first]}; remove one of them"
                )

    def _name(self, row: int) -> str:
        return self._names[self._ends[row - 1] if row else 0 : self._ends[row]].decode()

    def _rows_of(self, name: str) -> Iterator[int]:
        """The rows of this name, from the first."""
        name = nfc(name)
        for place in range(int(np.searchsorted(self._sorted, hash(name))), len(self)):
            if self._sorted[place] != hash(name):
                return
            row = int(self._order[place])
            if nfc(self._name(row)) == name:
                yield row


def read_boxes(path: str | os.PathLike[str], size: int = 75) -> Mapping[str, tuple[Box, Box]]:
    """The two boxes of each photo in a ``masked_info.csv`` by file name, in the table's order.

    The first line is a header. The columns are LAYOUT, where y and x are the row and column of a
    box's top-left corner; further columns are ignored. Boxes are `size` pixels wide and high. Cells
    stand between commas, semicolons or tabs, whichever the header has most of.
    Raises UserError naming file and line for a missing file, header or column, a coordinate that is
    no whole number of at least 0, a name that is no plain file name, and a name listed twice.
    """
    path, boxes, header = Path(path), BoxTable(size), True
    for number, row in _rows(path):
        where = f"{str(path)!r}, line {number}"
        if len(row) < 6:
            raise UserError(
                f"{where}: {len(row)} columns instead of {LAYOUT!r}; add the missing columns"
            )
        if header:
            if all(cell.lstrip("-").isdecimal() for cell in row[2:6]):
                raise UserError(
                    f"{str(path)!r} starts with a data row; add a header line such as {LAYOUT!r}"
                )
            header = False
            continue
        name = row[1]
        if not name.strip(".") or not name.isprintable() or set(name) & set("/\\:"):
            raise UserError(
                f"{where}: {name!r} is not a plain file name; "
                "write the name without folders, drive or '..'"
            )
        boxes.append(name, [_coordinate(text, where) for text in row[2:6]], number)
    if header:
        raise UserError(f"{str(path)!r} is empty; its first line must be a header like {LAYOUT!r}")
    boxes.index(path)
    return boxes


def outside(boxes: Iterable[Box], height: int, width: int) -> Box | None:
    """The first box that reaches outside an image of `height` × `width` pixels, or None."""
    for top, left, tall, wide in boxes:
        inside = 0 <= top <= height - tall and 0 <= left <= width - wide
        if not inside or min(tall, wide) < 1:
            return top, left, tall, wide
    return None


def drawn(boxes: Iterable[Box], height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(height,width,1) with 255 inside the boxes and 0 elsewhere."""
    mask = np.zeros((height, width, 1), np.uint8)
    for top, left, tall, wide in boxes:
        mask[top : top + tall, left : left + wide] = 255
    return mask


def describe(box: Box) -> str:
    """``75×75 box at row 30, column 12``, for error messages."""
    top, left, height, width = box
    return f"{height}×{width} box at row {top}, column {left}"


def nothing_known(what: str, file: Path, remedy: str) -> UserError:
    """The error where `what`, with its verb, hides a whole file."""
    return UserError(
        f"{what} all of {str(file)!r}: nothing known is left to restore from; {remedy}"
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line number and cells of each line that is not blank."""
    if not path.is_file():
        raise UserError(f"table of boxes {str(path)!r} does not exist; its columns are {LAYOUT!r}")
    yield from csv_rows(path, "table of boxes")


def csv_rows(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """The line number and cells of each line of a CSV file that is not blank; cells stand between
    commas, semicolons or tabs, whichever its first line has most of. Raises UserError, which calls
    the file a `what`, for one that is no such table."""
    with (
        foreign(what, path, "save it as one", "is no UTF-8 CSV table"),
        path.open(newline="", encoding="utf-8-sig") as file,
    ):
        header = next((line for line in file if line.strip()), "")
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=header.count))
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if any(row):
                yield reader.line_num, row


def _coordinate(text: str, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 <= value < MOST and value.is_integer()):
        raise UserError(
            f"{where}: {text!r} is no pixel position; write a whole number of at least 0"
        )
    return int(value)
