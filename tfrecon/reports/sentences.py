"""The plain-language summary of a comparison: every sentence is computed."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfrecon.base.errors import some
from tfrecon.metrics.measures import MEASURES
from tfrecon.reports import statistics
from tfrecon.reports.comparison import Comparison
from tfrecon.reports.scores import Board
from tfrecon.reports.statistics import ALPHA, Difference, between


def sentences(comparison: Comparison) -> list[str]:
    """What won, by how much, whether it is real, what each axis does, what it costs, and what to be
    careful of."""
    by_axis = statistics.all_ablations(comparison)
    shared = comparison.baselines
    rivals = {r.name: [name for name in r.baselines if name in shared] for r in comparison.results}
    return [
        winner(comparison),
        *failures(comparison),
        *_tied(comparison),
        *(_axis(comparison, axis, rows) for axis, rows in by_axis.items()),
        *against_untrained(comparison, rivals, comparison.metric),
        *_cheaper(comparison),
        *_cautions(comparison),
    ]


def p_value(value: float) -> str:
    """Three decimals, ``< 0.001`` below."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def winner(comparison: Comparison) -> str:
    """The best result, by how much it is better than the next, and whether that is real."""
    best, measure = comparison.results[0], comparison.measure
    score = comparison.mean(best.name)
    if math.isnan(score):
        return f"No result has a {measure.name}: no image has a value."
    if len(comparison.results) == 1:
        return f"{best.name} is the only result: {measure.name} {measure.quantity(score)}."
    second = comparison.results[1]
    pair = between(comparison, best.name, second.name)
    if math.isinf(pair.difference):
        return (
            f"Of {len(comparison.results)} results on {len(comparison.ids)} images {best.name} has "
            f"the best {measure.name}, {measure.quantity(score)}; the next, {second.name}, "
            f"{comparison.failure(second.name)}."
        )
    difference, low, high = map(measure.quantity, pair.gain)
    p = p_value(pair.corrected)
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    if not pair.is_real:
        verdict = f"the corrected paired test does not tell it from chance ({p})"
    elif pair.effect < 0:
        verdict = (
            f"but on most images {second.name} is the better, which is real by the corrected "
            f"paired test ({p}): few images decide the mean"
        )
    else:
        verdict = f"the difference is real by the corrected paired test ({p})"
    return (
        f"Of {len(comparison.results)} results on {len(comparison.ids)} images {best.name} has the "
        f"best {measure.name}, {measure.quantity(score)}, {difference} better than the next, "
        f"{second.name} (95% interval {low} to {high}); "
        f"{verdict}."
    )


def failures(board: Board) -> list[str]:
    """Which methods failed on how many images, and what that does to their rank."""
    methods = dict.fromkeys(method for method, _ in board.summary)
    failed = [f"{name} {board.failure(name)}" for name in methods if board.failed(name)]
    if not failed:
        return []
    return [
        f"{some(failed)}: the output there is not finite. Such an image counts as worse than any "
        "other in ranks and tests and in no mean, and a method ranks below all that failed on "
        "fewer."
    ]


def _tied(comparison: Comparison) -> list[str]:
    best, *others = (result.name for result in comparison.results)
    tied = [name for name in others if not between(comparison, best, name).is_real]
    if not tied:
        return []
    return [f"Not to be told apart from {best} at p < {ALPHA:g}: {some(tied)}."]


def _axis(comparison: Comparison, axis: str, rows: Sequence[Difference]) -> str:
    """What the labels of an axis do."""
    reference, measure = rows[0].second, comparison.measure
    real = [row for row in rows if row.is_real]
    worse = [row for row in real if measure.gain(row.difference) < 0]
    better = [row for row in real if row not in worse]
    tested = {reference, *(row.first for row in rows)}

    def shown(these: Sequence[Difference]) -> str:
        names = (f"{row.first} {measure.quantity(row.difference, signed=True)}" for row in these)
        return some(names)

    first = f"On {axis}, {reference} is best with all else equal"
    if better:
        first = f"On {axis}, with all else equal, against {reference}"
    parts = [
        ("", first),
        ("worse: ", shown(worse)),
        ("better: ", shown(better)),
        ("not to be told apart from it: ", some(r.first for r in rows if not r.is_real)),
        (
            "not compared, as no result agrees with it in all else: ",
            some(label for label in comparison.axes[axis] if label not in tested),
        ),
    ]
    return "; ".join(head + names for head, names in parts if names) + "."


