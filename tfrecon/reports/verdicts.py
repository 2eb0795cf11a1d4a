"""What an evaluation has shown, in sentences, and the one screen that a verb prints at its end."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from tfrecon.metrics.measures import HOLE, MEASURES, leading_columns, main_column
from tfrecon.reports import contenders, svg
from tfrecon.reports.costs import Cost, Costs
from tfrecon.reports.scores import Summary, arrays, bootstrap, mean, methods_of
from tfrecon.reports.tables import Column, Table

WIDTH, HEIGHT = 100, 25
"""Columns and lines of the screen."""

SENTENCE_LINES = 5
"""Most lines of one sentence on the screen."""

NAME = 16
"""Characters of a method's name that stay on the screen, however wide the numbers are."""


def verdicts(
    summary: Summary, paid: Costs, names: Sequence[str], untrained: Sequence[str]
) -> list[str]:
    """Each run against what needs no training, the order of the runs, what ensembles and averages
    gain, and what bounds a diffusion."""
    column = main_column(column for _, column in summary)
    measure = MEASURES[column]

    def score(method: str) -> float:
        return summary[method, column].mean

    def gain(before: str, after: str) -> str:
        return measure.quantity(score(after) - score(before), signed=True)

    lines = [line for name in names for line in against_all(summary, name, untrained)]
    if len(names) > 1:
        order = ranked(summary, names, column)
        shown = (f"{name} {measure.quantity(score(name))}" for name in order)
        lines.append(f"by PSNR: {', '.join(shown)}.")
    for name in names:
        lines += _variants(paid, name, gain)
        draws = [method for method in paid if method.startswith(name + contenders.DRAW)]
        if draws:
            lines.append(_spread(summary, name, draws, column))
        bound = name + contenders.BOUND
        if bound in paid:
            lines.append(
                f"{bound}: the truth through it, {measure.quantity(score(bound))}, as a sample "
                "with its latents would have."
            )
    return lines


def _variants(paid: Costs, name: str, gain: Callable[[str, str], str]) -> list[str]:
    """What the ensemble, the tiles and the average of a run gain, and what they take."""
    lines: list[str] = []
    for variant in (name + contenders.ENSEMBLE, name + contenders.TILES):
        if variant in paid:
            time = _time(paid[name], paid[variant])
            lines.append(f"{variant}: {gain(name, variant)} for {time}.")
    raw, last = name + contenders.RAW, name + contenders.LAST
    if raw in paid:
        averaged = last if last in paid else name
        lines.append(f"{averaged}: {gain(raw, averaged)} by EMA weights, which take no more time.")
    return lines


def against_all(summary: Summary, model: str, others: Sequence[str]) -> list[str]:
    """Sentences on MSE and PSNR, of the holes where there are any: one for each method that the
    model does not beat, or one that it beats them all."""
    prefix = HOLE if any(column.startswith(HOLE) for _, column in summary) else ""
    region = "hole" if prefix else "whole-image"
    lines: list[str] = []
    for metric in ("mse", "psnr"):
        measure = MEASURES[prefix + metric]
        score = summary[model, measure.column].mean
        for method in others:
            theirs = summary[method, measure.column].mean
            if not measure.gain(score - theirs) > 0:
                lines.append(
                    f"{model} is NO better than the {method} on {region} {measure.label}: "
                    f"{measure.number(score)} against {measure.number(theirs)}."
                )
    if others and not lines:
        names = ", ".join(others)
        lines.append(f"{model} is better than each of: {names}; on {region} MSE and PSNR.")
    return lines


def _time(before: Cost, after: Cost) -> str:
    first, second = before.seconds_per_image, after.seconds_per_image
    if not first or not second:
        return "no measured time"
    return f"{second / first:.1f} times the time ({1000 * second:.3g} ms an image)"


def _spread(summary: Summary, name: str, draws: Sequence[str], column: str) -> str:
    """Mean and standard deviation of the draws' means."""
    shown: list[str] = []
    for measure in (MEASURES[name] for name in (column, "ssim", "lpips_alex")):
        cells = [summary[draw, name] for draw, name in summary if name == measure.column]
        means = [cell.mean for cell in cells if cell.method in draws]
        if means:
            deviation = float(np.std(means, ddof=1)) if len(means) > 1 else math.nan
            numbers = f"{measure.number(float(np.mean(means)))} ± {measure.number(deviation)}"
            shown.append(f"{measure.label} {numbers}")
    return f"{name} over {len(draws)} draws: {', '.join(shown)}."


