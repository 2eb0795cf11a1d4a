"""Files of pretrained arrays: where they are looked for, and how they are read.

A file is searched in the folder `$TFRECON_WEIGHTS`, then in the cache, and downloaded from its
publisher, checked against a SHA-256, only when neither has it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.errors import UserError

Arrays = dict[str, np.ndarray[Any, Any]]
"""Arrays by name."""

VARIABLE = "TFRECON_WEIGHTS"


@dataclass(frozen=True)
class WeightFile:
    """A file by name, and where its publisher keeps it; `sha256` may be its first digits."""

    name: str
    url: str | None = None
    sha256: str | None = None


def find(files: Sequence[WeightFile], *, download: bool = True) -> Path:
    """The first of `files`, which hold the same arrays, that is here; else the first to be had.

    Raises UserError naming the files and both remedies.
    """
    for file in files:
        for folder in folders():
            if (folder / file.name).is_file():
                return folder / file.name
    names = " or ".join(repr(file.name) for file in files)
    raise UserError(
        f"weight file {names} is not in ${VARIABLE} ({os.environ.get(VARIABLE) or 'not set'}) nor "
        f"in the cache {str(cache())!r}; put it into one of them, or connect to the network"
    )


def folders() -> list[Path]:
    """Where weight files are looked for, in this order."""
    own = os.environ.get(VARIABLE)
    return [*([Path(own)] if own else []), cache()]


def cache() -> Path:
    """The folder that downloads go to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tfrecon"


def read(path: Path) -> Arrays:
    """The arrays of a ``.npz``, ``.safetensors`` or torch ``.pth`` file, as the file names them."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    raise UserError(f"weight file {str(path)!r} must end with .npz, .safetensors, .pth or .pt")


def fingerprint(arrays: Mapping[str, Any]) -> str:
    """A SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(repr((name, array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
