"""Whether differences between results are real: paired tests over the same images.

Wilcoxon's signed-rank test of each pair (Wilcoxon 1945; SciPy's), all p-values corrected together
(Holm 1979), the matched-pairs rank-biserial correlation as effect size (Kerby 2014), and groups of
neighbours in rank that cannot be told apart (drawn as in Demšar 2006).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfrecon.metrics.measures import MEASURES, Measure
from tfrecon.reports.comparison import Comparison
from tfrecon.reports.scores import Values, bootstrap, mean

ALPHA = 0.05
"""Corrected p-values below this count as a difference."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired test of `first` against `second` on a column, over the `n` images that both have.

    An image on which one side failed counts as the largest difference of all in the test, and in
    no mean; where one side failed on more images than the other, the difference is infinite.

    `difference`: mean of the first less the second, in the column's unit, with the ends of its 95%
    bootstrap interval over images. `p`: two-sided, `corrected`: with Holm over all tests of the
    table. `effect`: share of rank sums in favour of the first side less that of the second, -1 to
    1, where the better value is in favour, more or less.

    The sides are two results, the better mean first; or, of an `axis`, a label and the axis's best,
    each the mean over the `cells` results with which it agrees with the other on all other axes.
    """

    first: str
    second: str
    column: str
    n: int
    difference: float
    low: float
    high: float
    p: float
    corrected: float
    effect: float
    axis: str = ""
    cells: int = 1

    @property
    def measure(self) -> Measure:
        """What is known of the column."""
        return MEASURES[self.column]

    @property
    def is_real(self) -> bool:
        """Whether the corrected test, or that one failed on more images, tells the two apart."""
        return self.corrected < ALPHA or math.isinf(self.difference)

    @property
    def gain(self) -> tuple[float, float, float]:
        """How much better the first is than the second, and the ends of the interval of that."""
        low, high = sorted(self.measure.gain(end) for end in (self.low, self.high))
        return self.measure.gain(self.difference), low, high


@functools.lru_cache(maxsize=64)  # every table, figure and sentence asks for the same tests
def pairs(comparison: Comparison, column: str) -> list[Difference]:
    """Every pair of results on a column, ordered by the mean of that column."""
    order = comparison.ranked((result.name for result in comparison.results), column)
    values = {name: comparison.values(name, column) for name in order}
    sides = {two: (values[two[0]], values[two[1]]) for two in itertools.combinations(order, 2)}
    return tested(column, sides)


def between(comparison: Comparison, first: str, second: str) -> Difference:
    """The test of two results, by the metric that ranks."""
    every = pairs(comparison, comparison.metric)
    return next(pair for pair in every if {pair.first, pair.second} == {first, second})


def groups(comparison: Comparison) -> list[tuple[int, int]]:
    """First and last place of each longest run of neighbours in rank, by the metric that ranks, of
    which no two can be told apart; runs of one are left out."""
    order = [result.name for result in comparison.results]
    every = pairs(comparison, comparison.metric)
    return groups_of(order, {frozenset((p.first, p.second)): p.is_real for p in every})


def groups_of(order: Sequence[str], real: Mapping[frozenset[str], bool]) -> list[tuple[int, int]]:
    """`groups` of names, best first; `real` tells which two can be told apart."""
    bars: list[tuple[int, int]] = []
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and not any(
            real[frozenset((order[place], order[end + 1]))] for place in range(start, end + 1)
        ):
            end += 1
        if end > start and not (bars and bars[-1][1] >= end):
            bars.append((start, end))
    return bars


def all_ablations(comparison: Comparison) -> dict[str, list[Difference]]:
    """The `ablations` of each axis that has any."""
    by_axis = {axis: ablations(comparison, axis) for axis in comparison.axes}
    return {axis: rows for axis, rows in by_axis.items() if rows}


@functools.lru_cache(maxsize=64)
def ablations(comparison: Comparison, axis: str) -> list[Difference]:
    """Each label of an axis against the best, which is that with the better mean of most pairs of
    labels; Holm over the table. Only results that agree on all other axes are compared, and labels
    that share no combination of them with the best are left out."""
    by_label = _by_label(comparison, axis)
    if not by_label:
        return []
    reference = max(by_label, key=lambda label: _standing(comparison, label, by_label))
    best = by_label.pop(reference)
    shared = {label: [rest for rest in cells if rest in best] for label, cells in by_label.items()}

    def average(cells: Mapping[Rest, str], rests: Sequence[Rest]) -> Values:
        return np.mean([comparison.values(cells[rest]) for rest in rests], axis=0)

    sides = {
        (label, reference): (average(by_label[label], rests), average(best, rests))
        for label, rests in shared.items()
        if rests
    }
    return [
        dataclasses.replace(test, axis=axis, cells=len(shared[test.first]))
        for test in tested(comparison.metric, sides)
    ]


def wilcoxon(differences: Values) -> float:
    """The two-sided p-value of paired differences (N,), zeros left out (Wilcoxon 1945), SciPy's:
    exact for few values without ties, else the normal approximation. 1 where there is none."""
    some = _differing(differences)
    return float(stats.wilcoxon(some).pvalue) if len(some) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm 1979, in the order given."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return steps[np.argsort(order)].tolist()


def rank_biserial(differences: Values) -> float:
    """Matched-pairs rank-biserial correlation of differences (N,), zeros left out (Kerby 2014):
    1 where all are positive, -1 where all are negative, 0 where there is none."""
    some = _differing(differences)
    ranks = stats.rankdata(np.abs(some))
    return float((ranks * np.sign(some)).sum() / max(1, ranks.sum()))


def _differing(differences: Values) -> Values:
    return differences[~np.isnan(differences) & (differences != 0)]


def tested(column: str, sides: Mapping[tuple[str, str], tuple[Values, Values]]) -> list[Difference]:
    """The tests of pairs of values, by the names of both sides; p-values corrected together."""
    if not sides:
        return []
    with np.errstate(invalid="ignore"):  # where both failed there is no difference
        differences = [first - second for first, second in sides.values()]
    p_values = [wilcoxon(values) for values in differences]
    ends = bootstrap(np.stack(differences, axis=1))
    sign = MEASURES[column].gain(1)

    def lopsided(values: Values, finite: float) -> float:
        balance = float(np.sign(values[np.isinf(values)]).sum())  # failures of the one less other's
        return math.copysign(math.inf, balance) if balance else float(finite)

    return [
        Difference(
            first=first, second=second, column=column, n=int((~np.isnan(values)).sum()),
            difference=lopsided(values, mean(values)), low=lopsided(values, low),
            high=lopsided(values, high), p=p, corrected=corrected,
            effect=rank_biserial(sign * values),
        )
        for (first, second), values, low, high, p, corrected in zip(
            sides, differences, *ends, p_values, holm(p_values), strict=True
        )
    ]  # fmt: skip


Rest = tuple[tuple[str, str], ...]
"""Labels of a result on all axes but one."""


def _by_label(comparison: Comparison, axis: str) -> dict[str, dict[Rest, str]]:
    """Names of the results by their label on the axis, then by those on the other axes."""
    cells: dict[str, dict[Rest, str]] = {label: {} for label in comparison.axes[axis]}
    for result in comparison.results:
        rest = tuple(item for item in result.labels.items() if item[0] != axis)
        if axis in result.labels:
            cells[result.labels[axis]][rest] = result.name
    return {label: names for label, names in cells.items() if names}


def _standing(
    comparison: Comparison, label: str, by_label: Mapping[str, Mapping[Rest, str]]
) -> tuple[int, int, float]:
    """How many labels this label beats where both exist, then how well all its results stand.

    Standing over all alone would favour a label that only exists where everything is easy."""

    def standing(results: Sequence[str]) -> tuple[int, float]:
        failed, bad = zip(*map(comparison.standing, results), strict=True)
        return sum(failed), sum(bad) / len(bad)

    cells = by_label[label]
    wins = 0
    for other, theirs in by_label.items():
        shared = [rest for rest in cells if rest in theirs and other != label]
        mine, others = ([side[rest] for rest in shared] for side in (cells, theirs))
        wins += bool(shared) and standing(mine) < standing(others)
    failed, badness = standing([*cells.values()])
    return wins, -failed, -badness
