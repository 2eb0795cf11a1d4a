"""One HTML document of a comparison that needs nothing but itself: no server, no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from tfrecon.reports import atlas, markup, page_tables, plots, svg, tables
from tfrecon.reports.comparison import Comparison
from tfrecon.reports.markup import text
from tfrecon.reports.statistics import Ablation, Pair

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Lets the page load nothing that is not in it."""


PLACES = ("root", "cache_dir")

Which = Literal["best", "median", "worst"]


@dataclass(frozen=True)
class Picture:
    """One image of a result: `original`, `reconstruction` and, of restorations, `damaged` are
    (H,W,3) in [0,1]; `caption` tells the score."""

    result: str
    which: Which
    id: str
    caption: str
    original: Any
    reconstruction: Any
    damaged: Any = None


def page(
    comparison: Comparison,
    *,
    lines: Sequence[tables.Line],
    pairs: Sequence[Pair],
    ablations: Mapping[str, Sequence[Ablation]],
    sentences: Sequence[str],
    notes: Sequence[str],
    pictures: Sequence[Picture],
    environment: Mapping[str, str],
) -> str:
    """The document; `lines` are those of `tables.leaderboard`, `environment`: name → version or
    fact. Sections without content are left out.

    `pairs` may hold several columns; the page shows those of the metric that ranks.
    """
    own = [pair for pair in pairs if pair.column == comparison.metric]
    sections = [
        ("summary", "Summary", markup.bullets(sentences)),
        ("leaderboard", "Leaderboard", page_tables.leaderboard(comparison, lines)),
        ("ranks", "Ranks", _ranks(comparison, own)),
        ("ablations", "Ablations", page_tables.ablations(ablations)),
        ("tests", "Paired tests", page_tables.tests(comparison, own)),
        ("distributions", "Distributions over images", _distributions(comparison)),
        ("cost", "Quality against cost", _plot(plots.pareto(comparison), PARETO)),
        ("depth", "Quality against depth and values kept", _atlas(comparison)),
        ("training", "Training", _plot(plots.curves(comparison), "")),
        ("pictures", "Pictures", _pictures(pictures)),
        ("configurations", "Configurations", _configurations(comparison)),
        ("missing", "Missing results", markup.definitions(comparison.missing)),
        ("environment", "Environment", markup.definitions(environment)),
        ("notes", "Notes", markup.bullets(notes)),
    ]
    present = [section for section in sections if section[2]]
    contents = "".join(f'<li><a href="#{id}">{name}</a></li>' for id, name, _ in present)
    body = "".join(
        f'<section id="{id}" aria-labelledby="{id}-head"><h2 id="{id}-head">{name}</h2>{content}'
        "</section>"
        for id, name, content in present
    )
    count = len(comparison.results)
    subtitle = (
        f"{count} result{'s' * (count > 1)} on the same {len(comparison.ids)} images, ranked by "
        f"{tables.label(comparison.metric)}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text(comparison.title)}</title><style>{_file('page.css')}</style></head><body>"
        f'<header><h1>{text(comparison.title)}</h1><p class="subtitle">{text(subtitle)}</p>'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav></header><main>{body}</main>'
        f"<script>{_file('page.js')}</script></body></html>\n"
    )


PARETO = (
    "Orange: results that none at the same or a lower cost matches, with their rank; grey: the "
    "others. Costs are logarithmic."
)
RANKS = "Bars on the right join results of which no two can be told apart."
DISTRIBUTIONS = (
    "Box: quartiles with the median; line: the middle 90% of the images; grey: methods without "
    "training."
)


def _ranks(comparison: Comparison, pairs: Sequence[Pair]) -> str:
    diagram = plots.rank_diagram(comparison, pairs, tables.groups(comparison, pairs))
    return _plot(diagram, RANKS)


def _distributions(comparison: Comparison) -> str:
    return _beside(
        _plot(plots.distributions(comparison, column), DISTRIBUTIONS)
        for column in tables.leading_columns(comparison)
    )


