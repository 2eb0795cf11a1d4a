"""Grids of a few images: one row of pictures an image, with its name and score above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfrecon.base import images

CELL, GAP, LABEL, FONT = 256, 8, 26, 15
"""Pixels: the longest side of a shown image, the space between, the height of a line of text."""
ERROR_SCALE = 5
"""How much brighter than it is an error map shows the mean absolute error of a pixel."""
ERROR_MAP = f"error x {ERROR_SCALE}"
"""Name of the column of error maps."""


@dataclass(frozen=True)
class Example:
    """One row of a grid: images (H,W,3) in [0,1] and the text above them."""

    label: str
    pictures: tuple[Any, ...]


def grid(title: str, columns: Sequence[str], examples: Sequence[Example]) -> np.ndarray[Any, Any]:
    """The grid as (H,W,3) uint8: title, names of the columns, then one row an example."""
    rows = [[_fitted(picture) for picture in example.pictures] for example in examples]
    width = len(columns) * (CELL + GAP) + GAP
    height = 2 * LABEL + sum(LABEL + GAP + max(p.height for p in row) for row in rows)
    canvas = Image.new("RGB", (width, height + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT)
    draw.text((GAP, GAP // 2), _shortened(title, draw, font, width), "black", font)
    for column, name in enumerate(columns):
        draw.text((_left(column), LABEL), name, "black", font)
    top = 2 * LABEL
    for example, row in zip(examples, rows, strict=True):
        draw.text((GAP, top), _shortened(example.label, draw, font, width), "black", font)
        top += LABEL
        for column, picture in enumerate(row):
            canvas.paste(picture, (_left(column), top))
        top += max(picture.height for picture in row) + GAP
    return np.asarray(canvas)


def _left(column: int) -> int:
    return GAP + column * (CELL + GAP)


def _fitted(picture: Any) -> Image.Image:
    """`picture` with its longest side at CELL pixels: small ones enlarged in whole pixels."""
    shown = Image.fromarray(images.to_uint8(np.asarray(picture)))
    longest = max(shown.size)
    if longest <= CELL // 2:
        factor = CELL // longest
        return shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)
    if longest > CELL:
        shown.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return shown


def _shortened(text: str, draw: Any, font: Any, width: int) -> str:
    """`text`, with its middle left out where it would not fit."""
    while draw.textlength(text, font) > width - 2 * GAP:
        middle = len(text) // 2
        text = f"{text[: middle - 2]}…{text[middle + 1 :]}"
    return text
