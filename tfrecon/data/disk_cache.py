"""Arrays that are computed once and kept on disk: one file of numbers, and an index beside it."""

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import files

Array = np.ndarray[Any, Any]


def kept(
    path: Path, compute: Callable[[], Iterable[Sequence[Array]]], dtype: Any, hashed: bool = False
) -> list[list[Array]]:
    """The records that ``compute()`` yields, mapped into memory; each is a few arrays of `dtype`.

    They lie one after the other in the file `path`. Its index, the same name with ``.json``, is
    written last and holds the shape of each array, the size of the file and, with `hashed`, its
    hash: where it does not fit the file, everything is computed and written anew.
    """
    index = path.with_suffix(".json")
    # What cannot be read, or holds something else, is damaged.
    with contextlib.suppress(Exception):
        return _mapped(path, dtype, hashed)
    records, shapes = compute(), []
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        for record in records:
            shapes.append([array.shape for array in record])
            for array in record:
                file.write(array.tobytes())
    files.write_json(index, {"shapes": shapes, "file": _facts(path, hashed)})
    return _mapped(path, dtype, hashed)


def _mapped(path: Path, dtype: Any, hashed: bool) -> list[list[Array]]:
    """What `kept` returns, of a file that is whole; raises anything for another."""
    known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if known["file"] != _facts(path, hashed):
        raise ValueError("an index of another file")
    flat = np.memmap(path, dtype, "r").view(np.ndarray)  # a view of a memmap is ten times as large
    mapped: list[list[Array]] = []
    end = 0
    for record in known["shapes"]:
        mapped.append([])
        for shape in record:
            start, end = end, end + math.prod(shape)
            mapped[-1].append(flat[start:end].reshape(shape))
    if end != len(flat):
        raise ValueError("an index of a part of the file")
    return mapped


def size(path: Path) -> int | None:
    """Bytes of the file `path` that `kept` wrote; None unless an index fits it and the two are all
    that its folder holds."""
    index = path.with_suffix(".json")
    with contextlib.suppress(Exception):
        known, content = json.loads(index.read_text(encoding="utf-8")), path.stat().st_size
        names = {file.name for file in path.parent.iterdir()}
        if known["shapes"] and known["file"][0] == content and names == {path.name, index.name}:
            return content
    return None


def remove(path: Path) -> None:
    """Removes the file `path` that `kept` wrote, its index, and the folder that held them."""
    path.unlink()
    path.with_suffix(".json").unlink()
    path.parent.rmdir()


def _facts(path: Path, hashed: bool) -> list[Any]:
    return [path.stat().st_size, *([files.digest(path).hex()] if hashed else [])]
