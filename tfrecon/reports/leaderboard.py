"""The tables of a comparison: leaderboard, paired tests and ablations, to show and as CSV."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tfrecon.metrics.measures import EMPTY, MEASURES, leading_columns
from tfrecon.reports import costs, statistics
from tfrecon.reports.comparison import Comparison, Result
from tfrecon.reports.costs import NOTHING, Cost
from tfrecon.reports.scores import LEVEL, csv_text
from tfrecon.reports.sentences import p_value
from tfrecon.reports.statistics import Difference
from tfrecon.reports.tables import Column, Field, Table

QUALITY, COST, OTHERS = "Quality", "Cost", "Other measures"
MOST_PAIRS = 25
"""Lines of each table of paired tests."""


@dataclass(frozen=True)
class Line:
    """One line of the leaderboard: a result, or a baseline (`rank` and `result` None), of whose
    `cost` only its failures are known.

    `groups`: letters, of which results that cannot be told apart share one.
    """

    name: str
    cost: Cost
    rank: int | None = None
    groups: str = ""
    result: Result | None = None


def standings(comparison: Comparison) -> list[Line]:
    """Results and baselines, best on top."""
    results = {result.name: result for result in comparison.results}
    letters = group_letters(len(results), statistics.groups(comparison))
    places = dict(zip(results, enumerate(letters, 1), strict=True))
    costs_of = {name: result.cost for name, result in results.items()}
    return [
        Line(
            name,
            replace(costs_of.get(name, NOTHING), failed=comparison.failed(name) or None),
            *places.get(name, (None, "")),
            results.get(name),
        )
        for name in comparison.ranked([*results, *comparison.baselines])
    ]


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


def leaderboard(comparison: Comparison) -> Table:
    """The sortable leaderboard, baselines in grey at their place."""
    lines, summary = standings(comparison), comparison.summary
    leading = leading_columns(comparison.columns, comparison.metric)
    others = [column for column in comparison.columns if column not in leading]
    quantities = costs.present({line.name: line.cost for line in lines})
    ranked = [result.name for result in comparison.results]
    best = {column: comparison.ranked(ranked, column)[0] for column in comparison.columns}
    has_seeds = any(len(result.runs) > 1 for result in comparison.results)

    def scores(line: Line, columns: Sequence[str]) -> list[Field]:
        return [
            summary[line.name, column].field(
                strong=line.result is not None
                and comparison.standing(line.name, column)
                == comparison.standing(best[column], column)
            )
            for column in columns
        ]

    rows = [
        [
            Field(str(line.rank or ""), value=line.rank), line.name, line.groups,
            *scores(line, leading), *([_seeds(comparison, line)] if has_seeds else []),
            *(quantity.cell(line.cost) for quantity in quantities), *scores(line, others),
        ]
        for line in lines
    ]  # fmt: skip
    columns = [
        Column("", "low"), Column("Result"), Column("Group"), *heads(leading, QUALITY),
        *([Column("Seeds", "high", QUALITY)] if has_seeds else []),
        *(quantity.column(COST) for quantity in quantities), *heads(others, OTHERS),
    ]  # fmt: skip
    caption = (
        f"Mean over the images and, in brackets, its {LEVEL:.0%} interval. Results that share a "
        "letter cannot be told apart; grey rows are methods without training."
    )
    grey = frozenset(place for place, line in enumerate(lines) if line.result is None)
    return Table(columns, rows, caption, grey, stacked=True, sortable=True)


def heads(columns: Sequence[str], group: str = "") -> list[Column]:
    """The heads of columns of measures."""
    measures = (MEASURES[column] for column in columns)
    return [
        Column(measure.head, "high" if measure.better == "more" else "low", group, group == OTHERS)
        for measure in measures
    ]


def _seeds(comparison: Comparison, line: Line) -> Field:
    """How many seeds a result has and how its mean varies over them."""
    if line.result is None:
        return Field(EMPTY)
    count = len(line.result.runs)
    spread = comparison.measure.number(line.result.seed_spread(comparison.metric))
    text = f"{count} (±{spread.removeprefix('+')})" if count > 1 else str(count)
    return Field(text, value=count)


def tests(comparison: Comparison, most: int | None = MOST_PAIRS) -> list[Table]:
    """Tests of the metric that ranks: of neighbours in rank, and of the winner against each, `most`
    rows of each; none without any."""
    columns = [
        Column("Better"), Column("Worse"), *_test_columns(comparison.measure.region_label),
        Column("Images", "high"), Column("Told apart"),
    ]  # fmt: skip
    first, *others = (result.name for result in comparison.results)
    wanted = {
        "Neighbours in rank: Wilcoxon's signed-rank test over images.": [
            *itertools.pairwise([first, *others])
        ],
        f"{first} against each of the others.": [(first, other) for other in others[1:]],
    }
    tables: list[Table] = []
    for caption, names in wanted.items():
        if most and len(names) > most:
            caption += f" The first {most} of {len(names)}."
        rows = [
            [pair.first, pair.second, *_test(pair), pair.n, "yes" if pair.is_real else "no"]
            for pair in (statistics.between(comparison, *two) for two in names[:most])
        ]
        tables += [Table(columns, rows, caption)] if rows else []
    return tables


def ablations(comparison: Comparison) -> list[Table]:
    """One table an axis, the reference as its first row."""
    tables: list[Table] = []
    for axis, rows in statistics.all_ablations(comparison).items():
        title, reference = axis[:1].upper() + axis[1:], rows[0].second
        heads = _test_columns(comparison.measure.region_label)
        caption = (
            f"{title}: each label less {reference}, over images averaged across the pairs of cells "
            "that agree in all else."
        )
        tables.append(
            Table(
                [Column(title), *heads, Column("Cells", "high")],
                [
                    [reference, "reference", "", "", ""],
                    *([r.first, *_test(r), r.cells] for r in rows),
                ],
                caption,
            )
        )
    return tables


def _test_columns(label: str) -> list[Column]:
    return [
        Column(f"{label}: difference", "high"), Column("p (Holm)", "low"), Column("Effect", "high"),
    ]  # fmt: skip


def _test(test: Difference) -> list[Field]:
    """Difference with its interval, corrected p-value, rank-biserial correlation."""
    finite = math.isfinite(test.difference)
    interval = (
        "" if math.isinf(test.low) else test.measure.interval(test.low, test.high, signed=True)
    )
    difference = test.measure.number(test.difference, signed=True)
    value = test.difference if finite else None
    return [
        Field(difference, interval, value), Field(p_value(test.corrected)),
        Field(f"{test.effect:+.2f}".replace("-", "−")),
    ]  # fmt: skip


TEST = {
    "n": "n", "difference": "difference", "low95": "low", "high95": "high", "p": "p",
    "p_holm": "corrected", "rank_biserial": "effect",
}  # fmt: skip
"""Columns of a paired test in CSV files, and the fields that they hold."""


def leaderboard_csv(comparison: Comparison) -> str:
    """The leaderboard as a file: one line a result or baseline with rank, groups, labels by axis,
    every column's statistics and the costs, under the names that ``summary.csv`` has for them."""
    parts = {"mean": "mean", "std": "std", "low95": "low", "high95": "high"}
    rows: list[dict[str, object]] = []
    for line in standings(comparison):
        result, cells = line.result, [comparison.summary[line.name, c] for c in comparison.columns]
        labels = result.labels if result else {}
        rows.append({
            "rank": line.rank, "name": line.name, "groups": line.groups,
            **{axis: labels.get(axis) for axis in comparison.axes},
            "seeds": len(result.runs) if result else None,
            "seed_std": result.seed_spread(comparison.metric) if result else None,
            **{f"{c.column}_{head}": vars(c)[name] for c in cells for head, name in parts.items()},
            **{name: vars(line.cost)[name] for name in costs.NAMES},
        })  # fmt: skip
    return csv_text([list(rows[0]), *(row.values() for row in rows)])


def pairs_csv(comparison: Comparison) -> str:
    """One line a pair and metric: better, worse, metric and the test of their difference."""
    columns = [column for column in comparison.columns if MEASURES[column].can_rank]
    tested = (pair for column in columns for pair in statistics.pairs(comparison, column))
    return _csv({"better": "first", "worse": "second", "metric": "column", **TEST}, tested)


def ablations_csv(comparison: Comparison) -> str:
    """One line a label of an axis but its best: label less reference."""
    fields = {"axis": "axis", "label": "first", "reference": "second", "metric": "column"}
    fields |= {"cells": "cells", **TEST}
    return _csv(fields, itertools.chain(*statistics.all_ablations(comparison).values()))


def _csv(fields: Mapping[str, str], tested: Iterable[Difference]) -> str:
    rows = ([vars(test)[name] for name in fields.values()] for test in tested)
    return csv_text([list(fields), *rows])