def ranked(summary: Summary, methods: Sequence[str], column: str) -> list[str]:
    """Methods, the best mean first."""
    return sorted(methods, key=lambda name: MEASURES[column].badness(summary[name, column].mean))


def rivals(summary: Summary, untrained: Sequence[str], column: str) -> list[str]:
    """What a model must beat: the method that does nothing, which is the first of `untrained`, and
    the best of them."""
    return list(dict.fromkeys([*untrained[:1], *ranked(summary, untrained, column)[:1]]))


def verdict(
    scores: pl.DataFrame, summary: Summary, model: str, untrained: Sequence[str], column: str
) -> str:
    """One sentence: the model's mean with its interval, and the differences to its `rivals` with
    theirs, each over the same images."""
    measure, cell = MEASURES[column], summary[model, column]
    values = arrays(scores)
    sentence = (
        f"{model} has {measure.name} {measure.quantity(cell.mean)} {cell.interval} on {cell.n} "
        "images"
    )
    parts: list[str] = []
    for name in rivals(summary, untrained, column):
        gains = measure.gain(1.0) * (values[model, column] - values[name, column])
        low, high = (float(end[0]) for end in bootstrap(gains[:, None]))
        way = "better than" if low > 0 else "WORSE than" if high < 0 else "not told apart from"
        difference = measure.quantity(mean(gains), signed=True)
        interval = measure.interval(low, high, signed=True)
        parts.append(f"{way} {name}: {difference} {interval}")
    return "; ".join([sentence, *parts]) + ". In brackets: 95% intervals."


def ending(
    scores: pl.DataFrame, summary: Summary, names: Sequence[str], untrained: Sequence[str],
    column: str, where: Sequence[str], *, before: Sequence[str] = (), after: Sequence[str] = (),
) -> str:  # fmt: skip
    """The screen of an evaluation or a comparison: the verdict on the best of `names`, between the
    sentences `before` and `after` it."""
    best = ranked(summary, names, column)[0]
    sentences = [*before, verdict(scores, summary, best, untrained, column), *after]
    wanted = [best, *rivals(summary, untrained, column)]
    return screen(sentences, summary, wanted, column, where)


def screen(
    sentences: Sequence[str], summary: Summary, wanted: Sequence[str], column: str,
    where: Sequence[str],
) -> str:  # fmt: skip
    """At most `HEIGHT` lines of `WIDTH` columns: sentences, the metrics that matter of as many
    methods as fit, best first and `wanted` ones in any case, and `where` the full report lies."""
    said = [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, WIDTH, max_lines=SENTENCE_LINES, placeholder=" …")
    ]
    methods = ranked(summary, methods_of(summary), column)
    room = HEIGHT - len(said) - len(where) - 3  # two empty lines and the table's heads
    hidden = len(methods) - room + 1 if len(methods) > room else 0
    kept = [*wanted, *(name for name in methods if name not in wanted)][: len(methods) - hidden]
    lines = _compact(summary, [name for name in methods if name in kept], column).text()
    if hidden:
        lines += f"\n… and {hidden} more in the report"
    return "\n".join([*said, "", lines, "", *where])


def _compact(summary: Summary, methods: Sequence[str], first: str) -> Table:
    """Means and intervals of the leading metrics, as many as `WIDTH` has room for."""
    columns = leading_columns((column for _, column in summary), first)
    while True:
        heads = [Column(MEASURES[column].head) for column in columns]
        cells = [
            [f"{cell.measure.number(cell.mean)} {cell.interval}" for cell in row]
            for row in ([summary[name, column] for column in columns] for name in methods)
        ]
        numbers = Table(heads, cells).text().splitlines()
        name_width = WIDTH - 2 - max(map(len, numbers))
        if name_width >= NAME or len(columns) == 1:
            break
        columns.pop()
    names = [svg.shortened(name, max(NAME, min(svg.LONGEST, name_width))) for name in methods]
    return Table(
        [Column(""), *heads], [[name, *row] for name, row in zip(names, cells, strict=True)]
    )