def _atlas(comparison: Comparison) -> str:
    return _beside(
        (
            _plot(atlas.depth(comparison), "Lines join the best result at each tap."),
            _plot(atlas.values_per_pixel(comparison), ""),
        )
    )


def _pictures(pictures: Sequence[Picture]) -> str:
    by_result: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_result.setdefault(picture.result, []).append(picture)
    pairs = " pairs" if any(picture.damaged is not None for picture in pictures) else ""
    return "".join(
        f'<h3>{text(name)}</h3><div class="pictures{pairs}">{"".join(map(_picture, own))}</div>'
        for name, own in by_result.items()
    )


def _picture(picture: Picture) -> str:
    """A slider over two pictures, the upper of which is clipped from the right."""
    restored = picture.damaged is not None
    over, under = ("damaged", "restored") if restored else ("original", "reconstruction")
    height, width = picture.original.shape[:2]
    upper = picture.damaged if restored else picture.original
    label = f"{over} to the left, {under} to the right, of {picture.id}"
    beside = (
        f'<div class="frame"><div class="stack" style="aspect-ratio: {width} / {height}">'
        f'<img alt="original" src="{markup.data_uri(picture.original)}">'
        '<span class="tag left">original</span></div></div>'
        if restored
        else ""
    )
    return (
        f'<figure class="compare{" beside" * restored}"><div class="frames">'
        f'<div class="frame slides" tabindex="0" role="group" aria-label="{text(label)}">'
        f'<div class="stack" style="aspect-ratio: {width} / {height}">'
        f'<img alt="{under}" src="{markup.data_uri(picture.reconstruction)}">'
        f'<img class="over" alt="{over}" src="{markup.data_uri(upper)}">'
        f'<span class="tag left">{over}</span><span class="tag right">{under}</span>'
        f'</div></div>{beside}</div><div class="controls">'
        f'<input type="range" min="0" max="100" value="50" aria-label="{text(label)}">'
        '<button type="button" class="zoom" aria-pressed="false">4×</button></div>'
        f"<figcaption><b>{picture.which}</b> {text(picture.id)}<br>{text(picture.caption)}"
        "</figcaption></figure>"
    )


def _configurations(comparison: Comparison) -> str:
    """What two results differ in; the page's script fills it from the data beside it."""
    if len(comparison.results) < 2:
        return ""
    configs = [
        {"name": result.name, "config": _without_paths(result.runs[0].config.to_dict())}
        for result in comparison.results
    ]
    options = "".join(
        f'<option value="{n}">{text(result.name)}</option>'
        for n, result in enumerate(comparison.results)
    )
    return (
        "<noscript><p>What two configurations differ in is found by a script, which does not run "
        "here; the configurations lie in the runs' config.json.</p></noscript>"
        '<div id="difference" hidden><div class="choice">'
        f'<label>First <select id="first">{options}</select></label>'
        f'<label>Second <select id="second">{options}</select></label></div>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Differing keys" '
        'aria-live="polite"></div></div>' + markup.embedded_json("configs", configs)
    )


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Where the data lies on this machine is nobody's business, and the same for all."""
    data = {key: value for key, value in config["data"].items() if key not in PLACES}
    data["extra"] = [
        {key: value for key, value in extra.items() if key not in PLACES} for extra in data["extra"]
    ]
    return {**config, "data": data}


def _plot(drawing: str | None, explanation: str) -> str:
    if drawing is None:
        return ""
    return markup.figure(drawing, f"{svg.title(drawing)} {explanation}".strip())


def _beside(figures: Iterable[str]) -> str:
    shown = "".join(figures)
    return f'<div class="plots">{shown}</div>' if shown else ""


def _file(name: str) -> str:
    return resources.files("tfrecon.reports").joinpath(name).read_text(encoding="utf-8")
