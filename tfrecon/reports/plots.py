"""The figures of a comparison as SVG, each with its finding as title; None where nothing is there
to draw. A metric's axis is turned so that better is up, or right in lists of names."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfrecon.base.errors import foreign
from tfrecon.metrics.measures import MEASURES, Measure
from tfrecon.reports import statistics, svg
from tfrecon.reports.comparison import Comparison
from tfrecon.reports.costs import Cost
from tfrecon.reports.scores import Values
from tfrecon.training.run import Run

MOST_POINTS = 3000
"""Of more values the distributions show quantiles only, as each point is a piece of SVG."""

COSTS: Mapping[str, Callable[[Cost], float | None]] = {
    "Parameters": lambda cost: cost.parameters,
    "Multiply-adds an image": lambda cost: cost.multiply_adds,
    "Training (minutes)": lambda cost: cost.train_minutes,
    "Time an image (ms)": lambda cost: 1000 * (cost.seconds_per_image or 0),
}


def rank_diagram(comparison: Comparison) -> str:
    """Means with 95% intervals over images, best on top; vertical bars join results that cannot be
    told apart (`statistics.groups`)."""
    measure, pairs = comparison.measure, statistics.pairs(comparison, comparison.metric)
    cells = [comparison.summary[r.name, comparison.metric] for r in comparison.results]
    first, last = cells[0], cells[-1]
    real = sum(pair.is_real for pair in pairs)
    title = (
        f"Mean {measure.region_label} with 95% intervals over {len(comparison.ids)} images: best "
        f"{first.method} with {measure.number(first.mean)}, last {last.method} with "
        f"{measure.number(last.mean)}; {real} of {len(pairs)} pairs can be told apart."
    )

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        places = np.arange(len(cells))
        ends = [cell.low for cell in cells], [cell.high for cell in cells]
        axes.hlines(places, *ends, color=svg.PALETTE[0], linewidth=1.6)
        axes.plot([cell.mean for cell in cells], places, "o", color=svg.PALETTE[0], markersize=5)
        for lane, (first, last) in _lanes(statistics.groups(comparison)):
            axes.plot(
                [1.04 + 0.04 * lane] * 2, [first - 0.2, last + 0.2], color=svg.INK, linewidth=2.5,
                solid_capstyle="butt", transform=axes.get_yaxis_transform(), clip_on=False,
            )  # fmt: skip
        svg.list_names(axes, [f"{place}  {cell.method}" for place, cell in enumerate(cells, 1)])
        metric_axis(axes, "x", measure)

    return svg.drawn("rank", title, 0.8 + svg.ROW * len(cells), paint)


def distributions(comparison: Comparison, column: str, most: int = 40) -> str | None:
    """Quartiles, median and the middle 90% of the images of each of the leading `most` results
    and, grey, of the baselines."""
    measure, count = MEASURES[column], len(comparison.results)
    colours = {result.name: svg.PALETTE[0] for result in comparison.results[:most]}
    colours |= dict.fromkeys(comparison.baselines, svg.GREY)
    scored = {name: comparison.values(name, column) for name in comparison.ranked(colours, column)}
    rows = [(name, values[np.isfinite(values)], colours[name]) for name, values in scored.items()]
    rows = [row for row in rows if len(row[1])]
    if not rows:
        return None
    medians = sorted(float(np.median(values)) for _, values, _ in rows)
    of = f" of the {most} leading of {count} results" if count > most else ""
    title = (
        f"{measure.region_label} of each image, by method{of}: medians from "
        f"{measure.number(medians[0])} to {measure.number(medians[-1])}."
    )
    with_points = sum(len(values) for _, values, _ in rows) <= MOST_POINTS

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        random = np.random.default_rng(0)
        for place, (_, values, colour) in enumerate(rows):
            ends = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
            axes.hlines(place, ends[0], ends[4], color=colour, linewidth=1)
            axes.barh(
                place, ends[3] - ends[1], 0.6, ends[1], color=colour, alpha=0.3, linewidth=0
            )  # fmt: skip
            axes.vlines(ends[2], place - 0.3, place + 0.3, color=colour, linewidth=2.2)
            if with_points:
                jitter = place + random.uniform(-0.24, 0.24, len(values))
                axes.plot(values, jitter, ".", color=colour, markersize=1.8, alpha=0.55)
        svg.list_names(axes, [name for name, _, _ in rows])
        metric_axis(axes, "x", measure)

    return svg.drawn(f"distributions-{column}", title, 0.8 + svg.ROW * len(rows), paint)


def pareto(comparison: Comparison) -> str | None:
    """The metric against each cost that at least two results have. Results that no cheaper one
    beats are joined and carry their rank; their names are listed below."""
    measure = comparison.measure
    panels = {head: _points(comparison, cost) for head, cost in COSTS.items()}
    panels = {head: points for head, points in panels.items() if len(points) > 1}
    if not panels:
        return None
    fronts = {head: _front(points, measure) for head, points in panels.items()}
    ranks = sorted({rank for front in fronts.values() for rank, _, _ in front})
    names = [comparison.results[rank - 1].name for rank in ranks]
    title = (
        f"{measure.region_label} against "
        + ", ".join(head[0].lower() + head[1:] for head in panels)
        + f"; not beaten at their cost: {'; '.join(names)}."
    )
    tall, key = -(-len(panels) // 2), [f"{r}  {name}" for r, name in zip(ranks, names, strict=True)]

    def paint(figure: Any) -> list[Any]:
        from matplotlib.lines import Line2D

        grid = figure.subplots(tall, min(2, len(panels)), sharey=True, squeeze=False)
        every = list(grid.flat)
        for axes in every[len(panels) :]:
            axes.remove()
        for axes, (head, points) in zip(every, panels.items(), strict=False):
            _panel(axes, head, points, fronts[head])
        metric_axis(every[0], "y", measure)
        return [Line2D([], [], linestyle="none") for _ in key]

    return svg.drawn("pareto", title, 1.75 * tall, paint, key)


def _panel(axes: Any, head: str, points: Sequence[Point], front: Sequence[Point]) -> None:
    """All points, those of the front joined and with their rank."""
    _, paid, values = zip(*points, strict=True)
    svg.log_axis(axes, paid)
    axes.plot(paid, values, "o", color=svg.GREY, markersize=4, alpha=0.7)
    _, paid, values = zip(*front, strict=True)
    axes.plot(paid, values, "o-", color=svg.PALETTE[1], markersize=4.5, linewidth=1.2,
              drawstyle="steps-post")  # fmt: skip
    for rank, *place in front:
        axes.annotate(str(rank), place, (-3, 3), textcoords="offset points", ha="right",
                      va="bottom", fontsize=9)  # fmt: skip
    axes.set_xlabel(head)
    axes.margins(y=0.14)
    axes.grid(axis="y")


def curves(comparison: Comparison, most: int = 8) -> str | None:
    """What the runs monitored in validation against steps: the leading `most` results in colours,
    the others grey; of several seeds the first. Runs that monitored another value are left out."""
    monitor = comparison.results[0].runs[0].config.fit.monitor
    names = [result.name for result in comparison.results]
    every = enumerate(_history(result.runs[0], monitor) for result in comparison.results)
    histories = {place: history for place, history in every if len(history[0])}
    if not any(len(steps) > 1 for steps, _ in histories.values()):  # nothing was trained
        return None
    leading = [place for place in histories if place < most]
    metric = monitor.removeprefix("val_")
    what = f"Validation {MEASURES[metric].label if metric in MEASURES else metric}"
    last = max(float(steps[-1]) for steps, _ in histories.values())
    title = f"{what} of {len(histories)} results against steps, up to {svg.scaled(last)} steps."

    def paint(figure: Any) -> list[Any]:
        axes = figure.add_subplot()
        lines: dict[int, Any] = {}
        for place, (steps, values) in reversed(histories.items()):
            marker, (colour, style) = "." if len(steps) == 1 else "", svg.look(place)
            looks = {"color": colour, "ls": style, "linewidth": 1.5}
            if place >= most:
                looks = {"color": svg.GREY, "linewidth": 0.6, "alpha": 0.7}
            (lines[place],) = axes.plot(steps, values, marker=marker, **looks)
        axes.set_xlabel("Steps")
        axes.set_ylabel(what)
        axes.xaxis.set_major_formatter(lambda value, _: svg.scaled(value))
        axes.grid(axis="y")
        return [lines[place] for place in leading]

    return svg.drawn("curves", title, 3, paint, [names[place] for place in leading])


def metric_axis(axes: Any, direction: str, measure: Measure, x: str = "") -> None:
    """Labels the x or y axis that shows a metric, and the `x` axis beside it, if it is named; where
    less is better the metric's runs backwards."""
    axes.set(**{f"{direction}label": measure.region_label})
    if x:
        axes.set_xlabel(x)
        axes.grid(axis="y")
    if measure.better == "less":
        (axes.xaxis if direction == "x" else axes.yaxis).set_inverted(True)


