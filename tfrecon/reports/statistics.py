"""Whether differences between results are real: paired tests over the same images.

Wilcoxon's signed-rank test of each pair (Wilcoxon 1945; SciPy's), all p-values corrected together
(Holm 1979), the matched-pairs rank-biserial correlation as effect size (Kerby 2014), and groups of
neighbours in rank that cannot be told apart (drawn as in Demšar 2006).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfrecon.metrics.measures import MEASURES, Measure
from tfrecon.reports.comparison import Comparison
from tfrecon.reports.scores import Values, bootstrap, mean

ALPHA = 0.05
"""Corrected p-values below this count as a difference."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired test on one column over the `n` images that both sides have.

    `difference`: mean of the first side less the second, in the column's unit, with the ends of its
    95% bootstrap interval over images. `p`: two-sided, `corrected`: with Holm over all tests of the
    table. `effect`: share of rank sums in favour of the first side less that of the second, -1 to
    1, where the better value is in favour, more or less.
    """

    column: str
    n: int
    difference: float
    low: float
    high: float
    p: float
    corrected: float
    effect: float

    @property
    def measure(self) -> Measure:
        """What is known of the column."""
        return MEASURES[self.column]

    @property
    def is_real(self) -> bool:
        """Whether the corrected test tells the two apart."""
        return self.corrected < ALPHA


@dataclass(frozen=True, kw_only=True)
class Pair(Difference):
    """Two results, the better of the means first: `better` less `worse`."""

    better: str
    worse: str


def pairs(comparison: Comparison, column: str) -> list[Pair]:
    """Every pair of results on a column, ordered by the mean of that column."""
    means = {result.name: comparison.mean(result.name, column) for result in comparison.results}
    order = sorted(means, key=lambda name: MEASURES[column].badness(means[name]))
    pairs = list(itertools.combinations(order, 2))
    sides = [tuple(comparison.values(name, column) for name in pair) for pair in pairs]
    return [
        Pair(better=better, worse=worse, **vars(test))
        for (better, worse), test in zip(pairs, _tested(column, sides), strict=True)
    ]


def groups(order: Sequence[str], tested: Sequence[Pair]) -> list[tuple[int, int]]:
    """First and last place of each longest run of neighbours in `order` (best first) of which no
    two can be told apart; runs of one are left out."""
    real = {frozenset((pair.better, pair.worse)): pair.is_real for pair in tested}
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


@dataclass(frozen=True, kw_only=True)
class Ablation(Difference):
    """What one label of an axis does against the axis's best: `label` less `reference` over images,
    each the mean over the `cells` pairs of results that agree on all other axes."""

    axis: str
    label: str
    reference: str
    cells: int


def ablations(comparison: Comparison, axis: str) -> list[Ablation]:
    """Each label of an axis against the best, which is that with the better mean of most pairs of
    labels; Holm over the table. Only results that agree on all other axes are compared, and labels
    that share no combination of them with the best are left out."""
    column = comparison.metric
    by_label = {label: _by_rest(comparison, axis, label) for label in comparison.axes[axis]}
    by_label = {label: cells for label, cells in by_label.items() if cells}
    if not by_label:
        return []
    reference = max(by_label, key=lambda label: _standing(comparison, label, by_label))
    best = by_label.pop(reference)
    shared = {label: [rest for rest in cells if rest in best] for label, cells in by_label.items()}
    shared = {label: rests for label, rests in shared.items() if rests}
    sides = [
        tuple(
            np.mean([comparison.values(side[rest], column) for rest in rests], axis=0)
            for side in (by_label[label], best)
        )
        for label, rests in shared.items()
    ]
    return [
        Ablation(axis=axis, label=label, reference=reference, cells=len(rests), **vars(test))
        for (label, rests), test in zip(shared.items(), _tested(column, sides), strict=True)
    ]


def wilcoxon(differences: Values) -> float:
    """The two-sided p-value of paired differences (N,), zeros left out (Wilcoxon 1945), SciPy's:
    exact for few values without ties, else the normal approximation. 1 where there is none."""
    from scipy import stats

    known = differences[~np.isnan(differences) & (differences != 0)]
    if not len(known):
        return 1.0
    return float(stats.wilcoxon(known).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm 1979, in the order given."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    result = np.empty_like(p)
    result[order] = steps
    return [float(value) for value in result]


def rank_biserial(differences: Values) -> float:
    """Matched-pairs rank-biserial correlation of differences (N,), zeros left out (Kerby 2014):
    1 where all are positive, -1 where all are negative, 0 where there is none."""
    from scipy import stats

    known = differences[~np.isnan(differences) & (differences != 0)]
    if not len(known):
        return 0.0
    ranks = stats.rankdata(np.abs(known))
    return float((ranks * np.sign(known)).sum() / ranks.sum())


def _tested(column: str, sides: Sequence[tuple[Values, ...]]) -> list[Difference]:
    """The tests of pairs of values, p-values corrected together."""
    if not sides:
        return []
    differences = np.stack([first - second for first, second in sides], axis=1)
    lows, highs = bootstrap(differences)
    p_values = [wilcoxon(values) for values in differences.T]
    sign = MEASURES[column].gain(1)
    return [
        Difference(
            column=column, n=int((~np.isnan(values)).sum()), difference=mean(values),
            low=float(low), high=float(high), p=p, corrected=corrected,
            effect=rank_biserial(sign * values),
        )
        for values, low, high, p, corrected in zip(
            differences.T, lows, highs, p_values, holm(p_values), strict=True
        )
    ]  # fmt: skip


Rest = tuple[tuple[str, str], ...]
"""Labels of a result on all axes but one."""


def _by_rest(comparison: Comparison, axis: str, label: str) -> dict[Rest, str]:
    """Names of the results with that label, by their labels on the other axes."""
    return {
        tuple(
            (other, value) for other, value in result.labels.items() if other != axis
        ): result.name
        for result in comparison.results
        if result.labels.get(axis) == label
    }


def _standing(
    comparison: Comparison, label: str, by_label: Mapping[str, Mapping[Rest, str]]
) -> tuple[int, float]:
    """How many labels this label beats where both exist, and its mean over all its results.

    Means over all alone would favour a label that only exists where everything is easy."""

    def gain(name: str) -> float:
        return comparison.measure.gain(comparison.mean(name))

    cells = by_label[label]
    wins = 0
    for other, theirs in by_label.items():
        shared = [rest for rest in cells if rest in theirs and other != label]
        wins += sum(gain(cells[rest]) - gain(theirs[rest]) for rest in shared) > 0
    badness = [comparison.measure.badness(comparison.mean(name)) for name in cells.values()]
    return wins, -sum(badness) / len(badness)
