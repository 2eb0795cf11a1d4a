"""A study's TOML file as cells: a base configuration, axes, exclusions and seeds."""

import contextlib
import fnmatch
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrecon.base import platforms
from tfrecon.base.config import Config, Table, from_tables, load_toml, merged, with_settings
from tfrecon.base.errors import UserError
from tfrecon.metrics.measures import MEASURES
from tfrecon.studies.axes import (
    Cell,
    Range,
    Value,
    check_known,
    is_list_of,
    read_axes,
    read_exclusions,
    repeated,
    with_base,
)
from tfrecon.studies.search import Search, read_search

KEYS = ("title", "metric", "base", "model", "data", "fit", "axes", "exclude", "seeds",
        "search")  # fmt: skip
OUTPUT = "output"
"""Folder of what each cell printed, beside the cells."""


@dataclass(frozen=True)
class Study:
    """The cells in the order in which they run. `axes`: axis → its labels in the file's order. Both
    are empty where a `search` draws the cells."""

    name: str
    title: str
    metric: str | None
    axes: Mapping[str, Sequence[str]]
    cells: Sequence[Cell]
    search: Search | None = None

    def only(self, pattern: str | None) -> list[Cell]:
        """The cells whose name matches a shell pattern, all of them for None.

        Raises UserError where none does."""
        if pattern is None:
            return list(self.cells)
        if self.search:
            raise UserError("--only names cells of a matrix; a search draws its own, leave it out")
        matching = [cell for cell in self.cells if fnmatch.fnmatchcase(cell.name, pattern)]
        if not matching:
            raise UserError(
                f"no cell of study {self.name!r} matches {pattern!r}; --list shows their names, "
                f"e.g. {self.cells[0].name!r}"
            )
        return matching


def read_study(path: str | Path, over: Table | None = None) -> Study:
    """The study in a TOML file, with the settings of `over` on top of each cell's.

    Raises UserError for a missing file, unknown keys, an axis without values or with two values of
    one label, exclusions that name no axis or label, an empty matrix, and cells whose configuration
    is wrong; what only the model's builder can tell is checked by `check_cells`.
    """
    path = Path(path)
    tables = load_toml(path, "study")
    with _naming(f"{path}: ", str(path)):
        check_known(tables, KEYS, "unknown key", " of a study")
        base = with_base(path, tables)
        axes = read_axes(path, tables.get("axes"))
        metric = [tables["metric"]] if "metric" in tables else []
        known = [column for column, measure in MEASURES.items() if measure.can_rank]
        check_known(metric, known, "metric must be one that can rank, not")
        title = str(tables.get("title", path.stem))
        if "search" in tables:
            search = read_search(path, tables, axes, base, over or {})
            return Study(path.stem, title, tables.get("metric"), {}, [], search)
        axes = _all_listed(axes)
        exclude = read_exclusions(tables.get("exclude", []), axes)
        seeds = tables.get("seeds")
        if seeds is not None:
            _check_seeds(seeds, axes)
        cells: list[Cell] = []
        for chosen in itertools.product(*axes.values()):
            labels = {axis: value.label for axis, value in zip(axes, chosen, strict=True)}
            if any(all(labels[axis] in names for axis, names in rule.items()) for rule in exclude):
                continue
            settings = base
            for tables_of_value in (*(value.tables for value in chosen), over or {}):
                settings = with_settings(settings, tables_of_value)
            group = "-".join(labels.values())
            if seeds is None:
                cells.append(Cell(group, group, labels, settings))
            for seed in seeds or []:
                seeded = merged(settings, {"fit": {"seed": seed}})
                cells.append(Cell(f"{group}-seed{seed}", group, labels, seeded))
        _check_different(cells, path)
    return Study(
        path.stem, title, tables.get("metric"),
        {axis: [value.label for value in values] for axis, values in axes.items()}, cells,
    )  # fmt: skip


def _all_listed(axes: Mapping[str, Sequence[Value] | Range]) -> dict[str, Sequence[Value]]:
    listed = {name: axis for name, axis in axes.items() if not isinstance(axis, Range)}
    for name in axes.keys() - listed.keys():
        raise UserError(
            f"axis {name!r} is a range, low to high, of which only a search draws; give it values, "
            "or the study a table [search]"
        )
    return listed


def _check_different(cells: Sequence[Cell], path: Path) -> None:
    """Raises UserError for no cell at all, and for cells that share a name or all settings."""
    if not cells:
        raise UserError("every cell is excluded; remove a rule of [[exclude]]")
    count, name = repeated(platforms.alike(cell.name) for cell in cells)
    if count > 1:
        raise UserError(f"{count} cells are called {name!r}; rename a label")
    if OUTPUT in (cell.name for cell in cells):
        raise UserError(f"no cell can be called {OUTPUT!r}; rename a label")
    by_settings: dict[str, str] = {}
    for cell in cells:
        same = by_settings.setdefault(repr(config(cell, path).to_dict()), cell.name)
        if same != cell.name:
            raise UserError(
                f"cells {same!r} and {cell.name!r} have the same settings; take one of them out, "
                "or the --set that makes them equal"
            )


def config(cell: Cell, path: str | Path) -> Config:
    """The cell's configuration, checked; without the defaults of its model."""
    with _of(cell):
        return from_tables(cell.tables, f"{path}, cell {cell.name!r}")


def check_cells(cells: Sequence[Cell], path: str | Path) -> None:
    """Raises UserError for what `check_settings` refuses of a cell, for data that is not there, and
    for cells that would be tested on different pixels, before any cell is trained."""
    from tfrecon.data import recipes
    from tfrecon.reports import run_facts
    from tfrecon.training.preparation import check_settings
    from tfrecon.training.run import complete

    places: dict[str, tuple[Cell, Config]] = {}
    tested: dict[str, Config] = {}
    for cell in cells:
        with _of(cell):
            whole = complete(cell.tables, str(path))
            check_settings(whole)
            tested[cell.name] = whole
            places.setdefault(repr((whole.data.recipe, whole.data.root)), (cell, whole))
    settings = [(name, run_facts.image_settings(whole.data)) for name, whole in tested.items()]
    run_facts.check_same_images(
        "cell", settings, "give all cells the same in [data]", run_facts.SETTINGS
    )
    for cell, whole in places.values():
        with _of(cell):
            root = Path(whole.data.root) if whole.data.root else None
            recipes.samples(whole.data.recipe, root, "train")


def _check_seeds(seeds: Any, axes: Mapping[str, Sequence[Value]]) -> None:
    if not is_list_of(seeds, int) or not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds must be a list of different whole numbers, not {seeds!r}")
    for axis, values in axes.items():
        if any("seed" in value.tables.get("fit", {}) for value in values):
            raise UserError(f"axis {axis!r} sets fit.seed, and so does seeds; keep one")


@contextlib.contextmanager
def _naming(place: str, name: str) -> Iterator[None]:
    """Puts `place` before a UserError that does not mention `name`."""
    try:
        yield
    except UserError as error:
        text = str(error)
        raise UserError(text if name in text else place + text) from None


def _of(cell: Cell) -> contextlib.AbstractContextManager[None]:
    return _naming(f"cell {cell.name!r}: ", repr(cell.name))
