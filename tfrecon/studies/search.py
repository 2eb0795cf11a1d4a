"""What the table [search] of a study's file says: how many cells are drawn of the axes, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrecon.base.config import Table, section, with_settings
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Natural, Positive
from tfrecon.studies.axes import Cell, Range, Value


@dataclass(frozen=True)
class Settings:
    """The table [search]."""

    trials: Positive = 20
    """How many cells are drawn."""
    seed: Natural = 0
    """Of what is drawn."""
    prune: bool = True
    """Whether a cell is ended whose validation value is worse than the median of the others at the
    same epoch."""


@dataclass(frozen=True)
class Search:
    """`base` is the configuration that all cells share; `over` goes on top of each."""

    settings: Settings
    axes: Mapping[str, Sequence[Value] | Range]
    base: Table
    over: Table

    def cell(self, chosen: Mapping[str, str | float], number: int | None = None) -> Cell:
        """The cell of a label or number for each axis, drawn as the trial of this `number`."""
        values: dict[str, Value] = {}
        for name, axis in self.axes.items():
            if isinstance(axis, Range):
                values[name] = axis.value(float(chosen[name]))
            else:
                values[name] = next(value for value in axis if value.label == chosen[name])
        tables = self.base
        for over in (*(value.tables for value in values.values()), self.over):
            tables = with_settings(tables, over)
        labels = {name: value.label for name, value in values.items()}
        drawn = [] if number is None else [f"trial{number:03}"]
        name = "-".join([*drawn, *labels.values()])
        return Cell(name, name, labels, tables)

    def corners(self) -> list[Cell]:
        """Cells in which every value and both ends of every range occur: what can be wrong with
        one of them is wrong here."""
        ends = {
            name: [axis.low, axis.high] if isinstance(axis, Range) else [v.label for v in axis]
            for name, axis in self.axes.items()
        }
        most = max(map(len, ends.values()))
        return [
            self.cell({name: values[n % len(values)] for name, values in ends.items()})
            for n in range(most)
        ]

    def described(self) -> list[str]:
        """A line for each axis."""
        return [f"{name}: {_described(axis)}" for name, axis in self.axes.items()]


def _described(axis: Sequence[Value] | Range) -> str:
    if isinstance(axis, Range):
        return f"{axis.low:g} to {axis.high:g}{', in its logarithm' if axis.log else ''}"
    return ", ".join(value.label for value in axis)


def read_search(
    path: Path, tables: Table, axes: Mapping[str, Sequence[Value] | Range], base: Table, over: Table
) -> Search:
    """The search that a study's file asks for. Raises UserError for unknown keys and for what
    belongs to a matrix."""
    given: Any = tables["search"]
    if not isinstance(given, dict):
        raise UserError(f"[search] must be a table, such as trials = 20, not {given!r}")
    for key in ("seeds", "exclude"):
        if key in tables:
            raise UserError(f"{key} belongs to a matrix of cells, and [search] draws its own")
    return Search(section(Settings, given, "search", str(path)), axes, base, over)
