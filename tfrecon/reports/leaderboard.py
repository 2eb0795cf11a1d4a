"""The tables of a comparison: leaderboard, paired tests and ablations, to show and as CSV."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfrecon.metrics.measures import EMPTY, MEASURES, leading_columns
from tfrecon.reports import costs, statistics
from tfrecon.reports.comparison import Comparison, Result
from tfrecon.reports.costs import NOTHING, Cost
from tfrecon.reports.scores import LEVEL
from tfrecon.reports.sentences import p_value
from tfrecon.reports.statistics import Ablation, Difference, Pair
from tfrecon.reports.tables import Column, Field, Table

QUALITY, COST, OTHERS = "Quality", "Cost", "Other measures"
MOST_PAIRS = 25
"""Lines of each table of paired tests."""


@dataclass(frozen=True)
class Line:
    """One line of the leaderboard: a result, or a baseline (`rank` and `result` None).

    `groups`: letters, of which results that cannot be told apart share one. `seed_std`: standard
    deviation over seeds of the mean by which results are ranked, NaN for one.
    """

    name: str
    rank: int | None
    groups: str
    result: Result | None
    seed_std: float = math.nan

    @property
    def cost(self) -> Cost:
        """A baseline's is empty."""
        return self.result.cost if self.result else NOTHING


def standings(comparison: Comparison, pairs: Sequence[Pair]) -> list[Line]:
    """Results and baselines, best on top; `pairs` tell which results share a letter."""
    letters = group_letters(len(comparison.results), groups(comparison, pairs))
    lines = [
        Line(result.name, rank, shared, result, result.seed_spread(comparison.metric))
        for rank, (result, shared) in enumerate(zip(comparison.results, letters, strict=True), 1)
    ]
    lines += [Line(name, None, "", None) for name in comparison.baselines]
    return sorted(lines, key=lambda line: comparison.measure.badness(comparison.mean(line.name)))


