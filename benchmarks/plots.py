"""The plot of a record: cost against work, for each number of `at` that rows differ in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrecon.base import files

Points = list[tuple[float, float]]
Panels = dict[tuple[str, str], dict[str, Points]]
"""By the work and the unit of its cost: lines by name, of at least two points each."""


def panels(rows: Sequence[dict[str, Any]]) -> Panels:
    """What there is to draw of the rows of a record."""
    found: Panels = {}
    axes = dict.fromkeys(
        key for row in rows for key, value in row["at"].items() if isinstance(value, int | float)
    )
    for axis, row in itertools.product(axes, rows):
        if axis not in row["at"]:
            continue
        others = "".join(f", {k} {v}" for k, v in row["at"].items() if k != axis)
        for program, median in row["medians"].items():
            lines = found.setdefault((axis, row["unit"]), {})
            lines.setdefault(f"{row['what']}{others}: {program}", []).append(
                (row["at"][axis], median)
            )
    several = {
        place: {name: sorted(points) for name, points in lines.items() if len(points) > 1}
        for place, lines in found.items()
    }
    return {place: lines for place, lines in several.items() if lines}


def title(rows: Sequence[dict[str, Any]]) -> str:
    """What the plot shows, in words."""
    return "; ".join(f"{unit} against {axis}" for axis, unit in panels(rows))


def write(path: Path, rows: Sequence[dict[str, Any]], digest: str) -> None:
    """Writes the plot, which says of which record (its `digest`) it was made."""
    from tfrecon.reports import svg

    drawn = panels(rows)
    names = list(dict.fromkeys(name for lines in drawn.values() for name in lines))

    def paint(figure: Any) -> list[Any]:
        handles: dict[str, Any] = {}
        grid = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
        for axes, ((axis, unit), lines) in zip(grid, drawn.items(), strict=True):
            for name, points in lines.items():
                colour, style = svg.look(names.index(name))
                x, y = zip(*points, strict=True)
                (handles[name],) = axes.plot(x, y, style, marker="o", color=colour, markersize=4)
            work = sorted({x for points in lines.values() for x, _ in points})
            axes.set_xscale("log")
            axes.set_xticks(work, [svg.scaled(value) for value in work])
            axes.minorticks_off()
            axes.set_ylim(0)
            axes.set_xlabel(axis)
            axes.set_ylabel(unit)
            axes.grid(axis="y")
        return [handles[name] for name in names]

    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with files.replacing(path) as new, new.open("wb") as file:
        svg.save(
            file, path.stem, 2.2 * len(drawn), paint, [*names],
            metadata={**nothing, "Title": digest},
        )  # fmt: skip