def _lanes(groups: Sequence[tuple[int, int]]) -> list[tuple[int, tuple[int, int]]]:
    """Each group with the number of the first lane in which it touches no earlier one."""
    ends: list[int] = []
    lanes: list[tuple[int, tuple[int, int]]] = []
    for first, last in sorted(groups):
        lane = next((lane for lane, end in enumerate(ends) if end < first), len(ends))
        ends[lane : lane + 1] = [last]
        lanes.append((lane, (first, last)))
    return lanes


Point = tuple[int, float, float]
"""Rank, cost and mean of a result."""


def _points(comparison: Comparison, cost: Callable[[Cost], float | None]) -> list[Point]:
    """Those of the results that have both a cost and a mean, and did not fail on any image."""
    means = {result.name: comparison.mean(result.name) for result in comparison.results}
    return [
        (rank, paid, means[result.name])
        for rank, result in enumerate(comparison.results, 1)
        if (paid := cost(result.cost))
        and not (math.isnan(means[result.name]) or comparison.failed(result.name))
    ]


def _front(points: Sequence[Point], measure: Measure) -> list[Point]:
    """The points that no cheaper or equally cheap point matches, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p[1], measure.badness(p[2]))):
        if not front or measure.badness(point[2]) < measure.badness(front[-1][2]):
            front.append(point)
    return front


def _history(run: Run, monitor: str) -> tuple[Values, Values]:
    """Steps and values of ``history.csv``; empty where there is no such file or column."""
    path = run.path / "history.csv"
    with foreign("table", path, "remove it", "is damaged"):
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        rows = [row for row in csv.DictReader(lines) if row.get(monitor)]
        steps, values = ([float(row[column]) for row in rows] for column in ("step", monitor))
    return np.array(steps), np.array(values)
