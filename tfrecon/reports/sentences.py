"""The plain-language summary of a comparison: every sentence is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfrecon.reports import tables
from tfrecon.reports.comparison import Comparison, Result, gain, mean
from tfrecon.reports.statistics import ALPHA, Ablation, Pair

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
    found += _cautions(comparison, tested)
    return [line for line in found if line]


def quantity(column: str, value: float, signed: bool = False) -> str:
    """A value or a difference as the tables show it, with its unit."""
    unit = " dB" if "(dB)" in tables.label(column) else ""
    return tables.number(column, value, signed) + unit


def label(column: str) -> str:
    """``PSNR``, ``Hole PSNR``: a column in running text."""
    return tables.label(column).removesuffix(" (dB)")


def _p(pair: Pair) -> str:
    shown = tables.p_value(pair.corrected)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def _winner(comparison: Comparison, tested: Sequence[Pair]) -> str:
    best, column = comparison.results[0], comparison.metric
    if math.isnan(best.mean(column)):
        return f"No result has a {label(column)}: no image has a value."
    if len(comparison.results) == 1:
        shown = quantity(column, best.mean(column))
        return f"{best.name} is the only result: {label(column)} {shown}."
    said = (
        f"Of {len(comparison.results)} results on {len(comparison.ids)} images {best.name} has the "
        f"best {label(column)}, {quantity(column, best.mean(column))}"
    )
    second = comparison.results[1]
    pair = _of(tested, best, second)
    by, low, high = (gain(column, one) for one in (pair.difference, pair.low, pair.high))
    low, high = sorted((low, high))
    interval = f"95% interval {quantity(column, low)} to {quantity(column, high)}"
    verdict = (
        f"the difference is real by the corrected paired test ({_p(pair)})"
        if pair.is_real
        else f"the corrected paired test does not tell it from chance ({_p(pair)})"
    )
    if pair.is_real and pair.effect < 0:
        verdict = (
            f"but on most images {second.name} is the better, which is real by the corrected "
            f"paired test ({_p(pair)}): few images decide the mean"
        )
    return (
        f"{said}, {quantity(column, by)} better than the next, {second.name} ({interval}); "
        f"{verdict}."
    )


def _tied(comparison: Comparison, tested: Sequence[Pair]) -> list[str]:
    best = comparison.results[0]
    tied = [other.name for other in comparison.results[1:] if not _of(tested, best, other).is_real]
    if not tied:
        return []
    return [f"Not to be told apart from {best.name} at p < {ALPHA:g}: {_listed(tied)}."]


def _axis(comparison: Comparison, axis: str, rows: Sequence[Ablation]) -> str:
    if not rows:
        return ""
    column, reference = comparison.metric, rows[0].reference
    worse = [row for row in rows if row.is_real and gain(column, row.difference) < 0]
    better = [row for row in rows if row.is_real and row not in worse]
    apart = [row.label for row in rows if not row.is_real]
    absent = [
        label
        for label in comparison.axes[axis]
        if label != reference and label not in [row.label for row in rows]
    ]

    def shown(some: Sequence[Ablation]) -> str:
        return _listed(
            [f"{row.label} {quantity(column, row.difference, signed=True)}" for row in some]
        )

    parts = [f"On {axis}, with all else equal, against {reference}"]
    if not better:
        parts = [f"On {axis}, {reference} is best with all else equal"]
    if worse:
        parts.append(f"worse: {shown(worse)}")
    if better:
        parts.append(f"better: {shown(better)}")
    if apart:
        parts.append(f"not to be told apart from it: {_listed(apart)}")
    if absent:
        parts.append(f"not compared, as no result agrees with it in all else: {_listed(absent)}")
    return "; ".join(parts) + "."


def _nothing_done(comparison: Comparison) -> str:
    """Whether each result is better than everything that needs no training."""
    column = comparison.metric
    means = {name: mean(own[column]) for name, own in comparison.baselines.items()}
    held = 0
    worse: list[str] = []
    for result in comparison.results:
        own = [name for name in result.baselines if not math.isnan(means.get(name, math.nan))]
        if not own:
            continue
        held += 1
        best = max(own, key=lambda name: gain(column, means[name]))
        if not gain(column, result.mean(column) - means[best]) > 0:
            worse.append(
                f"{result.name} ({quantity(column, result.mean(column))}, {best} "
                f"{quantity(column, means[best])})"
            )
    if not held:
        return ""
    if not worse:
        return (
            f"By {label(column)} every result is better than each method without training that it "
            "is held against."
        )
    return (
        f"By {label(column)} NO better than the best method without training: {_listed(worse)}; "
        f"{len(worse)} of {held} results."
    )


def _cheaper(comparison: Comparison, tested: Sequence[Pair]) -> list[str]:
    """The result with fewest multiply-adds among those that cannot be told from the best."""
    best = comparison.results[0]
    if best.cost.multiply_adds is None or _too_few(comparison, tested):
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
        f"{least.name} cannot be told from the best and takes {100 * share:.2g}% of its "
        "multiply-adds."
    ]


def _cautions(comparison: Comparison, tested: Sequence[Pair]) -> list[str]:
    found: list[str] = []
    seeds = {len(result.runs) for result in comparison.results}
    if 1 in seeds:
        found.append(
            "A result of one seed is one training: the tests say that results differ on these "
            "images, not that other seeds would give the same order."
        )
    if seeds != {1}:
        spreads = [
            float(np.std(result.seed_means[comparison.metric], ddof=1))
            for result in comparison.results
            if len(result.runs) > 1
        ]
        most = quantity(comparison.metric, max(spreads))
        found.append(
            f"Over the seeds of a result the mean varies by {most} at most (standard deviation): "
            "differences of about that size may be luck, whatever the tests say."
        )
    if _too_few(comparison, tested):
        found.append(
            f"With {_images(comparison)} images and {len(tested)} pairs of results no difference "
            f"can reach p < {ALPHA:g}: take more images, or fewer results."
        )
    if comparison.missing:
        found.append(
            f"Without a result: {_listed(list(comparison.missing))} ({len(comparison.missing)})."
        )
    return found


def _images(comparison: Comparison) -> int:
    """The images that have a value of the metric."""
    return int((~np.isnan(comparison.results[0].scores[comparison.metric])).sum())


def _too_few(comparison: Comparison, tested: Sequence[Pair]) -> bool:
    """Whether even a difference of one sign on every image could not pass the corrected test."""
    return bool(tested) and 2.0 ** (1 - _images(comparison)) * len(tested) >= ALPHA


def _of(tested: Sequence[Pair], one: Result, other: Result) -> Pair:
    names = {one.name, other.name}
    return next(pair for pair in tested if {pair.better, pair.worse} == names)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - LISTED
    shown = ", ".join(names[:LISTED])
    return f"{shown} and {rest} more" if rest > 0 else shown
