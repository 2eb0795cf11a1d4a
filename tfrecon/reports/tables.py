"""The leaderboard, the paired tests and the ablations as rows, CSV files and Markdown."""

from __future__ import annotations

import csv
import html
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfrecon.reports import costs, statistics
from tfrecon.reports import scores as table
from tfrecon.reports.comparison import Comparison, Result, Values, badness, mean
from tfrecon.reports.costs import Cost
from tfrecon.reports.statistics import Ablation, Difference, Pair

LEADING = ("psnr", "ssim", "lpips_alex")
"""Metrics that stand next to the one that ranks."""


@dataclass(frozen=True)
class Line:
    """One line of the leaderboard: a result, or a baseline (`rank` and `result` None).

    `groups`: letters, of which results that cannot be told apart share one. `cells`: by column.
    `seed_std`: standard deviation over seeds of the mean by which results are ranked, NaN for one.
    """

    name: str
    rank: int | None
    groups: str
    cells: Mapping[str, table.Cell]
    result: Result | None
    seed_std: float = math.nan

    @property
    def cost(self) -> Cost:
        """A baseline's is empty."""
        return self.result.cost if self.result else Cost(None, None, None)


def leaderboard(comparison: Comparison, pairs: Sequence[Pair]) -> list[Line]:
    """Results and baselines, best on top; `pairs` tell which results share a letter."""
    letters = group_letters(len(comparison.results), groups(comparison, pairs))
    lines = [
        Line(
            result.name, place + 1, letters[place], _cells(comparison, result.name, result.scores),
            result, _spread(result.seed_means[comparison.metric]),
        )
        for place, result in enumerate(comparison.results)
    ]  # fmt: skip
    lines += [
        Line(name, None, "", _cells(comparison, name, scores), None)
        for name, scores in comparison.baselines.items()
    ]
    column = comparison.metric
    return sorted(lines, key=lambda line: badness(column, line.cells[column].mean))


