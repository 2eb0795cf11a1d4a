"""The atlas of inversions, one figure: quality by depth of the tap, by values kept per pixel and by
what is done to the features, their spectrum, and a photo as each tap gives it back."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfrecon.layers.defences import ABOUT
from tfrecon.reports import svg
from tfrecon.reports.comparison import Comparison, Result
from tfrecon.reports.pictures import Strip
from tfrecon.reports.plots import metric_axis

IMAGE_VALUES = 3
"""Values of each pixel of the image itself: red, green and blue."""
UNITS, PANEL_INCHES, PHOTO_INCHES = 4, 2.55, 1.2
"""Columns of the figure; the height of a row of panels, and of a row of photos."""
LEAST_EIGENVALUE = 1e-4
"""Where the axis of the spectrum ends."""
HEADS = {
    "noise": "With noise", "bits": "With few bits", "dropped": "With channels dropped",
    "top": "With the largest values alone",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One of the figure's axes: its head, its finding in a sentence, its columns of `UNITS`, and
    what draws it."""

    head: str
    finding: str
    columns: int
    paint: Callable[[Any], None]


def atlas(comparison: Comparison, strip: Strip | None = None) -> str | None:
    """The figure of the inversions of a comparison as SVG; None without any. `strip`: backbone →
    captions and images (H,W,3) in [0,1]."""
    plan = planned(comparison, strip or {})
    return svg.drawn(**plan) if plan else None


def planned(
    comparison: Comparison, strip: Strip, interpolation: str = "none"
) -> dict[str, Any] | None:
    """The figure as what `svg.figure` takes. Pixels of the `strip` stay as they are, as an SVG
    wants them, or become smooth by an `interpolation` of Matplotlib."""
    made = (_depth, _values, _spectrum, *(_defended(kind) for kind in ABOUT))
    panels = [panel for make in made if (panel := make(comparison))]
    if not panels:
        return None
    rows = _rows(panels)
    names, kinds = _backbones(comparison), _kinds(comparison)

    def paint(figure: Any) -> list[Any]:
        from matplotlib.lines import Line2D

        heights = [PANEL_INCHES * len(rows), PHOTO_INCHES * len(strip)]
        outer = figure.add_gridspec(2 if strip else 1, 1, height_ratios=heights[: 1 + bool(strip)])
        grid = outer[0].subgridspec(len(rows), UNITS)
        for place, row in enumerate(rows):
            start = 0
            for panel in row:
                axes = figure.add_subplot(grid[place, start : start + panel.columns])
                axes.set_title(panel.head, loc="left", fontsize=10, fontweight="bold")
                panel.paint(axes)
                start += panel.columns
        if strip:
            _paint_strip(figure, outer[1], strip, names, interpolation)
        looks = [svg.look(number) for number in names.values()]
        lines = [Line2D([], [], color=colour, linestyle=line) for colour, line in looks]
        alone = {"color": svg.GREY, "linestyle": "none"}
        return [*lines, *(Line2D([], [], marker=marker, **alone) for marker in kinds.values())]

    return {
        "name": "atlas", "title": " ".join(panel.finding for panel in panels), "paint": paint,
        "height": PANEL_INCHES * len(rows) + PHOTO_INCHES * len(strip), "width": 2 * svg.WIDTH,
        "legend": [*names, *map(", ".join, kinds)],
    }  # fmt: skip


