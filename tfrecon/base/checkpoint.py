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
from tfrecon.base.errors import UserError

NOTE = "note.json"
_CHECKPOINT = "checkpoint", "put a copy in its place, or train another run"


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
        arrays = {name: archive[name] for name in archive.files}
        return arrays, json.loads(arrays.pop(NOTE).tobytes())


@contextlib.contextmanager
def opened(path: Path, what: str, remedy: str) -> Iterator[Any]:
    """An ``.npz`` file without pickles. Raises UserError, which calls it a `what` and ends with a
    `remedy`, for a missing file and one that turns out to be damaged."""
    try:
        # Opened here: np.load leaves a file open that turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            yield archive
    except UserError:  # the caller's own, which is a ValueError as well
        raise
    except FileNotFoundError:
        raise UserError(f"{what} {str(path)!r} does not exist") from None
    except PermissionError:  # nothing is damaged: `cli.run` says what to do
        raise
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, EOFError) as error:
        # Without NumPy's reason, which may advise to load pickles.
        raise UserError(f"{what} {str(path)!r} is truncated or damaged; {remedy}") from error


def load_note(path: Path) -> dict[str, Any]:
    """The note alone, without reading the arrays; raises what `load` raises."""
    with opened(path, *_CHECKPOINT) as archive:
        return json.loads(archive[NOTE].tobytes())


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
