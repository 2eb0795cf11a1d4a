"""The tables of one evaluation: summary.txt, summary.md and summary.csv."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from tfrecon.base import files
from tfrecon.metrics.measures import MEASURES, NOTES
from tfrecon.reports import costs
from tfrecon.reports.scores import LEVEL, RESAMPLES, Summary, methods_of, regions_of, summary_csv
from tfrecon.reports.tables import Column, Field, Table

CELL_NOTE = (
    f"A cell holds mean ± standard deviation over the images and, in brackets, the "
    f"{LEVEL:.0%} interval of the mean (percentile bootstrap, {RESAMPLES} resamples)."
)


def write(
    folder: Path, summary: Summary, paid: costs.Costs, about: Sequence[str], verdicts: Sequence[str]
) -> None:
    """Writes summary.txt, summary.md and summary.csv: what was evaluated, scores, costs, verdicts,
    and notes on the columns that are there."""

    def wrapped(lines: Sequence[str]) -> str:
        return "\n".join(textwrap.fill(line, 80, subsequent_indent="  ") for line in lines)

    def bullets(lines: Sequence[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    columns = {column for _, column in summary}
    notes = [note for names, note in NOTES.items() if columns & set(names)]
    notes += [CELL_NOTE, *costs.notes(paid)]
    parts = {
        "txt": (wrapped, [summary_text(summary), costs.table(paid).text()]),
        "md": (bullets, [summary_markdown(summary, paid)]),
    }
    contents = {"csv": summary_csv(summary) + costs.csv_lines(paid)}
    for ending, (lines, tables) in parts.items():
        blocks = [lines(about), *tables, lines(verdicts), lines(notes)]
        contents[ending] = "\n\n".join(block for block in blocks if block) + "\n"
    for ending, content in contents.items():
        with files.replacing(folder / f"summary.{ending}") as temporary:
            temporary.write_text(content, encoding="utf-8")


def summary_text(summary: Summary) -> str:
    """Tables of at most 80 columns for a terminal, holes first where there are any."""
    methods = methods_of(summary)
    width = 3 if max(map(len, methods)) <= 17 else 2
    blocks: list[str] = []
    for title, columns in regions_of(summary):
        blocks.append(f"{title}, {_counts(summary, columns)}")
        for start in range(0, len(columns), width):
            part = columns[start : start + width]
            rows = [[method, *_cells(summary, method, part)] for method in methods]
            blocks.append(Table([Column(""), *_heads(part)], rows, stacked=True).text())
    return "\n\n".join(blocks)


def summary_markdown(summary: Summary, paid: costs.Costs) -> str:
    """One table a region, the costs before the scores."""
    quantities = costs.present(paid)
    blocks: list[str] = []
    for title, columns in regions_of(summary):
        rows = [
            [
                method,
                *(quantity.cell(paid.get(method, costs.NOTHING)) for quantity in quantities),
                *_cells(summary, method, columns),
            ]
            for method in methods_of(summary)
        ]
        heads = [Column("method"), *(q.column() for q in quantities), *_heads(columns)]
        blocks += [f"**{title}**, {_counts(summary, columns)}", Table(heads, rows).markdown("<br>")]
    return "\n\n".join(blocks)


def _heads(columns: Sequence[str]) -> list[Column]:
    return [Column(f"{MEASURES[column].label} {MEASURES[column].arrow}") for column in columns]


def _cells(summary: Summary, method: str, columns: Sequence[str]) -> list[Field]:
    """Mean ± standard deviation, with the interval as the note."""
    cells = [summary[method, column] for column in columns]
    return [
        Field(
            f"{c.measure.number(c.mean)} ± {c.measure.number(c.std).removeprefix('+')}", c.interval
        )
        for c in cells
    ]


def _counts(summary: Summary, columns: Sequence[str]) -> str:
    counts = sorted({cell.n for cell in summary.values() if cell.column in columns})
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} by metric"
