"""From one row an image and method to a summary: mean, spread and a bootstrap interval.

No tensor and no TensorFlow here. A missing value is NaN, and no average counts it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

RESAMPLES, LEVEL, SEED = 2000, 0.95, 0
HOLE = "hole_"
"""What the name of a column begins with whose metric looks at the holes only."""


@dataclass(frozen=True)
class Measure:
    """How a metric is shown: its label, which way is better (None: nearer to 0), number format."""

    label: str
    higher_is_better: bool | None
    form: str


MEASURES = {
    "mse": Measure("MSE", False, "#.3g"),
    "mse255": Measure("MSE 0–255", False, ".1f"),
    "nrmse": Measure("NRMSE", False, "#.3g"),
    "mae": Measure("MAE", False, "#.3g"),
    "psnr": Measure("PSNR (dB)", True, ".2f"),
    "ssim": Measure("SSIM 11×11", True, ".4f"),
    "ssim_uniform7": Measure("SSIM 7×7", True, ".4f"),
    "lpips_alex": Measure("LPIPS alex", False, ".4f"),
    "colour_shift": Measure("Colour shift", False, ".4f"),
    "checkerboard": Measure("Checkers (dB)", None, "+.2f"),
    "seam": Measure("Seam", None, "+.4f"),
}

NOTES = {
    ("mse", "nrmse", "mae"): "MSE, NRMSE, MAE: errors of values in [0,1]; lower is better, 0 is a "
    "perfect image. NRMSE is the error's norm over the target's. MSE 0–255: of values up to 255, "
    "65025 times as much.",
    ("psnr",): "PSNR: decibels for a data range of 1; higher is better, equal images count as 100.",
    ("ssim", "ssim_uniform7"): "SSIM 11×11: Gaussian window, σ = 1.5 (Wang et al. 2004). SSIM 7×7: "
    "uniform window, scikit-image's default. Higher is better, 1 is a perfect image.",
    ("lpips_alex",): "LPIPS alex: learned distance on AlexNet (Zhang et al. 2018, version 0.1); "
    "lower is better.",
    ("colour_shift", "checkerboard"): "Colour shift: mean signed error of R, G and B, root mean "
    "square; 0 is best. Checkers: energy of patterns of periods 2 and 4 over the target's; 0 is "
    "best, positive a grid, negative lost detail.",
    (HOLE + "seam",): "Seam: mean step across the borders of holes less the target's; 0 is best, "
    "positive a visible edge.",
}
"""What a reader needs to know of some columns."""

CELL_NOTE = (
    f"A cell holds mean ± standard deviation over the images and, in brackets, the {LEVEL:.0%} "
    f"interval of the mean (percentile bootstrap, {RESAMPLES} resamples)."
)

NO_LPIPS = (
    "LPIPS is left out: its weights are not in $TFRECON_WEIGHTS or the cache, or the images are "
    "too small for it."
)


@dataclass(frozen=True)
class Row:
    """What one method scored on one image; `values` by column name."""

    id: str
    method: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """One method and column over all images that have a value: how many, and their statistics.

    `std` is that of the sample (NaN for one image); all are NaN where no image has a value.
    """

    method: str
    column: str
    n: int
    mean: float
    std: float
    low: float
    high: float


Summary = list[Cell]


def csv_text(rows: Iterable[Row], columns: Sequence[str], header: bool = False) -> str:
    """CSV lines ``id,method,<columns>``; a missing value is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(["id", "method", *columns])
    for row in rows:
        writer.writerow([row.id, row.method, *(_csv_number(row.values[name]) for name in columns)])
    return text.getvalue()


def summarise(rows: Sequence[Row], columns: Sequence[str], seed: int = SEED) -> Summary:
    """The cells of every method (in order of appearance) and column."""
    by_method: dict[str, list[Row]] = {}
    for row in rows:
        by_method.setdefault(row.method, []).append(row)
    cells: Summary = []
    for method, own in by_method.items():
        values = np.array([[row.values[name] for name in columns] for row in own], np.float64)
        lows, highs = bootstrap(values, seed)
        for index, name in enumerate(columns):
            known = values[~np.isnan(values[:, index]), index]
            mean = float(known.mean()) if len(known) else math.nan
            std = float(known.std(ddof=1)) if len(known) > 1 else math.nan
            low, high = float(lows[index]), float(highs[index])
            cells.append(Cell(method, name, len(known), mean, std, low, high))
    return cells


