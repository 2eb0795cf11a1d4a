"""What is compared: runs, or cells of a study, with their scores of the same images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrecon.base.errors import UserError
from tfrecon.reports import scores as table
from tfrecon.reports.costs import Cost
from tfrecon.training.run import Run

Values = NDArray[np.float64]
"""(N,): one value an image, NaN where it has none, in the order of `Comparison.ids`."""

LISTED = 10
"""Most ids that a message lists."""


@dataclass(frozen=True)
class Scored:
    """One run as its report has it. `scores`: column → image id → value; `baselines`: method → the
    same; `facts` are those of `evaluation.json`."""

    run: Run
    scores: Mapping[str, Mapping[str, float]]
    baselines: Mapping[str, Mapping[str, Mapping[str, float]]]
    cost: Cost
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """One row of a comparison: a run, or the runs of a cell that differ in their seed only.

    `labels`: axis → label, empty outside a study. `scores`: column → values, the mean over seeds.
    `seed_means`: column → the mean over the images of each seed. `cost` is the mean over seeds.
    """

    name: str
    runs: Sequence[Run]
    labels: Mapping[str, str]
    scores: Mapping[str, Values]
    seed_means: Mapping[str, Sequence[float]]
    cost: Cost
    facts: Mapping[str, Any]

    @property
    def baselines(self) -> Sequence[str]:
        """The methods without training that this result is held against."""
        return self.facts.get("baselines", [])

    def mean(self, column: str) -> float:
        """Over the images that have a value; NaN where none has."""
        return mean(self.scores[column])


@dataclass(frozen=True)
class Comparison:
    """Results, best first by the mean of `metric`, a column of theirs.

    `baselines`: method → column → values, of all results; `Result.baselines` names a result's own,
    as some depend on the run. `axes`: axis → its labels in the study's order.
    `missing`: names of cells without a result → the reason.
    """

    title: str
    metric: str
    ids: Sequence[str]
    columns: Sequence[str]
    results: Sequence[Result]
    baselines: Mapping[str, Mapping[str, Values]]
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, list[str]])
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    dropped: Sequence[str] = ()
    """Columns that some results have and others lack."""


def compare(
    title: str,
    groups: Mapping[str, Sequence[Scored]],
    *,
    metric: str | None = None,
    axes: Mapping[str, Sequence[str]] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    missing: Mapping[str, str] | None = None,
) -> Comparison:
    """The comparison of `groups`, name → the runs of its seeds.

    `metric` defaults to PSNR, of the holes where there are any. Raises UserError where runs were
    evaluated on other images or other files than the first, naming the ids, and for an unknown
    metric.
    """
    every = [one for scored in groups.values() for one in scored]
    if not every:
        raise UserError("there is no finished run to compare; train some first")
    first = every[0]
    ids = list(next(iter(first.scores.values())))
    for one in every:
        _check_same_images(first, one)
    columns = [name for name in first.scores if all(name in one.scores for one in every)]
    metric = metric or default_metric(columns)
    if metric not in columns:
        raise UserError(
            f"the runs are to be ranked by {metric!r}, which their reports do not have; they have "
            + ", ".join(columns)
        )
    better = table.MEASURES[metric.removeprefix(table.HOLE)].higher_is_better
    if better is None:
        raise UserError(f"runs cannot be ranked by {metric!r}: neither less nor more is better")
    results: list[Result] = []
    for name, scored in groups.items():
        values = {
            column: np.array([[one.scores[column][id] for id in ids] for one in scored])
            for column in columns
        }
        results.append(
            Result(
                name, [one.run for one in scored], (labels or {}).get(name, {}),
                {column: all_seeds.mean(0) for column, all_seeds in values.items()},
                {column: [mean(v) for v in all_seeds] for column, all_seeds in values.items()},
                _mean_cost([one.cost for one in scored]), scored[0].facts,
            )
        )  # fmt: skip
    results.sort(key=lambda result: badness(metric, result.mean(metric)))
    baselines = {
        method: {name: np.array([own[name][id] for id in ids]) for name in columns}
        for one in every
        for method, own in one.baselines.items()
        if all(name in own and own[name].keys() >= set(ids) for name in columns)
    }
    dropped = sorted({name for one in every for name in one.scores} - set(columns))
    return Comparison(
        title, metric, ids, columns, results, baselines, axes or {}, missing or {}, dropped
    )


def default_metric(columns: Iterable[str]) -> str:
    """PSNR, of the holes where they have a column."""
    hole = table.HOLE + "psnr"
    return hole if hole in columns else "psnr"


def mean(values: Values) -> float:
    """The mean of what is not NaN; NaN where all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def gain(column: str, difference: float) -> float:
    """A column's value or a difference of two, turned so that more is better."""
    better = table.MEASURES[column.removeprefix(table.HOLE)].higher_is_better
    return difference if better else -difference


def badness(column: str, value: float) -> float:
    """A column's value turned so that less is better; infinite for NaN. Of a column whose best is 0
    the distance from it."""
    better = table.MEASURES[column.removeprefix(table.HOLE)].higher_is_better
    if math.isnan(value):
        return math.inf
    return abs(value) if better is None else -value if better else value


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    def average(name: str) -> Any:
        known = [value for cost in costs if (value := getattr(cost, name)) is not None]
        return sum(known) / len(known) if known else None

    whole = {name: average(name) for name in Cost.__dataclass_fields__}
    counted = {name: getattr(costs[0], name) for name in ("parameters", "multiply_adds")}
    return Cost(**{**whole, **counted})


def _check_same_images(first: Scored, other: Scored) -> None:
    mine, theirs = (list(next(iter(one.scores.values()))) for one in (first, other))
    names = f"run {first.run.name!r} and run {other.run.name!r}"
    for ids, rest, run in ((mine, theirs, other.run), (theirs, mine, first.run)):
        absent = sorted(set(ids) - set(rest))
        if absent:
            more = f" and {len(absent) - LISTED} more" if len(absent) > LISTED else ""
            raise UserError(
                f"{names} were evaluated on different images, so they cannot be compared image by "
                f"image: {run.name!r} lacks {', '.join(map(repr, absent[:LISTED]))}{more}; "
                "evaluate both on the same split"
            )
    for key in ("data", "image_size", "val_size", "damage", "resize", "split"):
        if first.facts.get(key) != other.facts.get(key):
            raise UserError(
                f"{names} were evaluated on images that differ in {key}: "
                f"{first.facts.get(key)!r} and {other.facts.get(key)!r}; evaluate both on the same "
                "data"
            )
