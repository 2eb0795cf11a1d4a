"""``metadata.csv`` and ``metadata.jsonl`` beside images, as Hugging Face's image folders have them.

A column ``file_name`` names the image of a row, from the folder of the table; columns called after
a role (`tfrecon.data.roles`), such as ``target_file_name``, ``mask_file`` or ``input``, name its
partners, and ``split`` its split.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tfrecon.base.errors import UserError, foreign
from tfrecon.base.images import SUFFIXES
from tfrecon.base.platforms import nfc
from tfrecon.data.boxes import csv_rows
from tfrecon.data.photos import say_left_out
from tfrecon.data.roles import SPLITS, meaning

NAMES = "metadata.csv", "metadata.jsonl"


@dataclass(frozen=True)
class Row:
    """The image files of a row by their role; its split, or ""; and the columns of these files."""

    files: Mapping[str, Path]
    columns: Mapping[str, str]
    split: str


def read(folder: Path, pictures: Sequence[Path]) -> list[Row]:
    """The rows of the tables in `folder` and in the folders of its `pictures`, each once.

    A table that names no image is left out, and said. Raises UserError naming file and line for
    one that cannot be read, an image that is none of `pictures`, and rows that contradict.
    """
    known = {nfc(path.relative_to(folder).as_posix()): path for path in pictures}
    places = {place for each in {p.parent for p in pictures} for place in (each, *each.parents)}
    places = sorted(place for place in places if place.is_relative_to(folder))
    tables = [place / name for place in places for name in NAMES if (place / name).is_file()]
    found: dict[Path, Row] = {}
    for table in tables:
        before, place = len(found), table.parent.relative_to(folder).as_posix()
        for line, cells in rows(table):
            row = understood(
                cells, PurePosixPath(place), known, f"{str(table)!r}, line {line}", folder
            )
            main = next(iter(row.files.values())) if row else None
            if row and main and found.setdefault(main, row) != row:
                raise UserError(
                    f"{str(table)!r}, line {line}: {str(main)!r} is listed before with other "
                    "partners; remove one of the rows"
                )
        if len(found) == before:
            say_left_out(folder, [table])
    return list(found.values())


def understood(
    cells: Mapping[str, Any], place: PurePosixPath, known: Mapping[str, Path], where: str,
    folder: Path,
) -> Row | None:  # fmt: skip
    """What a row of a table in the folder `place` says of images; nothing where it names none of
    the `known` ones, by their paths from `folder`. Raises UserError, which begins with `where`."""
    files: dict[str, Path] = {}
    columns: dict[str, str] = {}
    for column in sorted(cells, key=lambda column: column.lower() != "file_name"):
        name, role = cells[column], _role(column)
        if role and isinstance(name, str) and name.lower().endswith(SUFFIXES):
            path = known.get(nfc((place / name).as_posix()))
            if path is None:
                raise UserError(
                    f"{where}, names {name!r} as {column}, which is not in "
                    f"{str(folder / place)!r}; add the image, or remove the row or the column"
                )
            if files.get(role, path) != path:
                raise UserError(
                    f"{where}: {columns[role]} and {column} both name the {role}; remove one"
                )
            files[role], columns[role] = path, column
    wanted = [role for role in ("input", "target") if role not in files]
    if "photo" in files and len(wanted) < 2:  # what file_name is follows from the others
        photo, column = files.pop("photo"), columns.pop("photo")
        if wanted:
            files, columns = {wanted[0]: photo} | files, {wanted[0]: column} | columns
    if "input" in files and "target" not in files:
        raise UserError(
            f"{where}: {columns['input']} names an input, and no column its target; call that one "
            "target_file_name"
        )
    said = str(next((cells[column] for column in cells if column.lower() == "split"), "") or "")
    split = meaning(said)[0]
    if files and said and not split:
        raise UserError(
            f"{where}: split {said!r} is none of {', '.join(SPLITS)}; write one of them"
        )
    return Row(files, columns, split) if files else None


def _role(column: str) -> str:
    return meaning(re.sub("_?(file_?name|file|path)$", "", column.lower()) or "photo")[1]


def rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The line number and cells by column of each row. Raises UserError for what is no table."""
    if table.suffix == ".csv":
        header: list[str] = []
        for line, cells in csv_rows(table, "metadata"):
            if header:
                yield line, dict(zip(header, cells, strict=False))
            header = header or cells
        return
    with (
        foreign("metadata", table, "write an object a line", "is no UTF-8 JSON, an object a line"),
        table.open(encoding="utf-8-sig") as file,
    ):
        for line, text in enumerate(file, start=1):
            if text.strip():
                cells = json.loads(text)
                if not isinstance(cells, dict):
                    raise TypeError(f"line {line} is none")
                yield line, cells