def bootstrap(
    values: NDArray[np.float64], seed: int = SEED, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of the mean of each column (Efron 1979): lower and upper ends, (K,).

    values: (N,K), NaN where missing. Images are drawn with replacement, all columns alike.
    """
    random = np.random.default_rng(seed)
    count, width = values.shape
    known = ~np.isnan(values)
    # How often each image was drawn, times its value: no (resamples, N, K) array is needed.
    stacked = np.concatenate([np.where(known, values, 0.0), known], axis=1)
    sums = np.empty((resamples, 2 * width))
    for index in range(resamples):
        picked = cast(NDArray[np.int64], random.integers(count, size=count))
        drawn = np.bincount(picked, minlength=count)
        sums[index] = drawn @ stacked
    weights = sums[:, width:]
    means = np.where(weights > 0, sums[:, :width] / np.maximum(weights, 1), np.nan)
    ends = np.full((2, width), np.nan)
    for index in np.flatnonzero(known.any(axis=0)):
        tail = (1 - level) / 2
        ends[:, index] = np.nanquantile(means[:, index], (tail, 1 - tail))
    return ends[0], ends[1]


def summary_csv(cells: Summary) -> str:
    """One line a cell: method, region, metric, n, mean, std and the interval's ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "region", "metric", "n", "mean", "std", "low95", "high95"])
    for cell in cells:
        region = "holes" if cell.column.startswith(HOLE) else "image"
        numbers = (cell.mean, cell.std, cell.low, cell.high)
        metric = cell.column.removeprefix(HOLE)
        writer.writerow([cell.method, region, metric, cell.n, *map(_csv_number, numbers)])
    return text.getvalue()


def summary_text(cells: Summary) -> str:
    """Aligned tables of at most 80 columns for a terminal, holes first where there are any."""
    blocks: list[str] = []
    for title, columns in _regions(cells):
        blocks.append(f"{title}, {_images(cells, columns)}")
        width = 3 if max(map(len, _methods(cells))) <= 17 else 2
        for start in range(0, len(columns), width):
            part = columns[start : start + width]
            lines = [["", *map(_head, part)]]
            for method in _methods(cells):
                own = [find(cells, method, name) for name in part]
                lines.append([method, *map(_spread, own)])
                lines.append(["", *map(_interval, own)])
            blocks.append(aligned(lines))
    return "\n\n".join(blocks)


def summary_markdown(
    cells: Summary, heads: Sequence[str] = (), facts: Mapping[str, Sequence[str]] | None = None
) -> str:
    """One Markdown table a region; `facts` are first cells of a method, under `heads`."""
    blocks: list[str] = []
    for title, columns in _regions(cells):
        lines = [
            f"**{title}**, {_images(cells, columns)}",
            "",
            "| method | " + " | ".join([*heads, *map(_head, columns)]) + " |",
            "|---" * (len(heads) + len(columns) + 1) + "|",
        ]
        for method in _methods(cells):
            own = [find(cells, method, name) for name in columns]
            shown = (f"{_spread(cell)}<br>{_interval(cell)}" for cell in own)
            lines.append(
                f"| {method} | " + " | ".join([*(facts or {}).get(method, ()), *shown]) + " |"
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def verdicts(cells: Summary, model: str, others: Sequence[str] | None = None) -> list[str]:
    """Plain sentences on MSE and PSNR (of the holes where there are any) against `others`, or
    against all other methods."""
    prefix = HOLE if any(cell.column.startswith(HOLE) for cell in cells) else ""
    if others is None:
        others = [method for method in _methods(cells) if method != model]
    sentences: list[str] = []
    for name in ("mse", "psnr"):
        mine, measure = find(cells, model, prefix + name), MEASURES[name]
        for method in others:
            theirs = find(cells, method, prefix + name)
            gain = (mine.mean - theirs.mean) * (1 if measure.higher_is_better else -1)
            if not gain > 0:
                sentences.append(
                    f"{model} is NO better than the {method} on {_region_name(prefix)} "
                    f"{measure.label}: {_number(mine.mean, mine)} against "
                    f"{_number(theirs.mean, theirs)}."
                )
    if others and not sentences:
        names = ", ".join(others)
        sentences.append(
            f"{model} is better than each of: {names}; on {_region_name(prefix)} MSE and PSNR."
        )
    return sentences


def notes(cells: Summary) -> list[str]:
    """The notes on the columns that are there."""
    columns = {cell.column for cell in cells}
    return [note for names, note in NOTES.items() if columns & set(names)] + [CELL_NOTE]


def _region_name(prefix: str) -> str:
    return "hole" if prefix else "whole-image"


def _regions(cells: Summary) -> list[tuple[str, list[str]]]:
    columns = list(dict.fromkeys(cell.column for cell in cells))
    holes = [name for name in columns if name.startswith(HOLE)]
    whole = [name for name in columns if not name.startswith(HOLE)]
    found = [("Holes only", holes), ("Whole image", whole)]
    return [(title, names) for title, names in found if names]


def _methods(cells: Summary) -> list[str]:
    return list(dict.fromkeys(cell.method for cell in cells))


def psnr_column(cells: Summary) -> str:
    """``hole_psnr`` where there are holes, else ``psnr``."""
    hole = HOLE + "psnr"
    return hole if any(cell.column == hole for cell in cells) else "psnr"


def find(cells: Summary, method: str, column: str) -> Cell:
    """The cell of a method and column; StopIteration where there is none."""
    return next(cell for cell in cells if (cell.method, cell.column) == (method, column))


def _images(cells: Summary, columns: Sequence[str]) -> str:
    counts = sorted({cell.n for cell in cells if cell.column in columns})
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} by metric"


def _head(column: str) -> str:
    measure = MEASURES[column.removeprefix(HOLE)]
    arrow = {True: "↑", False: "↓", None: "→ 0"}[measure.higher_is_better]
    return f"{measure.label} {arrow}"


def _spread(cell: Cell) -> str:
    return f"{_number(cell.mean, cell)} ± {_number(cell.std, cell).removeprefix('+')}"


def _interval(cell: Cell) -> str:
    return f"[{_number(cell.low, cell)}, {_number(cell.high, cell)}]"


def _number(value: float, cell: Cell) -> str:
    form = MEASURES[cell.column.removeprefix(HOLE)].form
    return "–" if math.isnan(value) else format(value, form)


def _csv_number(value: float) -> str:
    return "" if math.isnan(value) else format(value, ".7g")


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown: list[str] = []
    for first, *cells in lines:
        places = (text.rjust(width) for text, width in zip(cells, widths[1:], strict=True))
        shown.append("  ".join([first.ljust(widths[0]), *places]).rstrip())
    return "\n".join(shown)
