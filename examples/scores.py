"""The scores of a run as a Polars table: which method wins, and on which photos it fails.

Give it the folder of a run that was evaluated (`fit` ends with that): ``report/per_image.csv`` has
a row for each image and method, the damaged input and the classical fills among them. Takes a
second.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl


def main(run: str, method: str = "pix2pix", metric: str = "psnr") -> None:
    """Prints the mean of `metric` for each method, and on which photos `method` is worst.

    The method of a run is its model's name.
    """
    scores = pl.read_csv(Path(run) / "report/per_image.csv")
    means = scores.group_by("method").agg(pl.col(metric).mean(), pl.len().alias("images"))
    print(means.sort(metric, descending=True))
    print(scores.filter(pl.col("method") == method).sort(metric).select("id", metric).head(3))


if __name__ == "__main__":
    main(*sys.argv[1:])