def groups(comparison: Comparison, pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """`statistics.groups` of the results in their order, by the metric that ranks them; none where
    it was not tested."""
    own = [pair for pair in pairs if pair.column == comparison.metric]
    if not own:
        return []
    return statistics.groups(_names(comparison), own)


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
    return [" ".join(own) for own in letters]


def leading_columns(comparison: Comparison) -> list[str]:
    """The column that ranks and LEADING of the same region."""
    prefix = table.HOLE if comparison.metric.startswith(table.HOLE) else ""
    names = dict.fromkeys([comparison.metric, *(prefix + name for name in LEADING)])
    return [name for name in names if name in comparison.columns]


def ordered_columns(comparison: Comparison) -> list[str]:
    """All columns, the leading ones first."""
    return list(dict.fromkeys([*leading_columns(comparison), *comparison.columns]))


def label(column: str, arrow: bool = False) -> str:
    """``PSNR (dB)`` or ``Hole PSNR (dB)``; the arrow tells which way is better."""
    measure = table.MEASURES[column.removeprefix(table.HOLE)]
    region = "Hole " if column.startswith(table.HOLE) else ""
    ways = {True: " ↑", False: " ↓", None: " → 0"}
    return region + measure.label + (ways[measure.higher_is_better] if arrow else "")


def number(column: str, value: float, signed: bool = False) -> str:
    """In the format of the column; a dash for NaN."""
    form = table.MEASURES[column.removeprefix(table.HOLE)].form
    if math.isnan(value):
        return costs.EMPTY
    shown = format(value, form if form.startswith("+") or not signed else "+" + form)
    return shown.replace("-", "−")


def interval(column: str, low: float, high: float, signed: bool = False) -> str:
    """``[20.1, 20.3]``."""
    return f"[{number(column, low, signed)}, {number(column, high, signed)}]"


def effect(value: float) -> str:
    """A rank-biserial correlation with its sign."""
    return f"{value:+.2f}".replace("-", "−")


def p_value(value: float) -> str:
    """Three decimals, ``< 0.001`` below."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def leaderboard_csv(comparison: Comparison, lines: Sequence[Line]) -> str:
    """`leaderboard` as a file: one line a result or baseline with rank, groups, labels by axis,
    every column's statistics and the costs, under the names that ``summary.csv`` has for them."""
    axes, statistic = list(comparison.axes), ("mean", "std", "low95", "high95")
    head = ["rank", "name", "groups", *axes, "seeds", "seed_std"]
    head += [f"{name}_{part}" for name in comparison.columns for part in statistic]
    rows: list[list[object]] = [[*head, *costs.CSV_NAMES]]
    for line in lines:
        labels = line.result.labels if line.result else {}
        cells = [line.cells[name] for name in comparison.columns]
        rows.append(
            [
                line.rank, line.name, line.groups, *(labels.get(axis) for axis in axes),
                len(line.result.runs) if line.result else None, line.seed_std,
                *(value for one in cells for value in (one.mean, one.std, one.low, one.high)),
                *(getattr(line.cost, field) for field in costs.CSV_NAMES.values()),
            ]
        )  # fmt: skip
    return _csv(rows)


TEST = ("n", "difference", "low95", "high95", "p", "p_holm", "rank_biserial")
"""Columns of a paired test, in both tables of tests."""


def pairs_csv(pairs: Sequence[Pair]) -> str:
    """One line a pair: better, worse, metric and the test of their difference."""
    lines = [
        [
            pair.better, pair.worse, pair.column, pair.n, pair.difference, pair.low, pair.high,
            pair.p, pair.corrected, pair.effect,
        ]
        for pair in pairs
    ]  # fmt: skip
    return _csv([["better", "worse", "metric", *TEST], *lines])


def ablations_csv(ablations: Mapping[str, Sequence[Ablation]]) -> str:
    """One line a label of an axis but its best: label less reference."""
    lines = [
        [
            axis, row.label, row.reference, row.column, row.cells, row.n, row.difference, row.low,
            row.high, row.p, row.corrected, row.effect,
        ]
        for axis, own in ablations.items()
        for row in own
    ]  # fmt: skip
    return _csv([["axis", "label", "reference", "metric", "cells", *TEST], *lines])


def markdown(
    comparison: Comparison,
    lines: Sequence[Line],
    pairs: Sequence[Pair],
    ablations: Mapping[str, Sequence[Ablation]],
    sentences: Sequence[str],
) -> str:
    """Sentences, leaderboard, notable tests and ablations."""
    columns = ordered_columns(comparison)
    heads, cost = costs.cells({line.name: line.cost for line in lines if line.result})
    blocks = [f"# {_plain(comparison.title)}", *(f"- {_plain(one)}" for one in sentences)]
    rows = [["", "result", "group", *(label(name, arrow=True) for name in columns), *heads]]
    for line in lines:
        own = [line.cells[name] for name in columns]
        shown = [
            f"{number(c.column, c.mean)} {interval(c.column, c.low, c.high)}".strip() for c in own
        ]
        rank = "" if line.rank is None else str(line.rank)
        paid = cost[line.name] if line.result else [costs.EMPTY] * len(heads)
        rows.append([rank, _plain(line.name), line.groups, *shown, *paid])
    blocks += ["", "## Leaderboard", "", _rows(rows)]
    tested = [*neighbours(comparison, pairs), *against_winner(comparison, pairs)]
    if tested:
        blocks += ["", "## Paired tests", ""]
        rows = [
            ["better", "worse", f"{label(comparison.metric)}: difference", "p (Holm)", "effect"]
        ]
        rows += [[_plain(pair.better), _plain(pair.worse), *_test(pair)] for pair in tested]
        blocks.append(_rows(rows))
    for axis, own in ablations.items():
        blocks += ["", f"## {_plain(axis)}, against {_plain(own[0].reference)}", ""]
        rows = [["label", f"{label(own[0].column)}: difference", "p (Holm)", "effect", "cells"]]
        rows += [[_plain(row.label), *_test(row), str(row.cells)] for row in own]
        blocks.append(_rows(rows))
    return "\n".join(blocks) + "\n"


def neighbours(comparison: Comparison, pairs: Sequence[Pair]) -> list[Pair]:
    """Of the metric that ranks: each result and the next."""
    return _of(comparison, pairs, itertools.pairwise(_names(comparison)))


def against_winner(comparison: Comparison, pairs: Sequence[Pair]) -> list[Pair]:
    """Of the metric that ranks: the winner and each result but the next."""
    first, *others = _names(comparison)
    return _of(comparison, pairs, ((first, other) for other in others[1:]))


def _names(comparison: Comparison) -> list[str]:
    return [result.name for result in comparison.results]


def _of(
    comparison: Comparison, pairs: Sequence[Pair], wanted: Iterable[tuple[str, str]]
) -> list[Pair]:
    own = {(p.better, p.worse): p for p in pairs if p.column == comparison.metric}
    return [own[two] for two in wanted if two in own]


def _test(test: Difference) -> list[str]:
    spread = interval(test.column, test.low, test.high, signed=True)
    shown = f"{number(test.column, test.difference, signed=True)} {spread}"
    return [shown, p_value(test.corrected), effect(test.effect)]


def _cells(
    comparison: Comparison, name: str, scores: Mapping[str, Values]
) -> dict[str, table.Cell]:
    columns = comparison.columns
    lows, highs = table.bootstrap(np.stack([scores[column] for column in columns], axis=1))
    cells: dict[str, table.Cell] = {}
    for column, low, high in zip(columns, lows, highs, strict=True):
        values = scores[column]
        known = values[~np.isnan(values)]
        std = float(known.std(ddof=1)) if len(known) > 1 else math.nan
        own = table.Cell(name, column, len(known), mean(values), std, float(low), float(high))
        cells[column] = own
    return cells


def _spread(means: Sequence[float]) -> float:
    return float(np.std(means, ddof=1)) if len(means) > 1 else math.nan


def _csv(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_field, line) for line in lines)
    return text.getvalue()


def _field(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else format(value, ".7g")
    return "" if value is None else value


def _plain(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")


def _rows(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
