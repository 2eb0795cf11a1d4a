"""The tables of a comparison's page: leaderboard, ablations and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfrecon.reports import costs, markup, tables
from tfrecon.reports import scores as table
from tfrecon.reports.comparison import Comparison, badness
from tfrecon.reports.markup import Field, Head, text
from tfrecon.reports.statistics import ALPHA, Ablation, Pair

COST, OTHERS = "Cost", "Other measures"
MOST_PAIRS = 25
"""Lines of each table of paired tests."""


def leaderboard(comparison: Comparison, lines: Sequence[tables.Line]) -> str:
    """The sortable leaderboard, baselines in grey at their place."""
    lead = tables.leading_columns(comparison)
    others = [name for name in tables.ordered_columns(comparison) if name not in lead]
    cost_heads, paid = costs.cells({line.name: line.cost for line in lines if line.result})
    seeds = any(len(result.runs) > 1 for result in comparison.results)
    best = {
        name: min(badness(name, one.cells[name].mean) for one in lines if one.result)
        for name in comparison.columns
    }

    def measure(name: str) -> table.Measure:
        return table.MEASURES[name.removeprefix(table.HOLE)]

    def shown(line: tables.Line, name: str) -> Field:
        cell = line.cells[name]
        mean = tables.number(name, cell.mean)
        if line.result and badness(name, cell.mean) == best[name]:
            mean = f"<strong>{mean}</strong>"
        spread = tables.interval(name, cell.low, cell.high)
        value = abs(cell.mean) if measure(name).higher_is_better is None else cell.mean
        return Field(f'{mean}<br><span class="interval">{spread}</span>', _known(value))

    def metric_head(name: str, group: str) -> Head:
        best_first = "high" if measure(name).higher_is_better else "low"
        return Head(tables.label(name, arrow=True), best_first, group, group == OTHERS)

    heads = [Head("", "low"), Head("Result"), Head("Group")]
    heads += [metric_head(name, "Quality") for name in lead]
    heads += [Head("Seeds", "high", "Quality")] if seeds else []
    heads += [Head(_capital(name), "high" if "/s" in name else "low", COST) for name in cost_heads]
    heads += [metric_head(name, OTHERS) for name in others]
    rows: list[markup.Row] = []
    for line in lines:
        rank = Field("" if line.rank is None else str(line.rank), line.rank)
        row: list[str | Field] = [rank, line.name, line.groups]
        row += [shown(line, name) for name in lead]
        row += [_seeds(line, comparison.metric)] if seeds else []
        row += [
            Field(text(value), _parsed(value))
            for value in (paid[line.name] if line.result else [costs.EMPTY] * len(cost_heads))
        ]
        rows.append(row + [shown(line, name) for name in others])
    caption = (
        f"Mean over the images and, in brackets, its {table.LEVEL:.0%} interval. Results that "
        "share a letter cannot be told apart; grey rows are methods without training."
    )
    classes = ["" if line.result else "baseline" for line in lines]
    return markup.table(caption, heads, rows, classes=classes, sortable=True)


def ablations(found: Mapping[str, Sequence[Ablation]]) -> str:
    """One table an axis, the reference as its first row."""
    shown: list[str] = []
    for axis, own in found.items():
        column = own[0].column
        heads = [
            Head(_capital(axis)), Head(f"{tables.label(column)}: difference", "high"),
            Head("p (Holm)", "low"), Head("Effect", "high"), Head("Cells", "high"),
        ]  # fmt: skip
        reference = [own[0].reference, "reference", "", "", ""]
        rows: list[markup.Row] = [reference]
        rows += [
            [
                row.label, _difference(column, row.difference, row.low, row.high),
                tables.p_value(row.corrected), tables.effect(row.effect), str(row.cells),
            ]
            for row in own
        ]  # fmt: skip
        caption = (
            f"{_capital(axis)}: each label less {own[0].reference}, over images averaged across "
            "the pairs of cells that agree in all else."
        )
        shown.append(markup.table(caption, heads, rows))
    return "".join(shown)


def tests(comparison: Comparison, pairs: Sequence[Pair]) -> str:
    """Neighbours in rank, and the winner against each."""
    column = comparison.metric
    heads = [
        Head("Better"), Head("Worse"), Head(f"{tables.label(column)}: difference", "high"),
        Head("p (Holm)", "low"), Head("Effect", "high"), Head("Images", "high"), Head("Told apart"),
    ]  # fmt: skip
    shown: list[str] = []
    for caption, known in (
        (
            "Neighbours in rank: Wilcoxon's signed-rank test over images.",
            tables.neighbours(comparison, pairs),
        ),
        (
            f"{comparison.results[0].name} against each of the others.",
            tables.against_winner(comparison, pairs),
        ),
    ):
        if len(known) > MOST_PAIRS:
            caption += f" The first {MOST_PAIRS} of {len(known)}."
        rows: list[markup.Row] = [
            [
                pair.better, pair.worse,
                _difference(column, pair.difference, pair.low, pair.high),
                tables.p_value(pair.corrected), tables.effect(pair.effect), str(pair.n),
                "yes" if pair.is_real else "no",
            ]
            for pair in known[:MOST_PAIRS]
        ]  # fmt: skip
        if rows:
            shown.append(markup.table(caption, heads, rows))
    if not shown:
        return ""
    return "".join(shown) + markup.paragraph(
        f"p-values are corrected for all {len(pairs)} pairs (Holm 1979); below {ALPHA} counts as a "
        "difference. Effect: matched-pairs rank-biserial correlation, 1 where every image agrees. "
        "All pairs stand in pairs.csv."
    )


def _difference(column: str, difference: float, low: float, high: float) -> Field:
    spread = tables.interval(column, low, high, signed=True)
    shown = tables.number(column, difference, signed=True)
    return Field(f'{shown} <span class="interval">{spread}</span>', _known(difference))


def _seeds(line: tables.Line, column: str) -> Field:
    if line.result is None:
        return Field(costs.EMPTY)
    count = len(line.result.runs)
    spread = tables.number(column, line.seed_std).removeprefix("+")
    return Field(f"{count} (±{spread})" if count > 1 else str(count), count)


def _known(value: float) -> float | None:
    return None if value != value else value


def _parsed(shown: str) -> float | None:
    return None if shown == costs.EMPTY else float(shown.replace(",", ""))


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
