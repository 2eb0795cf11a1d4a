"""The one kind of table of all reports: as terminal text, Markdown, CSV and, by the page, HTML."""

import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tfrecon.base import shown


@dataclass(frozen=True)
class Column:
    """Head of a column.

    `first` is what sorting shows first of a column of numbers; None marks a column of text.
    `group` stands above the column and its neighbours; a `minor` column is not printed on paper.
    """

    head: str
    first: Literal["high", "low"] | None = None
    group: str = ""
    minor: bool = False


@dataclass(frozen=True)
class Field:
    """A cell with more than a text: a smaller `note` beside or beneath it, the number by which its
    column is sorted (None: last), and whether it stands out."""

    text: str
    note: str = ""
    value: float | None = None
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; what is no Field is shown as text.

    `grey` are the numbers of rows that step back. `stacked`: notes stand beneath their cells.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    grey: frozenset[int] = field(default_factory=frozenset)
    stacked: bool = False
    sortable: bool = False

    @property
    def fields(self) -> list[list[Field]]:
        """The rows with every cell as a Field."""
        return [
            [cell if isinstance(cell, Field) else Field(str(cell)) for cell in row]
            for row in self.rows
        ]

    @property
    def naming(self) -> int:
        """The number of the column that heads each row: the first of text."""
        return next((n for n, column in enumerate(self.columns) if column.first is None), 0)

    def text(self) -> str:
        """Aligned columns, the first to the left and the others to the right; a stacked table has
        its notes on lines of their own."""
        lines = [[column.head for column in self.columns]]
        for row in self.fields:
            texts, notes = [one_line(cell.text) for cell in row], [cell.note for cell in row]
            if self.stacked:
                lines += [texts, notes] if any(notes) else [texts]
            else:
                pairs = zip(texts, notes, strict=True)
                lines.append([f"{text} {note}".rstrip() for text, note in pairs])
        first, *others = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([line[0].ljust(first), *map(str.rjust, line[1:], others)]).rstrip()
            for line in lines
        )

    def markdown(self, between: str = " ") -> str:
        """A Markdown table, escaped; `between` stands between a cell and its note."""
        lines = [[escaped(column.head) for column in self.columns]]
        lines += [
            [between.join(escaped(part) for part in (cell.text, cell.note) if part) for cell in row]
            for row in self.fields
        ]
        head, *rows = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([head, "|---" * len(self.columns) + "|", *rows])

    def html(self) -> str:
        """What a notebook shows: the columns that are not minor, and the caption beneath."""
        kept = [place for place, column in enumerate(self.columns) if not column.minor]
        heads = [self.columns[place].head for place in kept]
        rows = ([f"{row[n].text} {row[n].note}".strip() for n in kept] for row in self.fields)
        return shown.table(heads, rows, self.grey) + shown.paragraphs(filter(None, [self.caption]))

    def groups(self) -> list[tuple[Column, int]]:
        """The first column of each run of columns of one group, and how many there are."""
        runs = (list(run) for _, run in itertools.groupby(self.columns, lambda c: c.group))
        return [(columns[0], len(columns)) for columns in runs]


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line; no link or picture comes of it."""
    text = html.escape(one_line(text), quote=False).replace("\\", "\\\\")
    return text.replace("|", "\\|").replace("](", "]\\(")


def one_line(text: str) -> str:
    """Text without line breaks and other signs that are not printed."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
