"""What recipes of clean photos share: finding a folder, listing photos, drawing some of them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from tfrecon.base.errors import UserError
from tfrecon.base.images import SUFFIXES
from tfrecon.data.sample import by_stem

Item = TypeVar("Item")


def holding(root: Path, places: Sequence[str], folder: str) -> Path:
    """The first of `places` below `root` (``""`` is `root` itself) that holds `folder`. Raises
    UserError where none does."""
    for place in places:
        if (root / place / folder).is_dir():
            return root / place
    raise UserError(
        f"{str(root)!r} holds no folder {folder!r}, neither itself nor below "
        f"{', '.join(place for place in places if place)}; give the data set's folder with --root"
    )


def photos(folder: Path) -> list[Path]:
    """The images directly in `folder`, sorted by stem; other files and hidden ones are left out.

    Raises UserError when `folder` does not exist or holds no image, and for two with equal stems.
    """
    _check_exists(folder)
    files = by_stem(path for path in sorted(folder.iterdir()) if is_photo(path))
    if not files:
        raise UserError(f"no image in {str(folder)!r}; endings read: {', '.join(SUFFIXES)}")
    return [files[stem] for stem in sorted(files)]


def is_photo(path: Path) -> bool:
    """Whether `path` is a file that is named as an image and is not hidden."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def photos_by_class(folder: Path) -> dict[str, list[Path]]:
    """The images of each folder directly in `folder`, one for each class, sorted by name.

    Raises UserError when `folder` does not exist or holds no class folder, and as `photos`.
    """
    _check_exists(folder)
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if not classes:
        raise UserError(
            f"{str(folder)!r} holds no class folder; expected one folder for each class"
        )
    return {path.name: photos(path) for path in classes}


def drawn(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """`count` of `items` (all, where there are fewer), drawn with `seed`, in their order. Raises
    UserError for a count below 1 and a negative seed."""
    if count < 1 or seed < 0:
        raise UserError(
            f"cannot draw {count} images by seed {seed}; give at least 1, and seed >= 0"
        )
    chosen = np.random.default_rng(seed).permutation(len(items))[:count]
    return [items[index] for index in sorted(chosen)]


def _check_exists(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"folder {str(folder)!r} does not exist or is no folder; add it, or correct its path "
            "(--root, where a recipe reads it)"
        )


@functools.cache
def print_once(line: str) -> None:
    """Prints a line, once in a process: recipes list the folders of each split."""
    print(line)