def _rows(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels in rows of `UNITS` columns at most."""
    rows: list[list[Panel]] = [[]]
    for panel in panels:
        if sum(other.columns for other in rows[-1]) + panel.columns > UNITS:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _depth(comparison: Comparison) -> Panel | None:
    """The metric against the depth of the one tap that is inverted: a line a backbone through the
    best result at each tap, and a marker for each combination of the other labels."""
    results, measure = _bare(comparison), comparison.measure
    if not results:
        return None
    kinds, labels, tap = _kinds(comparison), _other_labels(results), results[0].taps[0]
    finding = (
        f"{measure.region_label} of {len(results)} inversions of one tap by its depth: best "
        f"{measure.number(comparison.mean(results[0].name))} at {tap['tap']} of {tap['backbone']}; "
        "lines join the best at each tap."
    )

    def paint(axes: Any) -> None:
        for name, inversions in _by_backbone(results).items():
            colour, line = svg.look(_backbones(comparison)[name])
            front: dict[float, float] = {}
            for result in inversions:
                place, value = float(result.taps[0]["position"]), comparison.mean(result.name)
                if not comparison.failed(result.name):
                    front[place] = min((front.get(place, math.nan), value), key=measure.badness)
                marker = kinds.get(labels[result.name], "o")
                axes.plot(place, value, marker, color=colour, markersize=5, alpha=0.8)
            axes.plot([*sorted(front)], [front[p] for p in sorted(front)], line, color=colour)
        axes.set_xlim(-0.03, 1.03)
        metric_axis(axes, "y", measure, "Depth of the tap (0 first, 1 last of its backbone)")

    return Panel("By depth", finding, 2, paint)


def _values(comparison: Comparison) -> Panel | None:
    """The metric against how many values the inverted features keep for each pixel of the image,
    and, where the spectrum is known, how many these are worth."""
    measure, backbones = comparison.measure, _backbones(comparison)
    kept = {
        result.name: float(result.facts.get("values_per_pixel") or 0)
        for result in comparison.results
        if not result.facts.get("defence")
    }
    results = [result for result in comparison.results if kept.get(result.name)]
    if not results:
        return None
    worth = {
        result.name: kept[result.name] * spectrum["effective_rank"] / result.taps[0]["channels"]
        for result in results
        if len(result.taps) == 1 and (spectrum := result.facts.get("spectrum"))
    }
    some = [kept[result.name] for result in results]
    finding = (
        f"By values kept per pixel, from {min(some):.3g} to {max(some):.3g}; dashed: the image "
        f"itself, which has {IMAGE_VALUES}"
        + ("; hollow: the effective rank in the place of the channels." if worth else ".")
    )

    def paint(axes: Any) -> None:
        from matplotlib.ticker import LogLocator

        for result in results:
            sources = {tap["backbone"] for tap in result.taps}
            index = backbones[sources.pop()] if len(sources) == 1 else None
            colour = svg.INK if index is None else svg.look(index)[0]
            marker = svg.MARKERS[(index or 0) // len(svg.PALETTE) % len(svg.MARKERS)]
            value = comparison.mean(result.name)
            if result.name in worth:
                ends = [kept[result.name], worth[result.name]]
                axes.plot(ends, [value] * 2, color=colour, linewidth=0.8, alpha=0.6)
                axes.plot(ends[1], value, marker, color=colour, markersize=4.5, fillstyle="none")
            axes.plot(kept[result.name], value, marker, color=colour, markersize=5)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=11))
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
        axes.axvline(IMAGE_VALUES, color=svg.GREY, linestyle="--", linewidth=1)
        metric_axis(axes, "y", measure, "Values kept per pixel")

    return Panel("By values kept", finding, 2, paint)


def _spectrum(comparison: Comparison) -> Panel | None:
    """The eigenvalues of the covariance of each tap's standardised features, and the variance that
    noise adds to each."""
    results = [
        result for result in best_of_taps(comparison).values() if result.facts.get("spectrum")
    ]
    if not results:
        return None
    ranks = {r.name: float(r.facts["spectrum"]["effective_rank"]) for r in results}
    least, most = (end(results, key=lambda r: ranks[r.name]).taps[0] for end in (min, max))
    finding = (
        "Eigenvalues of the covariance of a position's standardised features, fainter for deeper "
        f"taps: effective ranks from {min(ranks.values()):.3g} ({least['tap']} of "
        f"{least['backbone']}) to {max(ranks.values()):.3g} ({most['tap']} of {most['backbone']})."
    )
    strengths = [d["strength"] for d in _defences(comparison, "noise")]

    def paint(axes: Any) -> None:
        for result in results:
            told, tap = result.facts["spectrum"], result.taps[0]
            colour, line = svg.look(_backbones(comparison)[tap["backbone"]])
            alpha = 1 - 0.75 * float(tap["position"])
            values = [value if value > 0 else math.nan for value in told["eigenvalues"]]
            axes.plot(told["numbers"], values, line, color=colour, alpha=alpha, linewidth=1.3)
        for strength in strengths:  # of noise whose variance is that of a standardised channel
            axes.axhline(strength**2, color=svg.GREY, linestyle="--", linewidth=1)
            axes.annotate(
                f"noise of {strength:g} σ", (1, strength**2), (0, 2), va="bottom", ha="right",
                xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(LEAST_EIGENVALUE, axes.get_ylim()[0]))
        axes.minorticks_off()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("Number of the eigenvalue")
        axes.set_ylabel("Eigenvalue (variance)")
        axes.grid(axis="y")

    return Panel("Spectrum of the channels", finding, 2, paint)


def _defended(kind: str) -> Callable[[Comparison], Panel | None]:
    """The metric against the strength of one kind of defence, a line a tap."""

    def panel(comparison: Comparison) -> Panel | None:
        defences, measure = _defences(comparison, kind), comparison.measure
        best: dict[tuple[str, str], dict[int, float]] = {}
        for result in reversed(comparison.results):  # the best last
            if len(result.taps) == 1 and (known := result.facts.get("defence")) in (
                None,
                *defences,
            ):
                tap = (result.taps[0]["backbone"], result.taps[0]["tap"])
                place = 1 + defences.index(known) if known else 0
                best.setdefault(tap, {})[place] = comparison.mean(result.name)
        best = {tap: values for tap, values in best.items() if values.keys() - {0}}
        if not best:
            return None

        def paint(axes: Any) -> None:
            for number, ((backbone, tap), values) in enumerate(sorted(best.items())):
                colour, places = svg.look(_backbones(comparison)[backbone])[0], sorted(values)
                marker = svg.MARKERS[number % len(svg.MARKERS)]
                heights = [values[place] for place in places]
                axes.plot(places, heights, f"{marker}-", color=colour, markersize=4.5)
                axes.annotate(
                    tap, (places[0], heights[0]), (0, 5), textcoords="offset points", fontsize=8,
                    color=colour,
                )  # fmt: skip
            names = ["none", *(f"{defence['strength']:g}" for defence in defences)]
            axes.set_xticks(range(len(names)), names)
            metric_axis(axes, "y", measure, ABOUT[kind][1].replace(" (", "\n("))

        told = (
            f"{tap} {measure.number(values[0])} to {measure.number(values[max(values)])}"
            for (_, tap), values in sorted(best.items())
            if 0 in values
        )
        finding = f"{HEADS[kind]}, from none to the most: {', '.join(told)}."
        return Panel(HEADS[kind], finding, 1, paint)

    return panel


def _paint_strip(
    figure: Any, place: Any, strip: Strip, names: Mapping[str, int], interpolation: str
) -> None:
    """A row of photos for each backbone, each with its caption."""
    grid = place.subgridspec(len(strip), max(map(len, strip.values())))
    for row, (backbone, photos) in enumerate(strip.items()):
        for column, (caption, image) in enumerate(photos):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image, interpolation=interpolation)
            axes.set_title(caption, fontsize=8)
            axes.set(xticks=[], yticks=[], frame_on=False)
            if not column:
                colour = svg.look(names[backbone])[0]
                axes.set_ylabel(backbone, color=colour, fontsize=9, fontweight="bold")


def _bare(comparison: Comparison) -> list[Result]:
    """The inversions of one tap whose features nothing was done to, best first."""
    return [
        result
        for result in comparison.results
        if len(result.taps) == 1 and not result.facts.get("defence")
    ]


def best_of_taps(comparison: Comparison) -> dict[tuple[str, str], Result]:
    """The best inversion of each tap as it is, by backbone and tap, in the order of both."""
    best: dict[tuple[str, str], Result] = {}
    for result in _bare(comparison):
        best.setdefault((result.taps[0]["backbone"], result.taps[0]["tap"]), result)
    order = sorted(best, key=lambda tap: (tap[0], best[tap].taps[0]["position"]))
    return {tap: best[tap] for tap in order}


def _defences(comparison: Comparison, kind: str) -> list[dict[str, Any]]:
    """The defences of a kind that were tried, from weak to strong."""
    every = [result.facts.get("defence") or {} for result in comparison.results]
    found = {float(known["strength"]): known for known in every if known.get("kind") == kind}
    weak_is_small = ABOUT[kind][2][0] < ABOUT[kind][2][-1]
    return [found[strength] for strength in sorted(found, reverse=not weak_is_small)]


def _by_backbone(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The inversions of each backbone."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.taps[0]["backbone"], []).append(result)
    return groups


def _backbones(comparison: Comparison) -> dict[str, int]:
    """The number of each backbone, so that it looks the same in all panels."""
    every = (tap["backbone"] for result in comparison.results for tap in result.taps)
    return {name: index for index, name in enumerate(sorted(set(every)))}


def _kinds(comparison: Comparison) -> dict[tuple[str, ...], str]:
    """The marker of each combination of labels, where bare inversions of a tap have several."""
    kinds = list(dict.fromkeys(_other_labels(_bare(comparison)).values()))
    return dict(zip(kinds, svg.MARKERS, strict=False)) if len(kinds) > 1 else {}


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
