"""The plain-language summary of a comparison: every sentence is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfrecon.comparison.results import Comparison, Result, gain, mean
from tfrecon.comparison.statistics import ALPHA, LEAST_IMAGES, Ablation, Pair
from tfrecon.evaluation import table

LISTED = 5
"""Most names that a sentence lists."""


def sentences(
    comparison: Comparison, tested: Sequence[Pair], ablations: Mapping[str, Sequence[Ablation]]
) -> list[str]:
    """What won, by how much, whether it is real, what each axis does, what it costs, and what to be
    careful of."""
    found = [_winner(comparison, tested)]
    found += _tied(comparison, tested)
    found += [line for axis, rows in ablations.items() if (line := _axis(comparison, axis, rows))]
    found.append(_nothing_done(comparison))
    found += _cheaper(comparison, tested)
    found += _cautions(comparison)
    return [line for line in found if line]


def number(column: str, value: float, sign: bool = False) -> str:
    """A value or a difference as the tables show it, with the metric's unit."""
    measure = table.MEASURES[column.removeprefix(table.HOLE)]
    form = measure.form
    if sign and not form.startswith("+"):
        form = "+" + form
    unit = " dB" if "(dB)" in measure.label else ""
    return format(value, form) + unit


def label(column: str) -> str:
    """``PSNR``, ``PSNR of the holes``: a column in running text."""
    plain = table.MEASURES[column.removeprefix(table.HOLE)].label.removesuffix(" (dB)")
    return f"{plain} of the holes" if column.startswith(table.HOLE) else plain


def _winner(comparison: Comparison, tested: Sequence[Pair]) -> str:
    best, column = comparison.results[0], comparison.metric
    said = (
        f"Of {len(comparison.results)} results on {len(comparison.ids)} images {best.name} has the "
        f"best {label(column)}, {number(column, best.mean(column))}"
    )
    if len(comparison.results) == 1:
        return said + "."
    second = comparison.results[1]
    pair = _of(tested, best, second)
    by = number(column, abs(pair.difference))
    low, high = sorted((abs(pair.low), abs(pair.high)))
    if pair.low <= 0 <= pair.high:
        low, high = pair.low, pair.high
    interval = f"95% interval {number(column, low)} to {number(column, high)}"
    verdict = (
        f"the difference is real by the corrected paired test (p = {p_text(pair.corrected)})"
        if pair.is_real
        else f"which the corrected paired test does not tell from chance (p = "
        f"{p_text(pair.corrected)})"
    )
    return f"{said}, {by} better than the next, {second.name} ({interval}); {verdict}."


def _tied(comparison: Comparison, tested: Sequence[Pair]) -> list[str]:
    best = comparison.results[0]
    tied = [
        other.name for other in comparison.results[1:] if not _of(tested, best, other).is_real
    ]
    if not tied:
        return []
    return [f"Not to be told apart from {best.name} at p < {ALPHA:g}: {_listed(tied)}."]


def _axis(comparison: Comparison, axis: str, rows: Sequence[Ablation]) -> str:
    if not rows:
        return ""
    column, reference = comparison.metric, rows[0].reference
    real = [row for row in rows if row.pair.is_real and gain(column, row.pair.difference) > 0]
    parts = [f"{row.label} {number(column, -row.pair.difference, sign=True)}" for row in real]
    apart = [row.label for row in rows if row not in real]
    said = f"On {axis}, {reference} is best"
    if parts:
        said += f"; against it, with all else equal: {_listed(parts)}"
    if apart:
        said += f"; not to be told apart from it: {_listed(apart)}"
    return said + "."


def _nothing_done(comparison: Comparison) -> str:
    """Whether each result is better than everything that needs no training."""
    column = comparison.metric
    means = {name: mean(own[column]) for name, own in comparison.baselines.items()}
    means = {name: value for name, value in means.items() if not math.isnan(value)}
    if not means:
        return ""
    best = max(means, key=lambda name: gain(column, means[name]))
    worse = [
        result.name
        for result in comparison.results
        if not gain(column, result.mean(column) - means[best]) > 0
    ]
    shown = f"{best} ({number(column, means[best])})"
    if not worse:
        return f"Every result is better than what needs no training, the best of which is {shown}."
    return (
        f"NO better than what needs no training, {shown}: {_listed(worse)} "
        f"({len(worse)} of {len(comparison.results)})."
    )


def _cheaper(comparison: Comparison, tested: Sequence[Pair]) -> list[str]:
    """The result with fewest multiply-adds among those that cannot be told from the best."""
    best = comparison.results[0]
    if best.cost.multiply_adds is None:
        return []
    as_good = [
        other
        for other in comparison.results[1:]
        if not _of(tested, best, other).is_real
        and other.cost.multiply_adds is not None
        and other.cost.multiply_adds < best.cost.multiply_adds
    ]
    if not as_good:
        return []
    least = min(as_good, key=lambda other: other.cost.multiply_adds or 0)
    share = (least.cost.multiply_adds or 0) / best.cost.multiply_adds
    return [
        f"{least.name} is as good as the best by the test and takes {share:.0%} of its "
        "multiply-adds."
    ]


def _cautions(comparison: Comparison) -> list[str]:
    found: list[str] = []
    seeds = {len(result.runs) for result in comparison.results}
    if seeds == {1}:
        found.append(
            "Each result is one training with one seed: the tests say that results differ on these "
            "images, not that another seed would give the same order."
        )
    else:
        spreads = [
            float(np.std(result.seed_means[comparison.metric], ddof=1))
            for result in comparison.results
            if len(result.runs) > 1
        ]
        found.append(
            f"Over the seeds of a result the mean varies by {number(comparison.metric, max(spreads))} "
            "at most (standard deviation); differences below that may be luck."
        )
    if len(comparison.ids) < LEAST_IMAGES:
        found.append(
            f"With {len(comparison.ids)} images no difference can reach p < {ALPHA:g}: take more."
        )
    if comparison.missing:
        found.append(
            f"{len(comparison.missing)} cells have no result: {_listed(list(comparison.missing))}."
        )
    return found


def p_text(p: float) -> str:
    """``0.031``, ``4e-07``."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _of(tested: Sequence[Pair], one: Result, other: Result) -> Pair:
    names = {one.name, other.name}
    return next(pair for pair in tested if {pair.better, pair.worse} == names)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - LISTED
    shown = ", ".join(names[:LISTED])
    return f"{shown} and {rest} more" if rest > 0 else shown
