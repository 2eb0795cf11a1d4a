"""The key format of Kaggle's contest Denoising Dirty Documents: each pixel of a page, a line each.

A line is ``{image}_{row}_{column},value``: row and column count from 1, down each column in turn,
as the contest's own example does (1_1_1, 1_2_1, 1_3_1); values are grey from 0, black, to 1, white.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tfrecon.base import images
from tfrecon.data.sample import Sample

HEADER = ("id", "value")


def ids(sample: Sample) -> pl.Series:
    """The H·W keys of one page."""
    height, width = images.size(sample.files[0])
    columns = pl.DataFrame({"column": [f"_{column}" for column in range(1, width + 1)]})
    rows = pl.DataFrame({"row": [f"{sample.id}_{row}" for row in range(1, height + 1)]})
    grid = columns.join(rows, how="cross", maintain_order="left_right")
    return grid.select(id=pl.col("row") + pl.col("column"))["id"]


def values(sample: Sample, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The grey values of `image` (H,W,3), the mean of its channels, in the order of `ids`."""
    return image.mean(axis=-1).T.reshape(-1)
