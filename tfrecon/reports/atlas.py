"""The atlas of inversions, one figure: quality by depth of the tap, by values kept per pixel and by
what is done to the features, their spectrum, and a photo as each tap gives it back."""

import functools
import itertools
import math
from collections.abc import Mapping
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
    "depth": ("By depth", "lines join the best of each tap"),
    "values": ("By values kept", "dashed: the image's own 3; hollow: channels as effective rank"),
    "spectrum": (
        "Spectrum of a position's channels",
        "of the covariance of standardised features; fainter for deeper taps",
    ),
    "noise": ("With noise", ""), "bits": ("With few bits", ""),
    "dropped": ("With channels dropped", ""), "top": ("With the largest values alone", ""),
}  # fmt: skip
"""Of each panel: what stands above it, and what the caption adds."""


def atlas(comparison: Comparison, strip: Strip | None = None) -> str | None:
    """The figure of the inversions of a comparison as SVG, None without any, with the photos of a
    `strip` below."""
    plan = planned(comparison, strip or {})
    return svg.drawn(**plan) if plan else None


def planned(comparison: Comparison, strip: Strip, smooth: str = "none") -> dict[str, Any] | None:
    """The figure as what `svg.drawn` takes. Pixels of the `strip` stay as they are, as an SVG wants
    them, or become `smooth` by an interpolation of Matplotlib."""
    bare, looks, kinds = _bare(comparison), _looks(comparison), _kinds(comparison)
    panels: dict[str, Any] = {}
    if bare:
        panels["depth"] = _depth
    if any(_values_kept(result) for result in comparison.results):
        panels["values"] = _values
    if any(result.facts.get("spectrum") for result in bare):
        panels["spectrum"] = _spectrum
    panels |= {
        kind: functools.partial(_defended, kind) for kind in ABOUT if _defences(comparison, kind)
    }
    if not panels:
        return None
    widths = [1 if name in ABOUT else 2 for name in panels]
    ends = list(itertools.accumulate(widths))
    rows = -(-ends[-1] // UNITS)
    heights = [PANEL_INCHES * rows, *([PHOTO_INCHES * len(strip)] if strip else [])]

    def paint(figure: Any) -> list[Any]:
        from matplotlib.lines import Line2D

        outer = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        grid = outer[0].subgridspec(rows, UNITS)
        strengths = None  # the axes of one kind of defence, whose scale the others share
        for (name, draw), width, end in zip(panels.items(), widths, ends, strict=True):
            row, start = divmod(end - width, UNITS)
            place, scale = grid[row, start : start + width], strengths if name in ABOUT else None
            axes = figure.add_subplot(place, sharey=scale)
            strengths = axes if name in ABOUT else strengths
            axes.set_title(HEADS[name][0], loc="left", fontsize=10, fontweight="bold")
            draw(axes, comparison)
        if strip:
            _photos(figure, outer[1], strip, looks, smooth)
        grey = {"color": svg.GREY, "linestyle": "none"}
        return [
            *(Line2D([], [], color=colour, linestyle=line) for colour, line in looks.values()),
            *(Line2D([], [], marker=marker, **grey) for marker in kinds.values()),
        ]

    more = (f"{head} ({note})" if note else head for head, note in map(HEADS.__getitem__, panels))
    title = f"{comparison.measure.region_label} of inversions. {'. '.join(more)}."
    if bare:
        tap, best = bare[0].taps[0], comparison.measure.number(comparison.mean(bare[0].name))
        title += f" Best is {tap['tap']} of {tap['backbone']} with {best}."
    return {
        "name": "atlas", "title": title, "paint": paint, "height": sum(heights),
        "width": 2 * svg.WIDTH, "legend": [*looks, *map(", ".join, kinds)],
    }  # fmt: skip


def best_of_taps(comparison: Comparison) -> dict[tuple[str, str], Result]:
    """The best inversion of each tap as it is, by backbone and tap, in the order of both."""
    best: dict[tuple[str, str], Result] = {}
    for result in _bare(comparison):
        if not comparison.failed(result.name):
            best.setdefault((result.taps[0]["backbone"], result.taps[0]["tap"]), result)
    places = sorted(best, key=lambda place: (place[0], best[place].taps[0]["position"]))
    return {place: best[place] for place in places}


def _depth(axes: Any, comparison: Comparison) -> None:
    """A line a backbone through the best result at each tap, and a marker for each combination of
    the other labels."""
    looks, kinds, bare = _looks(comparison), _kinds(comparison), _bare(comparison)
    for result, labels in zip(bare, _other_labels(bare), strict=True):
        place, colour = result.taps[0]["position"], looks[result.taps[0]["backbone"]][0]
        marker, value = kinds.get(labels, "o"), comparison.mean(result.name)
        axes.plot(place, value, marker, color=colour, markersize=5, alpha=0.8)
    best = best_of_taps(comparison).items()
    for name, group in itertools.groupby(best, key=lambda item: item[0][0]):
        line = [(r.taps[0]["position"], comparison.mean(r.name)) for _, r in group]
        axes.plot(*zip(*line, strict=True), looks[name][1], color=looks[name][0])
    axes.set_xlim(-0.03, 1.03)
    metric_axis(axes, "y", comparison.measure, "Depth of the tap (0 first, 1 last of its backbone)")


def _values(axes: Any, comparison: Comparison) -> None:
    """Against how many values the features keep for each pixel of the image, and how many these are
    worth where the spectrum is known."""
    from matplotlib.ticker import LogLocator

    looks = _looks(comparison)
    for result in comparison.results:
        if not (kept := _values_kept(result)):
            continue
        sources = {tap["backbone"] for tap in result.taps}
        colour = looks[sources.pop()][0] if len(sources) == 1 else svg.INK
        value, spectrum = comparison.mean(result.name), result.facts.get("spectrum")
        if spectrum and len(result.taps) == 1:
            worth = kept * spectrum["effective_rank"] / result.taps[0]["channels"]
            axes.plot([kept, worth], [value] * 2, color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(worth, value, "o", color=colour, markersize=4.5, fillstyle="none")
        axes.plot(kept, value, "o", color=colour, markersize=5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=11))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
    axes.axvline(IMAGE_VALUES, color=svg.GREY, linestyle="--", linewidth=1)
    metric_axis(axes, "y", comparison.measure, "Values kept per pixel")


def _spectrum(axes: Any, comparison: Comparison) -> None:
    """The eigenvalues of the covariance of each tap's standardised features, and the variance that
    noise adds to each."""
    looks = _looks(comparison)
    for result in best_of_taps(comparison).values():
        if told := result.facts.get("spectrum"):
            tap = result.taps[0]
            colour, line = looks[tap["backbone"]]
            values = [value or math.nan for value in told["eigenvalues"]]
            alpha = 1 - 0.75 * tap["position"]
            axes.plot(told["numbers"], values, line, color=colour, alpha=alpha, linewidth=1.3)
    for strength in (float(known["strength"]) for known in _defences(comparison, "noise")):
        axes.axhline(strength**2, color=svg.GREY, linestyle="--", linewidth=1)
        axes.annotate(
            ABOUT["noise"][0].format(strength), (0, strength**2), (4, 2), fontsize=8,
            xycoords=("axes fraction", "data"), textcoords="offset points",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(bottom=max(LEAST_EIGENVALUE, axes.get_ylim()[0]))
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="Number of the eigenvalue", ylabel="Eigenvalue (variance)")
    axes.grid(axis="y")


def _defended(kind: str, axes: Any, comparison: Comparison) -> None:
    """Against the strength of one kind of defence, a line a tap."""
    defences = _defences(comparison, kind)
    best: dict[tuple[str, str], dict[int, float]] = {}
    for result in reversed(comparison.results):  # the best last
        known = result.facts.get("defence")
        if len(result.taps) == 1 and known in (None, *defences):
            place = (result.taps[0]["backbone"], result.taps[0]["tap"])
            number = 1 + defences.index(known) if known else 0
            best.setdefault(place, {})[number] = comparison.mean(result.name)
    lines = {place: sorted(values.items()) for place, values in best.items() if max(values)}
    for number, ((backbone, tap), line) in enumerate(sorted(lines.items())):
        colour, marker = _looks(comparison)[backbone][0], svg.MARKERS[number % len(svg.MARKERS)]
        axes.plot(*zip(*line, strict=True), f"{marker}-", color=colour, markersize=4.5)
        axes.annotate(
            tap, line[0], (0, 5), textcoords="offset points", fontsize=8, color=colour
        )  # fmt: skip
    axes.margins(0.08, 0.12)
    axes.set_xticks(
        range(1 + len(defences)), ["none", *(f"{known['strength']:g}" for known in defences)]
    )
    metric_axis(axes, "y", comparison.measure, ABOUT[kind][1].replace(" (", "\n("))


def _photos(
    figure: Any, place: Any, strip: Strip, looks: Mapping[str, tuple[str, str]], smooth: str
) -> None:
    """A row for each backbone, each photo below its caption."""
    grid = place.subgridspec(len(strip), max(map(len, strip.values())))
    for row, (backbone, photos) in enumerate(strip.items()):
        for column, (caption, photo) in enumerate(photos):
            axes = figure.add_subplot(grid[row, column], frame_on=False, xticks=[], yticks=[])
            axes.imshow(photo, interpolation=smooth)
            axes.set_title(caption, fontsize=8)
            if not column:
                colour = looks[backbone][0]
                axes.set_ylabel(backbone, color=colour, fontsize=8, fontweight="bold")


def _bare(comparison: Comparison) -> list[Result]:
    """The inversions of one tap whose features nothing was done to, best first."""
    return [r for r in comparison.results if len(r.taps) == 1 and not r.facts.get("defence")]


def _values_kept(result: Result) -> float:
    """Of an inversion of features that nothing was done to; 0 of others."""
    kept = result.facts.get("values_per_pixel")
    return 0.0 if result.facts.get("defence") else float(kept or 0)


def _defences(comparison: Comparison, kind: str) -> list[dict[str, Any]]:
    """The defences of a kind that were tried, from weak to strong."""
    every = [result.facts.get("defence") or {} for result in comparison.results]
    found = {known["strength"]: known for known in every if known.get("kind") == kind}
    return [found[strength] for strength in sorted(found, reverse=kind in ("bits", "top"))]


def _looks(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """Colour and line of each backbone."""
    every = {tap["backbone"] for result in comparison.results for tap in result.taps}
    return {name: svg.look(number) for number, name in enumerate(sorted(every))}


def _kinds(comparison: Comparison) -> dict[tuple[str, ...], str]:
    """The marker of each combination of labels, where bare inversions of a tap have several."""
    kinds = dict.fromkeys(_other_labels(_bare(comparison)))
    return dict(zip(kinds, svg.MARKERS, strict=False)) if len(kinds) > 1 else {}


def _other_labels(results: list[Result]) -> list[tuple[str, ...]]:
    """Each result's labels on those axes on which results of the same tap differ."""
    seen: dict[tuple[str, str, str], set[str]] = {}
    for result in results:
        tap = result.taps[0]
        for axis, label in result.labels.items():
            seen.setdefault((tap["backbone"], tap["tap"], axis), set()).add(label)
    differing = {axis for (_, _, axis), labels in seen.items() if len(labels) > 1}
    return [tuple(r.labels[axis] for axis in r.labels if axis in differing) for r in results]
