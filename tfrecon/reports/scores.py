"""Scores as one long frame, and their summary: mean, spread and a bootstrap interval.

A frame has the columns `method`, `region` (``image`` or ``holes``), `metric`, `image` (the sample's
id) and `value`. A missing value is NaN. Where a method failed, as its output is not finite, all its
values are `Measure.worst`, infinitely bad: below all others in ranks and tests. No average counts
either, so a method that failed ranks below those that did so on fewer images, whatever its mean.
"""

import csv
import functools
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tfrecon.metrics.measures import FAILED, HOLE, MEASURES, Measure
from tfrecon.reports.tables import Field

RESAMPLES, LEVEL, SEED = 2000, 0.95, 0

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""What formulas of spreadsheets begin with, and what tells that a text is none."""

Values = NDArray[np.float64]
"""(N,): one value an image, NaN where it has none and infinite where the method failed."""


@dataclass(frozen=True)
class Cell:
    """One method and column over the `n` images that have a finite value.

    `low` and `high` are the ends of the interval of the mean. `std` is that of the sample, NaN for
    one image; all are NaN where no image has a value.
    """

    method: str
    column: str
    n: int
    mean: float
    std: float
    low: float
    high: float

    @property
    def measure(self) -> Measure:
        """What is known of the column."""
        return MEASURES[self.column]

    @property
    def interval(self) -> str:
        """``[20.1, 20.3]``."""
        return self.measure.interval(self.low, self.high)

    def field(self, *, std: bool = False, strong: bool = False) -> Field:
        """The mean, with ± the deviation on demand, as all tables show it: the interval as note."""
        text = self.measure.number(self.mean)
        if std:
            text += f" ± {self.measure.number(self.std).removeprefix('+')}"
        value = abs(self.mean) if self.measure.better == "zero" else self.mean
        return Field(text, self.interval, None if math.isnan(value) else value, strong)


Summary = dict[tuple[str, str], Cell]
"""Cells by method and column, in the order of the scores."""


@dataclass(frozen=True, eq=False)
class Board:
    """The scores of methods on the same images, and `metric`, the column that ranks them."""

    scores: pl.DataFrame
    metric: str

    @functools.cached_property
    def summary(self) -> Summary:
        """Mean, spread and interval of each method and column."""
        return summarise(self.scores)

    @functools.cached_property
    def ids(self) -> list[str]:
        """The images, in the order of `values`."""
        return images_of(self.scores)

    @functools.cached_property
    def columns(self) -> list[str]:
        """Names of the columns, which all methods have."""
        return list(dict.fromkeys(column for _, column in self._arrays))

    @functools.cached_property
    def _arrays(self) -> Mapping[tuple[str, str], Values]:
        return arrays(self.scores)

    @property
    def measure(self) -> Measure:
        """What is known of the column that ranks."""
        return MEASURES[self.metric]

    def values(self, method: str, column: str | None = None) -> Values:
        """One score an image, of the column that ranks unless another is given."""
        return self._arrays[method, column or self.metric]

    def by_image(self, method: str) -> dict[str, float]:
        """The scores of a method in the column that ranks, by the images' ids."""
        return dict(zip(self.ids, self.values(method).tolist(), strict=True))

    def mean(self, method: str, column: str | None = None) -> float:
        """The mean of `values` over the images that have one."""
        return mean(self.values(method, column))

    def failed(self, method: str) -> int:
        """On how many images the method's output is not finite."""
        return int(np.isinf(self.values(method)).sum())

    def failure(self, method: str) -> str:
        """``"failed on 2 of 10 images"``, nothing where it did not."""
        count = self.failed(method)
        return f"failed on {count} of {len(self.ids)} images" if count else ""

    def standing(self, method: str, column: str | None = None) -> tuple[int, float]:
        """What methods are ranked by, less is better: failures, then the mean's badness."""
        measure = MEASURES[column or self.metric]
        return self.failed(method), measure.badness(self.mean(method, column))

    def ranked(self, methods: Iterable[str], column: str | None = None) -> list[str]:
        """Methods, the best `standing` first."""
        return sorted(methods, key=lambda method: self.standing(method, column))


def frame(head: Sequence[str], lines: Sequence[Sequence[object]]) -> pl.DataFrame:
    """The scores in lines of id, method and a value for each further column that `head` names."""
    column = pl.col("column")
    in_holes = column.str.starts_with(HOLE)
    wide = pl.DataFrame(lines, schema=[*head], orient="row")
    return wide.unpivot(index=["id", "method"], variable_name="column").select(
        pl.col("method"),
        pl.when(in_holes).then(pl.lit("holes")).otherwise(pl.lit("image")).alias("region"),
        column.str.strip_prefix(HOLE).alias("metric"),
        pl.col("id").alias("image"),
        pl.col("value").cast(pl.Float64),
    )