def groups(comparison: Comparison, pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """`statistics.groups` of the results in their order, by the metric that ranks them; none where
    it was not tested."""
    tested = [pair for pair in pairs if pair.column == comparison.metric]
    names = [result.name for result in comparison.results]
    return statistics.groups(names, tested) if tested else []


def group_letters(count: int, bars: Sequence[tuple[int, int]]) -> list[str]:
    """Letters of each of `count` places, a for the first bar; a place that no bar covers has a
    letter of its own."""
    alone = [
        (place, place)
        for place in range(count)
        if not any(first <= place <= last for first, last in bars)
    ]
    letters: list[list[str]] = [[] for _ in range(count)]
    for number, (first, last) in enumerate(sorted([*bars, *alone])):
        letter = chr(ord("a") + number % 26) * (1 + number // 26)
        for place in range(first, last + 1):
            letters[place].append(letter)
    return [" ".join(shared) for shared in letters]


def leaderboard(comparison: Comparison, lines: Sequence[Line]) -> Table:
    """The sortable leaderboard, baselines in grey at their place."""
    summary = comparison.summary
    leading = leading_columns(comparison.columns, comparison.metric)
    others = [column for column in comparison.columns if column not in leading]
    quantities = costs.present({line.name: line.cost for line in lines if line.result})
    has_seeds = any(len(result.runs) > 1 for result in comparison.results)
    best = {
        column: min(
            MEASURES[column].badness(summary[result.name, column].mean)
            for result in comparison.results
        )
        for column in comparison.columns
    }

    def head(column: str, group: str) -> Column:
        measure = MEASURES[column]
        text = f"{measure.region_label} {measure.arrow}"
        return Column(text, "high" if measure.better == "more" else "low", group, group == OTHERS)

    def score(line: Line, column: str) -> Field:
        cell, measure = summary[line.name, column], MEASURES[column]
        leads = line.result is not None and measure.badness(cell.mean) == best[column]
        sorted_by = abs(cell.mean) if measure.better == "zero" else cell.mean
        return Field(measure.number(cell.mean), cell.interval, _known(sorted_by), leads)

    columns = [Column("", "low"), Column("Result"), Column("Group")]
    columns += [head(column, QUALITY) for column in leading]
    columns += [Column("Seeds", "high", QUALITY)] if has_seeds else []
    columns += [*costs.columns(quantities, COST), *(head(column, OTHERS) for column in others)]
    rows = [
        [
            Field("" if line.rank is None else str(line.rank), value=line.rank), line.name,
            line.groups, *(score(line, column) for column in leading),
            *([_seeds(comparison, line)] if has_seeds else []),
            *costs.cells(line.cost, quantities), *(score(line, column) for column in others),
        ]
        for line in lines
    ]  # fmt: skip
    caption = (
        f"Mean over the images and, in brackets, its {LEVEL:.0%} interval. Results that share a "
        "letter cannot be told apart; grey rows are methods without training."
    )
    grey = frozenset(place for place, line in enumerate(lines) if line.result is None)
    return Table(columns, rows, caption, grey, stacked=True, sortable=True)


def _seeds(comparison: Comparison, line: Line) -> Field:
    if line.result is None:
        return Field(EMPTY)
    count = len(line.result.runs)
    spread = comparison.measure.number(line.seed_std).removeprefix("+")
    return Field(f"{count} (±{spread})" if count > 1 else str(count), value=count)


def tests(
    comparison: Comparison, pairs: Sequence[Pair], most: int | None = MOST_PAIRS
) -> list[Table]:
    """Tests of the metric that ranks: of neighbours in rank, and of the winner against each, `most`
    rows of each; none without any."""
    label = comparison.measure.region_label
    heads = [*_test_columns(label), Column("Images", "high"), Column("Told apart")]
    by_names = {(p.better, p.worse): p for p in pairs if p.column == comparison.metric}
    first, *others = (result.name for result in comparison.results)
    wanted = {
        "Neighbours in rank: Wilcoxon's signed-rank test over images.": itertools.pairwise(
            [first, *others]
        ),
        f"{first} against each of the others.": ((first, other) for other in others[1:]),
    }
    tables: list[Table] = []
    for caption, names in wanted.items():
        chosen = [by_names[two] for two in names if two in by_names]
        if most and len(chosen) > most:
            caption += f" The first {most} of {len(chosen)}."
        rows = [
            [pair.better, pair.worse, *_test(pair), str(pair.n), "yes" if pair.is_real else "no"]
            for pair in chosen[:most]
        ]
        if rows:
            tables.append(Table([Column("Better"), Column("Worse"), *heads], rows, caption))
    return tables


def ablations(by_axis: Mapping[str, Sequence[Ablation]]) -> list[Table]:
    """One table an axis, the reference as its first row."""
    tables: list[Table] = []
    for axis, tested in by_axis.items():
        title, reference = axis[:1].upper() + axis[1:], tested[0].reference
        columns = [
            Column(title), *_test_columns(tested[0].measure.region_label), Column("Cells", "high"),
        ]  # fmt: skip
        rows: list[list[object]] = [[reference, "reference", "", "", ""]]
        rows += [[row.label, *_test(row), str(row.cells)] for row in tested]
        caption = (
            f"{title}: each label less {reference}, over images averaged across the pairs of cells "
            "that agree in all else."
        )
        tables.append(Table(columns, rows, caption))
    return tables


def _test_columns(label: str) -> list[Column]:
    return [
        Column(f"{label}: difference", "high"), Column("p (Holm)", "low"), Column("Effect", "high"),
    ]  # fmt: skip


def _test(test: Difference) -> list[Field]:
    """Difference with its interval, corrected p-value, rank-biserial correlation."""
    interval = test.measure.interval(test.low, test.high, signed=True)
    difference = test.measure.number(test.difference, signed=True)
    return [
        Field(difference, interval, _known(test.difference)), Field(p_value(test.corrected)),
        Field(f"{test.effect:+.2f}".replace("-", "−")),
    ]  # fmt: skip


TEST = {
    "n": "n", "difference": "difference", "low95": "low", "high95": "high", "p": "p",
    "p_holm": "corrected", "rank_biserial": "effect",
}  # fmt: skip
"""Columns of a paired test in CSV files, and the fields that they hold."""


def leaderboard_csv(comparison: Comparison, lines: Sequence[Line]) -> str:
    """The leaderboard as a file: one line a result or baseline with rank, groups, labels by axis,
    every column's statistics and the costs, under the names that ``summary.csv`` has for them."""
    head = ["rank", "name", "groups", *comparison.axes, "seeds", "seed_std"]
    parts = ("mean", "std", "low95", "high95")
    head += [f"{column}_{part}" for column in comparison.columns for part in parts]
    head += [quantity.csv for quantity in costs.QUANTITIES]
    rows: list[list[object]] = []
    for line in lines:
        labels = line.result.labels if line.result else {}
        cells = [comparison.summary[line.name, column] for column in comparison.columns]
        rows.append(
            [
                line.rank, line.name, line.groups, *(labels.get(axis) for axis in comparison.axes),
                len(line.result.runs) if line.result else None, line.seed_std,
                *(value for c in cells for value in (c.mean, c.std, c.low, c.high)),
                *(vars(line.cost)[quantity.field] for quantity in costs.QUANTITIES),
            ]
        )  # fmt: skip
    return Table([Column(name) for name in head], rows).csv()


def pairs_csv(pairs: Sequence[Pair]) -> str:
    """One line a pair: better, worse, metric and the test of their difference."""
    return _csv({"better": "better", "worse": "worse", "metric": "column", **TEST}, pairs)


def ablations_csv(by_axis: Mapping[str, Sequence[Ablation]]) -> str:
    """One line a label of an axis but its best: label less reference."""
    names = ("axis", "label", "reference")
    fields = {**dict(zip(names, names, strict=True)), "metric": "column", "cells": "cells", **TEST}
    return _csv(fields, [row for rows in by_axis.values() for row in rows])


def _csv(fields: Mapping[str, str], tested: Sequence[Difference]) -> str:
    rows = [[vars(test)[name] for name in fields.values()] for test in tested]
    return Table([Column(head) for head in fields], rows).csv()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
