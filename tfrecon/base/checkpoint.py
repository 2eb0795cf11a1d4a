"""Named arrays and a JSON note in one ``.npz`` file, written whole or not at all."""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import files
from tfrecon.base.errors import UserError, foreign

Saved = tuple[dict[str, Any], dict[str, Any]]
"""Arrays by name, and the note."""

NOTE, HASH = "note.json", "blake2b"
_REMEDY = "put a copy in its place, or train another run"

UNPACKED_MIB, UNPACKED_TIMES = 64, 20
"""What a file of arrays may unpack to: so many MiB, and so many times its own size beyond."""


def save(path: Path, groups: Mapping[str, Sequence[Any]], note: Mapping[str, Any]) -> None:
    """`write`, with the variables of each group named by group and place."""
    write(path, named(groups), note)


def write(path: Path, arrays: Mapping[str, Any], note: Mapping[str, Any]) -> None:
    """Writes arrays, or variables, by name, the note, and a hash over both.

    The file gets its name only when it is complete and on the disk, so none is ever torn by us.
    """
    members = {**arrays, NOTE: np.frombuffer(json.dumps(note).encode(), np.uint8)}
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        # Variables become arrays one at a time: all at once would need their memory again.
        np.savez(file, **members, **{HASH: _hash(members)})
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, remedy: str = _REMEDY) -> Saved:
    """The arrays and the note of a file. Raises UserError, which ends with a `remedy`, for a
    damaged one, which its hash tells (older ones have none), and for a missing one."""
    with opened(path, "checkpoint", remedy) as archive:
        arrays = {name: numbers(archive, name) for name in archive.files}
        recorded = arrays.pop(HASH, None)
        if recorded is not None and not np.array_equal(recorded, _hash(arrays)):
            raise ValueError(f"{path} does not have the content that was written")
        return arrays, _note(arrays.pop(NOTE))


def _hash(arrays: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """(32,) uint8: BLAKE2b over names, types, shapes and values."""
    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return np.frombuffer(digest.digest(), np.uint8)


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
    with opened(path, "checkpoint", _REMEDY) as archive:
        return _note(numbers(archive, NOTE))


def _note(packed: np.ndarray[Any, Any]) -> dict[str, Any]:
    note = json.loads(packed.tobytes())
    if not isinstance(note, dict):
        raise ValueError("its note is no table")
    return note


def assign(
    path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], groups: Mapping[str, Sequence[Any]]
) -> None:
    """Puts loaded arrays back into the variables of `groups`.

    Raises UserError naming the first array that is missing or of another shape: the file belongs
    to another model.
    """
    variables = named(groups)
    for name, variable in variables.items():
        if name not in arrays or arrays[name].shape != tuple(variable.shape):
            saved = arrays[name].shape if name in arrays else "absent"
            raise UserError(
                f"checkpoint {str(path)!r} belongs to another model: {name!r} should be "
                f"{tuple(variable.shape)} and is {saved}; "
                "restore the run's own files, or train anew"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def named(groups: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The variables of each group by the name ``GROUP/PLACE``."""
    # Automatic layer names carry a counter that depends on what the process built before.
    return {
        f"{group}/{place:04d}": variable
        for group, variables in groups.items()
        for place, variable in enumerate(variables)
    }
