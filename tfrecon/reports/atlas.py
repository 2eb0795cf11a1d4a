"""The atlas of inversions as SVG: quality by depth of the tap and by values kept per pixel."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tfrecon.reports import svg
from tfrecon.reports.comparison import Comparison, Result
from tfrecon.reports.plots import metric_axis

IMAGE_VALUES = 3
"""Values of each pixel of the image itself: red, green and blue."""


def depth(comparison: Comparison) -> str | None:
    """The metric against the depth of the one tap that is inverted: a line a backbone through the
    best result at each tap, and a marker for each combination of the other labels."""
    results = [result for result in comparison.results if len(result.taps) == 1]
    if not results:
        return None
    measure, others = comparison.measure, _other_labels(results)
    by_backbone = _by_backbone(results)
    tap = results[0].taps[0]
    title = (
        f"{measure.region_label} of {len(results)} inversions of one tap by its depth: best "
        f"{measure.number(comparison.mean(results[0].name))} at {tap['tap']} of {tap['backbone']}."
    )
    kinds = list(dict.fromkeys(others.values()))
    shown = kinds[: len(svg.MARKERS)] if len(kinds) > 1 else []

    def paint(figure: Any) -> list[Any]:
        from matplotlib.lines import Line2D

        axes = figure.add_subplot()
        lines: list[Any] = []
        for name, inversions in by_backbone.items():
            colour, line = svg.look(_backbones(comparison)[name])
            front: dict[float, float] = {}
            for result in inversions:
                place, value = float(result.taps[0]["position"]), comparison.mean(result.name)
                if not comparison.failed(result.name):
                    front[place] = min((front.get(place, math.nan), value), key=measure.badness)
                marker = svg.MARKERS[kinds.index(others[result.name]) % len(svg.MARKERS)]
                axes.plot(place, value, marker, color=colour, markersize=5, alpha=0.8)
            lines += axes.plot(
                [*sorted(front)], [front[p] for p in sorted(front)], line, color=colour
            )
        axes.set_xlim(-0.03, 1.03)
        metric_axis(axes, "y", measure, "Depth of the tap (0 first, 1 last of its backbone)")
        markers = zip(svg.MARKERS, shown, strict=False)
        looks = {"color": svg.GREY, "linestyle": "none"}
        return [*lines, *(Line2D([], [], marker=marker, **looks) for marker, _ in markers)]

    return svg.drawn("depth", title, 2.9, paint, [*by_backbone, *map(", ".join, shown)])


def values_per_pixel(comparison: Comparison) -> str | None:
    """The metric against how many values the inverted features keep for each pixel of the image."""
    measure, backbones = comparison.measure, _backbones(comparison)
    kept = {r.name: float(r.facts.get("values_per_pixel") or 0) for r in comparison.results}
    by_backbone = _by_backbone([result for result in comparison.results if kept[result.name]])
    if not by_backbone:
        return None
    some = [values for values in kept.values() if values]
    title = (
        f"{measure.region_label} against values kept per pixel, from {min(some):.3g} to "
        f"{max(some):.3g}; the image itself has {IMAGE_VALUES}."
    )

    def paint(figure: Any) -> list[Any]:
        from matplotlib.ticker import LogLocator

        axes = figure.add_subplot()
        points: list[Any] = []
        for name, results in by_backbone.items():
            index = backbones.get(name)
            colour = svg.INK if index is None else svg.look(index)[0]
            marker = svg.MARKERS[(index or 0) // len(svg.PALETTE) % len(svg.MARKERS)]
            pairs = [(kept[result.name], comparison.mean(result.name)) for result in results]
            points += axes.plot(*zip(*pairs, strict=True), marker, color=colour, markersize=5)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=9))
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
        points.append(axes.axvline(IMAGE_VALUES, color=svg.GREY, linestyle="--", linewidth=1))
        metric_axis(axes, "y", measure, "Values kept per pixel")
        return points

    return svg.drawn("values-per-pixel", title, 2.9, paint, [*by_backbone, "the image itself"])


def _by_backbone(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The inversions of each backbone; those of more than one are called several."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        sources = {tap["backbone"] for tap in result.taps}
        groups.setdefault(sources.pop() if len(sources) == 1 else "several", []).append(result)
    return groups


def _backbones(comparison: Comparison) -> dict[str, int]:
    """The number of each backbone, so that it looks the same in all figures."""
    every = (tap["backbone"] for result in comparison.results for tap in result.taps)
    return {name: index for index, name in enumerate(sorted(set(every)))}


def _other_labels(results: Sequence[Result]) -> dict[str, tuple[str, ...]]:
    """Each result's labels on those axes on which results of the same tap differ."""
    seen: dict[tuple[str, str, str], set[str]] = {}
    for result in results:
        tap = result.taps[0]
        for axis, label in result.labels.items():
            seen.setdefault((tap["backbone"], tap["tap"], axis), set()).add(label)
    differing = {axis for (_, _, axis), labels in seen.items() if len(labels) > 1}
    return {
        result.name: tuple(label for axis, label in result.labels.items() if axis in differing)
        for result in results
    }
