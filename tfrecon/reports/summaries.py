"""The tables of one evaluation: summary.txt, summary.md and summary.csv."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from tfrecon.base import files
from tfrecon.metrics.measures import MEASURES, NOTES
from tfrecon.reports import costs
from tfrecon.reports.scores import LEVEL, RESAMPLES, Summary, summary_csv
from tfrecon.reports.tables import Column, Table, escaped

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
        return "\n".join(f"- {escaped(line)}" for line in lines)

    columns = {column for _, column in summary}
    notes = [note for names, note in NOTES.items() if columns & set(names)]
    notes += [CELL_NOTE, *costs.notes(paid)]
    tables = summary_text(summary), _table("", summary, [], paid).text()
    text = [wrapped(about), *tables, wrapped(verdicts), wrapped(notes)]
    marked = [bullets(about), summary_markdown(summary, paid), bullets(verdicts), bullets(notes)]
    contents = {
        "csv": summary_csv(summary, costs.csv_lines(paid)),
        "txt": "\n\n".join(filter(None, text)) + "\n",
        "md": "\n\n".join(filter(None, marked)) + "\n",
    }
    for ending, content in contents.items():
        with files.replacing(folder / f"summary.{ending}") as temporary:
            temporary.write_text(content, encoding="utf-8")


def summary_text(summary: Summary) -> str:
    """Tables of at most 80 columns for a terminal, holes first where there are any."""
    width = 3 if all(len(method) <= 17 for method, _ in summary) else 2
    blocks: list[str] = []
    for title, count, columns in _regions(summary):
        blocks.append(f"{title}, {count}")
        for start in range(0, len(columns), width):
            blocks.append(_table("", summary, columns[start : start + width], {}).text())
    return "\n\n".join(blocks)


def summary_markdown(summary: Summary, paid: costs.Costs) -> str:
    """One table a region, the costs before the scores."""
    blocks: list[str] = []
    for title, count, columns in _regions(summary):
        table = _table("method", summary, columns, paid)
        blocks += [f"**{title}**, {count}", table.markdown("<br>")]
    return "\n\n".join(blocks)


def _table(head: str, summary: Summary, columns: Sequence[str], paid: costs.Costs) -> Table:
    """A row for each method, under `head`: its costs, then its scores in `columns`."""
    quantities = costs.present(paid)
    rows = [
        [
            method,
            *(quantity.cell(paid.get(method, costs.NOTHING)) for quantity in quantities),
            *(summary[method, column].field(std=True) for column in columns),
        ]
        for method in dict.fromkeys(method for method, _ in summary)
    ]
    measures = [MEASURES[column] for column in columns]
    heads = [Column(head), *(quantity.column() for quantity in quantities)]
    heads += [Column(f"{measure.label} {measure.arrow}") for measure in measures]
    return Table(heads, rows, stacked=True)


def _regions(summary: Summary) -> list[tuple[str, str, list[str]]]:
    """Title, number of images and columns of each region that there is, holes first."""
    regions: list[tuple[str, str, list[str]]] = []
    for region, title in (("holes", "Holes only"), ("image", "Whole image")):
        cells = [cell for cell in summary.values() if cell.measure.region == region]
        counts = sorted({cell.n for cell in cells})
        if cells:
            several = f" to {counts[-1]} by metric" if len(counts) > 1 else ""
            columns = list(dict.fromkeys(cell.column for cell in cells))
            regions.append((title, f"n = {counts[0]}{several}", columns))
    return regions
