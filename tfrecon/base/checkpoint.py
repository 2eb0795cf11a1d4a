"""Named arrays and a JSON note in one ``.npz`` file, written whole or not at all."""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import files
from tfrecon.base.errors import UserError, foreign

NOTE = "note.json"
_CHECKPOINT = "checkpoint", "put a copy in its place, or train another run"

UNPACKED_MIB, UNPACKED_TIMES = 64, 20
"""What a file of arrays may unpack to: so many MiB, and so many times its own size beyond."""


def save(path: Path, groups: Mapping[str, Sequence[Any]], note: Mapping[str, Any]) -> None:
    """Writes the variables of each group, by group, place and path, and the note.

    The file gets its name only when it is complete and on the disk, so none is ever torn.
    """
    arrays = {name: np.asarray(value) for name, value in _named(groups).items()}
    arrays[NOTE] = np.frombuffer(json.dumps(note).encode(), np.uint8)
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """The arrays and the note of a file. Raises UserError for a missing or damaged one."""
    with opened(path, *_CHECKPOINT) as archive:
        arrays = {name: numbers(archive, name) for name in archive.files}
        return arrays, json.loads(arrays.pop(NOTE).tobytes())


@contextlib.contextmanager
def opened(path: Path, what: str, remedy: str) -> Iterator[Any]:
    """An ``.npz`` file without pickles. Raises UserError, which calls it a `what` and ends with a
    `remedy`, for a missing file, one that turns out to be damaged, and one that `check_members`
    refuses."""
    with foreign(what, path, remedy), path.open("rb") as file, zipfile.ZipFile(file) as members:
        check_members(path, members)
        with np.load(file, allow_pickle=False) as archive:
            yield archive


def numbers(archive: Any, name: str) -> np.ndarray[Any, Any]:
    """An array of an `opened` file. Raises ValueError for one that holds anything but numbers."""
    array = np.asarray(archive[name])  # NumPy gives bytes where there is no array
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name!r} holds no numbers")
    return array


def check_unpacked(path: Path, size: int) -> None:
    """Raises ValueError where a file would unpack to a `size` in bytes beyond UNPACKED_MIB and
    UNPACKED_TIMES its own size."""
    if size > UNPACKED_MIB * 2**20 + UNPACKED_TIMES * path.stat().st_size:
        raise ValueError(f"it would unpack to {size:,} bytes")


def check_members(path: Path, archive: zipfile.ZipFile) -> None:
    """Raises what `check_unpacked` raises, and ValueError for members that are packed in a way that
    bounds nothing."""
    members = archive.infolist()
    check_unpacked(path, sum(member.file_size for member in members))
    if {member.compress_type for member in members} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError("it is packed in a way that no writer of arrays uses")


def load_note(path: Path) -> dict[str, Any]:
    """The note alone, without reading the arrays; raises what `load` raises."""
    with opened(path, *_CHECKPOINT) as archive:
        return json.loads(numbers(archive, NOTE).tobytes())


def assign(
    path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], groups: Mapping[str, Sequence[Any]]
) -> None:
    """Puts loaded arrays back into the variables of `groups`.

    Raises UserError naming the first array that is missing or of another shape: the file belongs
    to another model.
    """
    named = _named(groups)
    for name, variable in named.items():
        if name not in arrays or arrays[name].shape != tuple(variable.shape):
            saved = arrays[name].shape if name in arrays else "absent"
            raise UserError(
                f"checkpoint {str(path)!r} belongs to another model: {name!r} should be "
                f"{tuple(variable.shape)} and is {saved}"
            )
    for name, variable in named.items():
        variable.assign(arrays[name])


def _named(groups: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    # Automatic layer names carry a counter that depends on what the process built before.
    return {
        f"{group}/{place:04d}": variable
        for group, variables in groups.items()
        for place, variable in enumerate(variables)
    }
