"""Damaged rectangles: reading a contest's table of them, and checking that they fit an image."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base.errors import UserError, foreign
from tfrecon.data.sample import Box

LAYOUT = "index, filename, y1, x1, y2, x2"
"""Columns of ``masked_info.csv``, read by position, as the names in its header vary."""


def read_boxes(path: str | os.PathLike[str], size: int = 75) -> dict[str, tuple[Box, Box]]:
    """The two boxes of each photo in a ``masked_info.csv`` by file name, in the table's order.

    The first line is a header. The columns are LAYOUT, where y and x are the row and column of a
    box's top-left corner; further columns are ignored. Boxes are `size` pixels wide and high.
    Raises UserError naming file and line for a missing file, header or column, a coordinate that is
    no whole number of at least 0, a name that is no plain file name, and a name listed twice.
    """
    path = Path(path)
    lines = _lines(path)
    if not lines:
        raise UserError(f"{str(path)!r} is empty; its first line must be a header like {LAYOUT!r}")
    for number, row in lines:
        if len(row) < 6:
            raise UserError(
                f"{str(path)!r}, line {number}: {len(row)} columns instead of {LAYOUT!r}; add the "
                "missing columns"
            )
    if all(cell.lstrip("-").isdecimal() for cell in lines[0][1][2:6]):
        raise UserError(
            f"{str(path)!r} starts with a data row; add a header line such as {LAYOUT!r}"
        )
    boxes: dict[str, tuple[Box, Box]] = {}
    line_of: dict[str, int] = {}
    for number, row in lines[1:]:
        where, name = f"{str(path)!r}, line {number}", row[1]
        if not name.strip(".") or not name.isprintable() or set(name) & set("/\\:"):
            raise UserError(
                f"{where}: {name!r} is not a plain file name; "
                "write the name without folders, drive or '..'"
            )
        if name in boxes:
            raise UserError(
                f"{where}: {name!r} is also listed in line {line_of[name]}; remove one of them"
            )
        y1, x1, y2, x2 = (_coordinate(text, where) for text in row[2:6])
        boxes[name] = ((y1, x1, size, size), (y2, x2, size, size))
        line_of[name] = number
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


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The line number and cells of each line that is not blank."""
    if not path.is_file():
        raise UserError(f"table of boxes {str(path)!r} does not exist; its columns are {LAYOUT!r}")
    with (
        foreign("table of boxes", path, "save it as one", "is no UTF-8 CSV table"),
        path.open(newline="", encoding="utf-8") as file,
    ):
        reader = csv.reader(file)
        return [
            (reader.line_num, [cell.strip() for cell in row])
            for row in reader
            if any(cell.strip() for cell in row)
        ]


def _coordinate(text: str, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (value >= 0 and value.is_integer()):
        raise UserError(
            f"{where}: {text!r} is no pixel position; write a whole number of at least 0"
        )
    return int(value)