def against_untrained(board: Board, rivals: Mapping[str, Sequence[str]], column: str) -> list[str]:
    """Which results are not better by the mean of a column than which of their `rivals`, methods
    that need no training; nothing where no rival has a value."""
    measure = MEASURES[column]

    def shown(name: str) -> str:
        failure = f", {board.failure(name)}" if board.failed(name) else ""
        return f"{name} {measure.quantity(board.mean(name, column))}{failure}"

    held, worse = 0, list[str]()
    for name, others in rivals.items():
        standing = {other: board.standing(other, column) for other in (name, *others)}
        known = [other for other in others if standing[other][1] < math.inf]
        held += bool(known)
        ahead = [other for other in known if standing[name] >= standing[other]]
        if ahead:
            worse.append(f"{shown(name)} ({', '.join(map(shown, board.ranked(ahead, column)))})")
    verdict = "every result is better than each method without training that it is held against"
    if worse:
        verdict = (
            f"NO better than methods without training: {some(worse)}; {len(worse)} of {held} "
            "results"
        )
    return [f"By {measure.name} {verdict}."] if held else []


def _cheaper(comparison: Comparison) -> list[str]:
    """The result with fewest multiply-adds among those that cannot be told from the best."""
    best = comparison.results[0]
    most = best.cost.multiply_adds
    if most is None or _too_few(comparison):
        return []
    counts = {
        other.name: other.cost.multiply_adds
        for other in comparison.results[1:]
        if other.cost.multiply_adds is not None
        and not between(comparison, best.name, other.name).is_real
    }
    least = min(counts, key=lambda name: counts[name], default=None)
    if least is None or counts[least] >= most:
        return []
    share = 100 * counts[least] / most
    return [f"{least} cannot be told from the best and takes {share:.2g}% of its multiply-adds."]


def _cautions(comparison: Comparison) -> list[str]:
    lines: list[str] = []
    seeds = {len(result.runs) for result in comparison.results}
    if 1 in seeds:
        lines.append(
            "A result of one seed is one training: the tests say that results differ on these "
            "images, not that other seeds would give the same order."
        )
    if seeds != {1}:
        repeated = [result for result in comparison.results if len(result.runs) > 1]
        most = comparison.measure.quantity(max(r.seed_spread(comparison.metric) for r in repeated))
        lines.append(
            f"Over the seeds of a result the mean varies by {most} at most (standard deviation): "
            "differences of about that size may be luck, whatever the tests say."
        )
    if _too_few(comparison):
        lines.append(
            f"With {_images(comparison)} images and {_tests(comparison)} pairs of results no "
            f"difference can reach p < {ALPHA:g}: take more images, or fewer results."
        )
    return [*lines, *missing(comparison)]


def missing(comparison: Comparison) -> list[str]:
    """Which cells have no result; nothing where all have."""
    names = comparison.missing
    return [f"Without a result: {some(names)} ({len(names)})."] if names else []


def _images(comparison: Comparison) -> int:
    """The images that have a value of the metric."""
    return int((~np.isnan(comparison.values(comparison.results[0].name))).sum())


def _tests(comparison: Comparison) -> int:
    return len(statistics.pairs(comparison, comparison.metric))


def _too_few(comparison: Comparison) -> bool:
    """Whether even a difference of one sign on every image could not pass the corrected test."""
    tests = _tests(comparison)
    return tests > 0 and 2.0 ** (1 - _images(comparison)) * tests >= ALPHA