def arrays(scores: pl.DataFrame) -> dict[tuple[str, str], Values]:
    """By method and column the values in the order of the frame."""
    found: dict[tuple[str, str], Values] = {}
    # One method after the other: to group a million names at once takes memory many times over.
    for method in scores["method"].unique(maintain_order=True):
        of_method = scores.filter(method=method).select("region", "metric", "value")
        parts = of_method.partition_by("region", "metric", as_dict=True, maintain_order=True)
        for (region, metric), part in parts.items():
            column = (HOLE if region == "holes" else "") + str(metric)
            found[method, column] = part["value"].to_numpy()
    return found


def images_of(scores: pl.DataFrame) -> list[str]:
    """Ids in the order of the frame."""
    return scores["image"].unique(maintain_order=True).to_list()


def per_image_csv(
    head: Sequence[str], parts: Iterable[Sequence[Sequence[Any]]], failed: bool
) -> Iterator[str]:
    """The file that `read_scores` reads, in pieces of some lines. Where a method `failed` on any
    image there is a last column of that name, 1 on the lines of such images, which hold no score.
    """
    yield csv_text([[*head, FAILED] if failed else head])
    for lines in parts:
        if failed:
            bad = [any(map(math.isinf, values)) for _, _, *values in lines]
            lines = [
                [*line[:2], *([None] * len(line[2:]) if is_bad else line[2:]), int(is_bad)]
                for line, is_bad in zip(lines, bad, strict=True)
            ]
        yield csv_text(lines)


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    """Lines of a CSV file; seven digits of each float, nothing for NaN and None.

    A text that a spreadsheet would take for a formula begins with ', which `plain` takes away."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_field, line) for line in lines)
    return text.getvalue()


def _field(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else format(value, ".7g")
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def plain(text: str) -> str:
    """A field of a text as it was before `csv_text` wrote it."""
    return text[1:] if text.startswith("'") else text


def read_scores(path: Path) -> pl.DataFrame:
    """The frame of a ``per_image.csv``: ``id,method`` and a field for each column.

    Raises OSError, ValueError, KeyError, csv.Error or PolarsError for a file that is missing or
    damaged."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file, strict=True)
    if any(len(line) != len(head) for line in lines):
        raise ValueError("a line is cut off")
    if head[-1] != FAILED:
        head, lines = [*head, FAILED], [[*line, "0"] for line in lines]
    worst = [MEASURES[column].worst for column in head[2:-1]]
    return frame(head[:-1], [
        [plain(id), plain(name), *(worst if failed == "1" else (text or "nan" for text in values))]
        for id, name, *values, failed in lines
    ])  # fmt: skip


def mean(values: Values) -> float:
    """The mean of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def deviation(values: Sequence[float] | Values) -> float:
    """Standard deviation of the sample of what is finite; NaN for fewer than two values."""
    known = np.asarray(values)[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan


def summarise(scores: pl.DataFrame, seed: int = SEED) -> Summary:
    """The cells of every method and column."""
    by_place = arrays(scores)
    ends = bootstrap(np.stack([*by_place.values()], axis=1), seed)
    cells: Summary = {}
    for ((method, column), values), low, high in zip(by_place.items(), *ends, strict=True):
        count = int(np.isfinite(values).sum())
        cells[method, column] = Cell(
            method, column, count, mean(values), deviation(values), float(low), float(high)
        )
    return cells


def bootstrap(
    values: Values, seed: int = SEED, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[Values, Values]:
    """Percentile interval of the mean of each column (Efron 1979): lower and upper ends, (K,).

    values: (N,K), not finite where missing. Images are drawn with replacement, all columns alike.
    """
    random = np.random.default_rng(seed)
    count, width = values.shape
    known = np.isfinite(values)
    # How often each image was drawn, times its value: no (resamples, N, K) array is needed.
    stacked = np.concatenate([values, known], axis=1)
    stacked[:, :width][~known] = 0
    sums = np.empty((resamples, 2 * width))
    for index in range(resamples):
        picked = cast(NDArray[np.int64], random.integers(count, size=count))
        sums[index] = np.bincount(picked, minlength=count) @ stacked
    weights = sums[:, width:]
    means = np.where(weights > 0, sums[:, :width] / np.maximum(weights, 1), np.nan)
    ends = np.full((2, width), np.nan)
    for index in np.flatnonzero(known.any(axis=0)):
        tail = (1 - level) / 2
        ends[:, index] = np.nanquantile(means[:, index], (tail, 1 - tail))
    return ends[0], ends[1]


def summary_csv(summary: Summary, further: Iterable[Sequence[object]] = ()) -> str:
    """One line a cell: method, region, metric, n, mean, std and the interval's ends; then `further`
    lines."""
    head = ("method", "region", "metric", "n", "mean", "std", "low95", "high95")
    lines = [
        (c.method, c.measure.region, c.measure.metric, c.n, c.mean, c.std, c.low, c.high)
        for c in summary.values()
    ]
    return csv_text([head, *lines, *further])
